"""The GitHub workflow and the composite action, run for real on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from converter.manifest import Manifest
from converter.records import from_json
from tests.ci.expressions import holds
from tests.ci.github import Job, load, run_workflow
from tests.ci.test_schemas import WORKFLOW

ARGS = "--config tests/ci/few_rows.yaml --set 'limits.minutes=20'"
MADE_AGAIN = re.compile(r"^\S+/\S+/\S+ +(run|verify) ", re.MULTILINE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("github")


@pytest.fixture(scope="module")
def jobs(base: Path) -> dict[str, Job]:
    """The whole workflow on a tag, once, with a folder to publish to."""
    destination = {"MCCONVERT_DESTINATION": str(base / "published")}
    found = run_workflow(load(WORKFLOW), base, inputs={"args": ARGS}, github={"ref_type": "tag"}, vars=destination)
    for job in found.values():
        assert job.result == "success", f"{job.name}\n{job.log}"
    return found


def exported(job: Job) -> str:
    """What the job's export printed."""
    return job.log.partition("### Export\n")[2].partition("### Say what came of it\n")[0]


def test_a_matrix_is_planned_exported_and_collected(jobs: dict[str, Job]) -> None:
    """One job a format and tower, each of them a part."""
    assert list(jobs) == ["plan", "export (torchscript-image)", "export (onnx-image)", "collect", "publish"]
    assert json.loads(jobs["plan"].outputs["matrix"])["include"][1]["rows"] == ["fp32"]


def test_what_jobs_made_apart_is_whole_and_not_made_again(jobs: dict[str, Job]) -> None:
    """Caches of two machines, merged by copying: every step of the whole run is found, its bytes hashed."""
    log = exported(jobs["collect"])
    manifest = from_json((jobs["collect"].workspace / "artifacts/mobileclip_nano/manifest.json").read_bytes(), Manifest)

    assert log.count(" reuse ") == 3, log
    assert not MADE_AGAIN.search(log)
    assert [(entry.target, entry.status) for entry in manifest.artifacts] == [
        ("onnx", "PASSED"), ("torchscript", "PASSED"),
    ]  # fmt: skip
    assert MADE_AGAIN.search(exported(jobs["export (onnx-image)"]))


def test_a_damaged_step_among_the_merged_is_made_again(jobs: dict[str, Job], tmp_path: Path) -> None:
    """Merging trusts nobody: one byte changed on the way, and that step runs, no other."""
    cache = Path(shutil.copytree(jobs["collect"].workspace / "mcconvert-cache", tmp_path / "cache"))
    (model,) = (cache / "steps").glob("*/*.onnx")
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    model.write_bytes(damaged)
    command = [str(Path(sys.executable).with_name("mcconvert")), "plan", "--json", "--config", "tests/ci/few_rows.yaml"]
    env = {**jobs["collect"].env, "MCCONVERT_CACHE": str(cache)}

    planned = subprocess.run(command, cwd=jobs["collect"].workspace, env=env, capture_output=True, check=True).stdout

    assert [one["action"] for one in json.loads(planned)] == ["reuse", "reuse", "run"]


def test_the_summary_is_the_parity_table(jobs: dict[str, Job]) -> None:
    """Who opens the job sees what passed and how near each file is."""
    summary = jobs["collect"].summary

    assert "### mobileclip_nano: 2 of 2 files passed" in summary
    assert "| `onnx/image_fp32.onnx` | 2.1 MB | 1.000000 / 1.000000 |" in summary


def test_the_collected_folder_is_uploaded_and_verifies(jobs: dict[str, Job], base: Path, tmp_path: Path) -> None:
    """What a later job downloads is what was proven."""
    folder = Path(shutil.copytree(base / "artifacts" / "mcconvert-export", tmp_path / "export"))
    command = [str(Path(sys.executable).with_name("mcconvert")), "verify", str(folder), "--hashes-only"]

    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    next(folder.rglob("*.onnx")).write_bytes(b"changed")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 6


def test_a_tag_publishes_what_was_collected(jobs: dict[str, Job], base: Path) -> None:
    """The first version is there, with the very bytes that the collecting job proved."""
    version = base / "published" / "mobileclip_nano" / "v1"
    collected = jobs["collect"].workspace / "artifacts" / "mobileclip_nano"

    assert (base / "published" / "mobileclip_nano" / "index.json").exists(), jobs["publish"].log
    assert (version / "onnx/image_fp32.onnx").read_bytes() == (collected / "onnx/image_fp32.onnx").read_bytes()


@pytest.mark.parametrize(
    ("ref_type", "destination", "publishes"),
    [("tag", "/srv/models", True), ("branch", "/srv/models", False), ("tag", "", False)],
)
def test_only_a_tag_with_a_destination_publishes(ref_type: str, destination: str, publishes: bool) -> None:
    """A push to a branch, and a repository that names no destination, stop after collecting."""
    context = {"github": {"ref_type": ref_type}, "vars": {"MCCONVERT_DESTINATION": destination}}

    assert holds(load(WORKFLOW)["jobs"]["publish"]["if"], context, succeeded=True) is publishes


def test_a_changed_export_is_not_published(jobs: dict[str, Job], base: Path, tmp_path: Path) -> None:
    """A byte that changed between the jobs ends the publishing one, and nothing appears at the destination."""
    export = Path(shutil.copytree(base / "artifacts" / "mcconvert-export", tmp_path / "artifacts" / "mcconvert-export"))
    (export / "onnx/image_fp32.onnx").write_bytes((export / "onnx/image_fp32.onnx").read_bytes() + b"\0")
    publishing = {**load(WORKFLOW)["jobs"]["publish"], "needs": []}
    found = run_workflow(
        {"jobs": {"publish": publishing}}, tmp_path, github={"ref_type": "tag"},
        vars={"MCCONVERT_DESTINATION": str(tmp_path / "published")},
    )["publish"]  # fmt: skip

    assert found.result == "failure"
    assert "onnx/image_fp32.onnx" in found.log
    assert not (tmp_path / "published").exists()
