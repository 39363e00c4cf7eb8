"""The files that users copy are what their services take, and put nothing of a stranger's into a shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from tests.ci.github import load
from tests.ci.machine import ROOT

WORKFLOW, ACTION, GITLAB = (
    ROOT / name for name in ("docs/ci/github-workflow.yml", "action.yml", "docs/ci/gitlab-ci.yml")
)
SCHEMAS = {WORKFLOW: "vendor.github-workflows", ACTION: "vendor.github-actions", GITLAB: "vendor.gitlab-ci"}
BREAKS: list[tuple[Path, Callable[[Any], Any]]] = [
    (WORKFLOW, lambda file: file["jobs"]["export"].pop("runs-on")),
    (WORKFLOW, lambda file: file["jobs"]["export"]["strategy"].update(matrix=3)),
    (WORKFLOW, lambda file: file.update(permissions={"contents": "everything"})),
    (ACTION, lambda file: file["runs"]["steps"][0].pop("shell")),
    (ACTION, lambda file: file["inputs"]["model"].pop("description")),
    (GITLAB, lambda file: file["export"].update(script=3)),
    (GITLAB, lambda file: file["export"]["cache"].update(when="sometimes")),
]


def checked(file: Path, schema: str) -> int:
    """The exit code of the schema's check, without a network."""
    return CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, str(file)]).exit_code


def interpolated(file: Any) -> Iterator[str]:
    """Scripts with an expression in them: its value would be read as shell text."""
    jobs = file["jobs"].values() if "jobs" in file else [file["runs"]]
    yield from (step["run"] for job in jobs for step in job["steps"] if "${{" in step.get("run", ""))


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_the_file_keeps_to_its_schema(file: Path) -> None:
    """The service's own schema takes it."""
    assert checked(file, SCHEMAS[file]) == 0


@pytest.mark.parametrize(("file", "spoil"), BREAKS, ids=lambda one: getattr(one, "name", ""))
def test_a_spoilt_file_does_not(tmp_path: Path, file: Path, spoil: Callable[[Any], Any]) -> None:
    """The check sees what a slip of the hand would do."""
    spoilt = {"on" if key is True else key: value for key, value in load(file).items()}
    spoil(spoilt)
    twin = tmp_path / file.name
    twin.write_text(yaml.safe_dump(spoilt), encoding="utf-8")

    assert checked(twin, SCHEMAS[file]) != 0


@pytest.mark.parametrize("file", [WORKFLOW, ACTION], ids=lambda file: file.name)
def test_no_expression_is_part_of_a_script(file: Path) -> None:
    """Inputs, branch names and matrix values reach a shell as variables only."""
    assert not list(interpolated(load(file)))


def test_an_expression_in_a_script_is_seen() -> None:
    """The search above finds what it is for."""
    file = load(WORKFLOW)
    file["jobs"]["plan"]["steps"].append({"run": "mcconvert ${{ inputs.args }}"})

    assert len(list(interpolated(file))) == 1


def test_actions_are_pinned_and_rights_are_least() -> None:
    """Every action has a major version; the workflow may read, and nothing else."""
    text = WORKFLOW.read_text(encoding="utf-8") + ACTION.read_text(encoding="utf-8")
    used = set(re.findall(r"uses: (\S+)", text)) - {"./", "OWNER/mcconvert@v1"}

    assert used
    assert all(re.fullmatch(r"actions/[a-z/-]+@v\d+", one) for one in used)
    assert load(WORKFLOW)["permissions"] == {"contents": "read"}
