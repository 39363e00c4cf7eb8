"""The jobs of a CI matrix: what they are told, and that it says what the user asked for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from converter.cli import cli
from converter.session import Request, prepare
from converter.session_matrix import Matrix, arguments_of, matrix_of
from tests.test_cli import run

NASTY = 'limits.minutes=10\'; touch hacked; $(touch hacked) `touch hacked` "x" ${{ github.token }}'


def matrix(tmp_path: Path, **asked: object) -> Matrix:
    request = Request(model="mobileclip_nano", out=tmp_path, **asked)  # type: ignore[arg-type]
    return matrix_of(request, prepare(request))


def test_a_job_for_each_target_and_tower(tmp_path: Path) -> None:
    """Only what was selected is offered."""
    found = matrix(tmp_path, targets=("onnx", "tflite"), quants=("int8_dynamic",), towers=("text",))

    assert [job.name for job in found.include] == ["onnx-text", "tflite-text"]
    assert [job.rows for job in found.include] == [("int8_dynamic",), ("int8_dynamic",)]


def test_a_tower_that_a_model_has_not_is_not_offered(tmp_path: Path) -> None:
    """An image-only model has no text jobs that would fail."""
    request = Request(model="timm:resnet18", weights="seeded", out=tmp_path)

    assert {job.tower for job in matrix_of(request, prepare(request)).include} == {"image"}


def test_arguments_give_the_same_request(tmp_path: Path) -> None:
    """A job that passes `args` to the command asks for what the user asked for, and for one part of it."""
    request = Request(
        model="mobileclip_nano", weights="auto", towers=("image",), targets=("onnx", "coreml"), quants=("fp32",),
        settings=(NASTY, "limits.minutes=10"), jobs=2, images=tmp_path, out=tmp_path,
    )  # fmt: skip
    seen: dict[str, object] = {}
    command = cli.make_context("mcconvert", shlex.split(shlex.join(arguments_of(request))))
    seen = command.params

    assert seen["settings"] == request.settings
    assert (seen["targets"], seen["quants"], seen["tower"]) == (request.targets, request.quants, "image")
    assert (seen["model"], seen["weights"], seen["jobs"], seen["images"]) == ("mobileclip_nano", "auto", 2, tmp_path)


def test_a_part_is_just_the_rows_that_its_job_names(tmp_path: Path) -> None:
    """What a job runs by its `args` is what the matrix said of it."""
    (job,) = matrix(tmp_path, targets=("onnx",), quants=("fp32",), towers=("image",)).include
    code, out, _ = run("plan", "--json", *shlex.split(job.args), out=tmp_path)
    planned = [one["step"]["row"] for one in json.loads(out)]

    assert code == 0
    assert planned == ["reference", *job.rows]


def test_the_command_prints_one_line_for_a_matrix(tmp_path: Path) -> None:
    """GITHUB_OUTPUT takes name=value lines: the JSON must not break."""
    code, out, _ = run("plan", "--matrix", "--model", "mobileclip_nano", "--target", "onnx", out=tmp_path)

    assert code == 0
    assert out.count("\n") == 1
    assert {"name", "model", "target", "tower", "rows", "folder", "args", "cache_key"} == set(
        json.loads(out)["include"][0]
    )


def test_cache_keys_follow_the_settings(tmp_path: Path) -> None:
    """The same request has the same keys, in any folder; another option changes those of the rows that it is about."""
    plain = matrix(tmp_path / "a")
    again = matrix(tmp_path / "b")
    changed = matrix(tmp_path / "a", settings=("coreml.fp32.options.deployment_target=iOS17",))

    assert plain == again
    assert {one.target for one, other in zip(plain.include, changed.include, strict=True)
            if one.cache_key != other.cache_key} == {"coreml"}  # fmt: skip


@pytest.mark.parametrize("field", ["out", "force"])
def test_where_a_job_writes_is_its_own(tmp_path: Path, field: str) -> None:
    """The folder of the planning machine is no business of another's."""
    assert not [one for one in arguments_of(Request(out=tmp_path, force=True)) if one.startswith(f"--{field}")]
