"""Print an exported folder's result for a CI job: `python -m converter.report.markdown FOLDER [--outputs]`.

A Markdown table for the job's summary; with `--outputs` instead lines of NAME=VALUE for later steps.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from converter.manifest import Manifest
from converter.records import from_json
from converter.report.readme import table


def main(folder: Path, *, outputs: bool) -> None:
    """Print what the folder's manifest says."""
    manifest = from_json((folder / "manifest.json").read_bytes(), Manifest)
    print("\n".join(outputs_of(folder, manifest) if outputs else summary(manifest)))


def summary(manifest: Manifest) -> Iterator[str]:
    """The lines of a heading, a table with a row a file, and the reason of each that did not pass."""
    yield f"### {manifest.model.id}: {_passed(manifest)} of {len(manifest.artifacts)} files passed"
    yield ""
    yield from table(manifest)
    failed = [entry for entry in manifest.artifacts if entry.status != "PASSED"]
    if failed:
        yield ""
    yield from (f"- `{entry.path}`: {'; '.join(entry.failures)}" for entry in failed)


def outputs_of(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What later steps of a job ask for."""
    yield f"folder={folder.as_posix()}"
    yield f"manifest={(folder / 'manifest.json').as_posix()}"
    yield f"passed={_passed(manifest)}"


def _passed(manifest: Manifest) -> int:
    return sum(entry.status == "PASSED" for entry in manifest.artifacts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), outputs="--outputs" in sys.argv[2:])
