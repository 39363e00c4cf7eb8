"""Check the signatures over a folder's statement: with a public key, or with an identity that sigstore vouches for.

Without either, a signature is only seen to belong to this statement; who made it is said, and left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from converter.publishing.keyless import bundled_payload, verify_bundle
from converter.publishing.signing import Envelope, Keys, key_id, payload_of, read_envelope, read_public_key, signed_by
from converter.records import Finding
from converter.release import BUNDLE, ENVELOPE, PROVENANCE

SIGN = "'mcconvert sign FOLDER --key KEY' signs what lies there, once you trust it"


def check_signatures(folder: Path, statement: bytes, keys: Keys) -> list[Finding]:
    """What is wrong with the signatures that are there, or that `keys` asks for.

    Raises:
        UsageError: the key cannot be read.
        MissingDependencyError: an identity is given, and sigstore is not installed.
    """
    return [*_envelope(folder, statement, keys), *_bundle(folder, statement, keys)]


def notes_on_signatures(folder: Path, keys: Keys) -> list[str]:
    """In words, which signatures a folder without findings has, and which of them were checked."""
    notes = []
    if (folder / ENVELOPE).is_file():
        signer = read_envelope((folder / ENVELOPE).read_bytes()).signatures[0].keyid
        checked = "checked with the key given" if keys.key else "NOT CHECKED: give the signer's public key with --key"
        notes.append(f"signed by key {signer}: {checked}")
    if (folder / BUNDLE).is_file():
        how = f"checked: {keys.identity}, by {keys.issuer}" if keys.identity else (
            "NOT CHECKED: give the signer with --identity and --issuer"
        )  # fmt: skip
        notes.append(f"signed by sigstore: {how}")
    return notes or ["not signed: whoever can write to the folder could have written all of it anew"]


def _envelope(folder: Path, statement: bytes, keys: Keys) -> Iterator[Finding]:
    key = read_public_key(keys.key) if keys.key else None
    file = folder / ENVELOPE
    if not file.is_symlink() and not file.exists():
        if key is not None:
            yield Finding(name=ENVELOPE, seen="it is missing: nobody signed with a key", advice=SIGN)
        return
    try:
        envelope = read_envelope(_plain(file))
        same = payload_of(envelope) == statement
    except (OSError, ValueError) as error:
        yield Finding(name=ENVELOPE, seen=f"cannot be read: {error}", advice=SIGN)
        return
    if not same:
        yield Finding(name=ENVELOPE, seen=f"it signs another statement than {PROVENANCE}", advice=SIGN)
    elif key is not None and not signed_by(envelope, key):
        yield Finding(
            name=ENVELOPE, seen=_foreign(envelope, key_id(key)), advice="give the signer's key, or trust nothing"
        )


def _foreign(envelope: Envelope, wanted: str) -> str:
    signer = envelope.signatures[0].keyid
    if signer == wanted:
        return f"its signature is not valid for key {wanted}: statement or signature was changed"
    return f"signed by key {signer[:80]}, not by the key given, {wanted}"


def _bundle(folder: Path, statement: bytes, keys: Keys) -> Iterator[Finding]:
    file = folder / BUNDLE
    if not file.is_symlink() and not file.exists():
        if keys.identity:
            yield Finding(name=BUNDLE, seen="it is missing: nobody signed by sigstore", advice=SIGN)
        return
    try:
        data = _plain(file)
        same = bundled_payload(data) == statement
        why = verify_bundle(data, keys.identity, keys.issuer) if same and keys.identity else ""
    except (OSError, ValueError) as error:
        yield Finding(name=BUNDLE, seen=f"cannot be read: {error}", advice=SIGN)
        return
    if not same:
        yield Finding(name=BUNDLE, seen=f"it signs another statement than {PROVENANCE}", advice=SIGN)
    elif why:
        yield Finding(name=BUNDLE, seen=why, advice="give the signer's identity and issuer, or trust nothing")


def _plain(file: Path) -> bytes:
    if file.is_symlink() or not file.is_file():
        message = "it is not a plain file of this folder"
        raise ValueError(message)
    return file.read_bytes()
