"""The runner of CI files itself: it fails where the service would, or the runs that rest on it prove nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ci.expressions import evaluate, fill, holds
from tests.ci.github import run_workflow

CONTEXT = {"inputs": {"a": "x", "cache-key": ""}, "matrix": {}, "needs": {"plan": {"outputs": {"json": '{"n": [1]}'}}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.a", "x"),
        ("inputs.a == 'X'", True),
        ("inputs.cache-key != '' && inputs.a", False),
        ("inputs.cache-key || 'it''s'", "it's"),
        ("matrix.absent.deeper", None),
        ("!(inputs.a == 'y') && 'yes'", "yes"),
        ("fromJSON(needs.plan.outputs.json)", {"n": [1]}),
    ],
)
def test_expressions_have_githubs_values(text: str, value: object) -> None:
    """As the service documents them."""
    assert evaluate(text, CONTEXT) == value


def test_an_unknown_context_is_an_error() -> None:
    """A slip in a name must not pass as an empty text."""
    with pytest.raises(AssertionError, match="no context 'input'"):
        fill("${{ input.a }}", CONTEXT)


@pytest.mark.parametrize(("condition", "runs"), [(None, False), ("inputs.a == 'x'", False), ("always()", True)])
def test_after_a_failure_only_always_runs(condition: str | None, runs: bool) -> None:
    """A condition without a status check asks for success too."""
    assert holds(condition, CONTEXT, succeeded=False) is runs


def workflow(*scripts: str, shell: str = "bash") -> dict[str, Any]:
    """Two jobs, the second needing the first."""
    steps = [{"run": script, "shell": shell, "id": f"s{at}"} for at, script in enumerate(scripts)]
    first = {"steps": steps, "outputs": {"said": "${{ steps.s0.outputs.said }}"}}
    second = {
        "needs": "first",
        "steps": [{"run": 'echo "got $SAID"', "env": {"SAID": "${{ needs.first.outputs.said }}"}}],
    }
    return {"jobs": {"first": first, "second": second}}


def test_outputs_reach_the_next_job(tmp_path: Path) -> None:
    """Through GITHUB_OUTPUT, and as a value: it is not run."""
    jobs = run_workflow(workflow('echo "said=a \\$(touch hacked) b" >> "$GITHUB_OUTPUT"'), tmp_path)

    assert "got a $(touch hacked) b" in jobs["second"].log
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize("script", ["false; true", "false | true", "exit 6"])
def test_a_failing_script_fails_its_job_and_stops_the_next(tmp_path: Path, script: str) -> None:
    """As under bash -eo pipefail."""
    jobs = run_workflow(workflow(script, "echo unreached"), tmp_path)

    assert jobs["first"].result == "failure"
    assert "unreached" not in jobs["first"].log.replace("### echo unreached", "")
    assert "second" not in jobs
