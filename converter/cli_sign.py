"""The commands about where files come from: `keygen`, `sign`, and what `verify --provenance` does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.errors import ParityError, UsageError
from converter.records import to_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from converter.publishing.signing import Keys

EXAMPLES = """\b
Examples:
  mcconvert keygen ~/keys/releases                       once: a private key, and releases.pub to give away
  mcconvert sign artifacts/mobileclip_s1 --key ~/keys/releases
  mcconvert verify artifacts/mobileclip_s1 --provenance --key releases.pub
"""


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase that the private key is encrypted with.")
def keygen(path: Path, *, ask: bool) -> None:
    """Make a key pair to sign with: PATH, which stays yours, and PATH.pub, which readers check with.

    Nothing is overwritten. A passphrase is taken from MCCONVERT_SIGNING_PASSPHRASE where that is set.
    """
    from converter.publishing.signing import PASSPHRASE_VARIABLE, key_id, make_keys, read_public_key

    passphrase = os.environ.get(PASSPHRASE_VARIABLE, "")
    if ask and not passphrase:
        passphrase = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    private, public = make_keys(path.expanduser(), passphrase)
    click.echo(f"{private}: keep it to yourself{'' if passphrase else '; it has no passphrase'}", err=True)
    click.echo(f"{public}: give it to whoever checks; key {key_id(read_public_key(public))}")


@click.command(epilog=EXAMPLES)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PATH",
              help="Private key of 'mcconvert keygen'.  [default: the PEM in MCCONVERT_SIGNING_KEY]")  # fmt: skip
@click.option("--sigstore", is_flag=True, help="Sign as the CI job that this runs in, with no key, by sigstore.")
def sign(folder: Path, *, key: Path | None, sigstore: bool) -> None:
    """Sign what FOLDER (artifacts/MODEL) says of its files, after checking that it is true.

    Writes provenance.dsse.json, or provenance.sigstore.json with --sigstore. An encrypted key's passphrase comes from
    MCCONVERT_SIGNING_PASSPHRASE, or is asked for.
    """
    from converter.publishing import signing
    from converter.publishing.keyless import sign_keyless

    if sigstore and key is not None:
        message = "--key and --sigstore are two ways to sign: give one of them"
        raise UsageError(message)
    private = None if sigstore else signing_key(key)
    _refuse_untrue(folder)
    if private is None:
        click.echo(f"wrote {sign_keyless(folder)}")
        return
    click.echo(f"wrote {signing.sign(folder, private)}: signed by key {signing.key_id(private.public_key())}")


def signing_key(path: Path | None) -> Ed25519PrivateKey:
    """The private key in a file, or in MCCONVERT_SIGNING_KEY; asks for its passphrase where a person can answer.

    Raises:
        UsageError: there is none, or it does not open.
    """
    from converter.publishing.signing import KEY_VARIABLE, PASSPHRASE_VARIABLE, is_encrypted, read_private_key

    data = path.read_bytes() if path is not None else os.environ.get(KEY_VARIABLE, "").encode()
    if not data:
        message = f"nothing to sign with: give --key PATH (of 'mcconvert keygen'), {KEY_VARIABLE}, or --sigstore"
        raise UsageError(message)
    passphrase = os.environ.get(PASSPHRASE_VARIABLE, "")
    if is_encrypted(data) and not passphrase and sys.stdin.isatty():
        passphrase = click.prompt("passphrase", hide_input=True, err=True)
    return read_private_key(data, str(path or KEY_VARIABLE), passphrase if is_encrypted(data) else "")


def check(folder: Path, keys: Keys, *, as_json: bool) -> int:
    """Print what is wrong with a folder's documents and files; gives the exit code."""
    from converter.publishing.checking import check_folder
    from converter.publishing.signatures import notes_on_signatures
    from converter.report.console import open_console
    from converter.report.provenance import print_provenance

    findings = check_folder(folder, keys)
    notes = [] if findings else notes_on_signatures(folder, keys)
    if as_json:
        found = {"folder": folder.name, "passed": not findings, "findings": findings, "signatures": notes}
        click.echo(to_json(found).decode(), nl=False)
    else:
        print_provenance(open_console(), folder.name, findings, notes)
    return ParityError.exit_code if findings else 0


def _refuse_untrue(folder: Path) -> None:
    """Sign nothing that would not be found true afterwards; an earlier signature does not matter."""
    from converter.publishing.checking import check_folder
    from converter.publishing.signing import Keys
    from converter.release import BUNDLE, ENVELOPE

    wrong = [one for one in check_folder(folder, Keys()) if one.name not in (ENVELOPE, BUNDLE)]
    if wrong:
        lines = [f"{one.name}: {one.seen}; {one.advice}" for one in wrong]
        raise ParityError("\n  ".join([f"{folder}: not signed, for it is not as it says:", *lines]))
