"""Signatures over `provenance.json` with keys of one's own: Ed25519 in a DSSE v1 envelope.

The envelope signs exactly the bytes of the statement, so that whoever trusts the key trusts every hash in it. It is
written in one form only: an envelope that was changed anywhere is no longer ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from converter.errors import UsageError
from converter.files import write_atomically
from converter.records import from_json, to_json
from converter.release import ENVELOPE, PROVENANCE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE: Literal["application/vnd.in-toto+json"] = "application/vnd.in-toto+json"
KEY_VARIABLE, PASSPHRASE_VARIABLE = "MCCONVERT_SIGNING_KEY", "MCCONVERT_SIGNING_PASSPHRASE"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Whose signatures a reader trusts: a public key's file, or an identity as its issuer vouches for it."""

    key: Path | None = None
    identity: str = ""
    issuer: str = ""


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature, base64, and the sha256 of the signer's public key (SubjectPublicKeyInfo, DER)."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """DSSE's envelope; the payload is base64."""

    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: tuple[Signature, ...]


def make_keys(path: Path, passphrase: str = "") -> tuple[Path, Path]:
    """A new key pair: the private one in `path`, readable by its owner only, the public one in `path`.pub.

    Raises:
        UsageError: one of the two files is there already.
        OSError: they cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if os.path.lexists(file):
            message = f"{file} is there already, and no key is ever overwritten: give another name"
            raise UsageError(message)
    key = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    _create(
        path, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption), mode=0o600
    )
    _create(public, _pem(key.public_key()), mode=0o644)
    return path, public


def read_private_key(data: bytes, name: str, passphrase: str = "") -> Ed25519PrivateKey:
    """The private key in a PEM; `name` is what errors call it.

    Raises:
        UsageError: it is no Ed25519 key, or the passphrase is missing or wrong.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, passphrase.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{name}: no private key that opens so ({error}): expected a PEM of 'mcconvert keygen' and, " + (
            f"where it has one, its passphrase in {PASSPHRASE_VARIABLE}"
        )
        raise UsageError(message) from error
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{name}: not an Ed25519 key but {type(key).__name__}; 'mcconvert keygen' makes one"
        raise UsageError(message)
    return key


def is_encrypted(data: bytes) -> bool:
    """Whether a PEM asks for a passphrase."""
    return b"ENCRYPTED" in data


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        UsageError: there is none, or it is another kind of key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{path}: no public key ({error}): give the .pub file of 'mcconvert keygen'"
        raise UsageError(message) from error
    if not isinstance(key, Ed25519PublicKey):
        message = f"{path}: not an Ed25519 key but {type(key).__name__}: give the .pub file of 'mcconvert keygen'"
        raise UsageError(message)
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """The sha256 of a public key as SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pre_authentication(payload: bytes) -> bytes:
    """DSSE's PAE: what is signed in place of the payload, so that its type is signed too."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(folder: Path, key: Ed25519PrivateKey) -> Path:
    """Sign the folder's statement as it lies there; gives the envelope's file, which replaces an earlier one.

    Raises:
        OSError: there is no statement, or the folder cannot be written.
    """
    payload = (folder / PROVENANCE).read_bytes()
    signature = key.sign(pre_authentication(payload))
    envelope = Envelope(
        payload=_base64(payload), payload_type=PAYLOAD_TYPE,
        signatures=(Signature(keyid=key_id(key.public_key()), sig=_base64(signature)),),
    )  # fmt: skip
    write_atomically(folder / ENVELOPE, to_json(envelope))
    return folder / ENVELOPE


def read_envelope(data: bytes) -> Envelope:
    """The envelope in a file.

    Raises:
        ValueError: it is none, or not written as `sign` writes it.
    """
    try:
        envelope = from_json(data, Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"not a DSSE envelope of mcconvert: {error}"
        raise ValueError(message) from error
    if to_json(envelope) != data or _base64(payload_of(envelope)) != envelope.payload:
        message = "not written as mcconvert writes an envelope"
        raise ValueError(message)
    if len(envelope.signatures) != 1:
        message = f"{len(envelope.signatures)} signatures where mcconvert writes one"
        raise ValueError(message)
    return envelope


def payload_of(envelope: Envelope) -> bytes:
    """The bytes that were signed.

    Raises:
        ValueError: they are not base64.
    """
    return _decoded(envelope.payload)


def signed_by(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    """Whether the envelope carries a valid signature of that key."""
    from cryptography.exceptions import InvalidSignature

    (signature,) = envelope.signatures
    try:
        key.verify(_decoded(signature.sig), pre_authentication(payload_of(envelope)))
    except (InvalidSignature, ValueError):
        return False
    return signature.keyid == key_id(key) and _base64(_decoded(signature.sig)) == signature.sig


def _pem(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a file that was not there, with its rights from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"not base64: {error}"
        raise ValueError(message) from error
