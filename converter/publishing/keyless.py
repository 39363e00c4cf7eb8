"""Signatures without keys of one's own, by sigstore: an identity of a CI run signs, a public log remembers it.

Signing needs a network and an ambient identity (GitHub Actions, GitLab and others give one to a job). Verifying needs
neither: it uses the trusted root that came with the library or lies in its cache. The `sigstore` library is optional.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from converter.errors import MissingDependencyError, PublishError, UsageError
from converter.files import write_atomically
from converter.release import BUNDLE, PROVENANCE


def sign_keyless(folder: Path) -> Path:
    """Sign the folder's statement as it lies there; gives the bundle's file, which replaces an earlier one.

    Raises:
        MissingDependencyError: the library is not installed.
        UsageError: this process has no ambient identity.
        PublishError: sigstore cannot be reached, or refused.
    """
    _check_installed()
    from sigstore.dsse import Statement
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import ExpiredIdentity, IdentityError, IdentityToken, detect_credential
    from sigstore.sign import SigningContext

    try:
        token = detect_credential()
    except IdentityError as error:
        message = f"no identity to sign with: {_line(error)}; a CI job gets one by its permissions (id-token: write)"
        raise UsageError(message) from error
    if token is None:
        message = (
            "no identity to sign with: --sigstore signs as the CI job that it runs in, and this is none that gives a "
            "token (id-token: write on GitHub); elsewhere sign with --key"
        )
        raise UsageError(message)
    try:
        context = SigningContext.from_trust_config(ClientTrustConfig.production())
        with context.signer(IdentityToken(token)) as signer:
            bundle = signer.sign_dsse(Statement((folder / PROVENANCE).read_bytes()))
    except (Error, ExpiredIdentity, OSError, ValueError) as error:
        message = f"sigstore did not sign: {_line(error)}; it needs a network, or sign with --key"
        raise PublishError(message) from error
    write_atomically(folder / BUNDLE, bundle.to_json().encode())
    return folder / BUNDLE


def bundled_payload(data: bytes) -> bytes:
    """The bytes that a bundle signs, whoever signed them.

    Raises:
        ValueError: it is no bundle of a statement.
    """
    try:
        envelope = json.loads(data)["dsseEnvelope"]
        return base64.b64decode(envelope["payload"], validate=True)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        message = f"not a sigstore bundle of a statement ({type(error).__name__})"
        raise ValueError(message) from error


def verify_bundle(data: bytes, identity: str, issuer: str) -> str:
    """Why a bundle is not a signature of that identity, as that issuer vouches for it; empty when it is. Offline.

    Raises:
        MissingDependencyError: the library is not installed.
    """
    _check_installed()
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    try:
        bundle = Bundle.from_json(data)
        if bundle.to_json().encode() != data:
            return "not written as sigstore writes a bundle"
        Verifier.production(offline=True).verify_dsse(bundle, Identity(identity=identity, issuer=issuer))
    except (Error, OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        return f"sigstore does not accept it: {_line(error)}"
    return ""


def _check_installed() -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        message = "signing and checking by sigstore needs its library: pip install 'mcconvert[sigstore]'"
        raise MissingDependencyError(message) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
