"""What a CI job shows of an export, and hands to its later steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from converter.report.markdown import outputs_of, summary
from tests.publishing.folders import make_manifest


def test_a_file_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    """The heading counts it out, and a line below the table says why."""
    manifest = make_manifest(tmp_path)
    first, *others = (dataclasses.replace(entry, status="PASSED") for entry in manifest.artifacts)
    spoilt = dataclasses.replace(first, status="FAILED", failures=("top_k 0.5 < 1.0",))
    lines = list(summary(dataclasses.replace(manifest, artifacts=(spoilt, *others))))

    assert lines[0].endswith(f": {len(others)} of {len(others) + 1} files passed")
    assert f"- `{first.path}`: top_k 0.5 < 1.0" in lines


def test_later_steps_get_names_and_a_count(tmp_path: Path) -> None:
    """NAME=VALUE, a line each."""
    manifest = make_manifest(tmp_path)
    passed = dataclasses.replace(
        manifest, artifacts=tuple(dataclasses.replace(entry, status="PASSED") for entry in manifest.artifacts)
    )

    assert list(outputs_of(Path("a/m"), passed)) == [
        "folder=a/m", "manifest=a/m/manifest.json", f"passed={len(manifest.artifacts)}",
    ]  # fmt: skip
