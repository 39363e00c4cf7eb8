"""The GitLab pipeline, run for real on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.ci.github import load
from tests.ci.gitlab import Job, run_pipeline
from tests.ci.test_schemas import GITLAB

FEW = {"MODEL": "mobileclip_nano", "PIPELINE": "tests/ci/few_rows.yaml"}
EXPORTED = re.compile(r"^\S+/\S+/\S+ +(\w+) +[\d.]+ s", re.MULTILINE)


def few_jobs() -> dict[str, object]:
    """The file as a user of this model keeps it: with the jobs that `plan --matrix` lists."""
    pipeline = load(GITLAB)
    pipeline["export"]["parallel"]["matrix"] = [{"TARGET": ["torchscript", "onnx"], "TOWER": ["image"]}]
    return dict(pipeline)


@pytest.mark.ci
def test_jobs_meet_in_the_collected_folder(tmp_path: Path) -> None:
    """Steps arrive as artifacts, the whole run finds them, a tag publishes, a second pipeline makes nothing."""
    published = tmp_path / "published"
    first = run_pipeline(few_jobs(), tmp_path / "first", **FEW, CI_COMMIT_TAG="v1.0", DESTINATION=str(published))
    collected = first["collect"]

    assert list(first) == ["export: [torchscript, image]", "export: [onnx, image]", "collect", "publish"]
    assert [job.ran.code for job in first.values()] == [0, 0, 0, 0], [job.ran.log for job in first.values()]
    assert (published / "mobileclip_nano" / "v1" / "manifest.json").exists()
    assert EXPORTED.findall(collected.ran.log)[:3] == ["reuse"] * 3
    assert "2 of 2 files passed" in (collected.folder / "summary.md").read_text()

    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "caches").rename(tmp_path / "second" / "caches")
    second = run_pipeline(few_jobs(), tmp_path / "second", **FEW)

    assert {word for name, job in second.items() if "export" in name for word in EXPORTED.findall(job.ran.log)} == {
        "reuse"
    }


def test_a_failing_job_ends_the_pipeline(tmp_path: Path) -> None:
    """A part that the model has not is refused, and nothing is collected from the rest."""
    pipeline = few_jobs()
    pipeline["export"]["parallel"]["matrix"] = [{"TARGET": ["onnx"], "TOWER": ["sound"]}]  # type: ignore[index]

    jobs: dict[str, Job] = run_pipeline(pipeline, tmp_path, **FEW)

    assert list(jobs) == ["export: [onnx, sound]"]
    assert "no part 'onnx/sound'; did you mean 'onnx/image'?" in jobs["export: [onnx, sound]"].ran.log
