"""What changed between two manifests: every kind of change is told, and what got worse decides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from converter.difference import Difference, FileChange
from converter.manifest import Manifest, Waiver
from converter.publishing.diff import compare_manifests
from converter.records import Recipe, Tolerance
from tests.publishing.provable import TOLERANCES, make_provable, proven, with_entry

ONNX = "onnx/image_fp32.onnx"


@pytest.fixture
def old(tmp_path: Path) -> Manifest:
    return make_provable(tmp_path)


def of(found: Difference, path: str = ONNX) -> FileChange:
    return next(one for one in found.files if one.path == path)


def degraded(old: Manifest, noise: float) -> Manifest:
    """The same manifest with a file that is off by so much."""
    entries = tuple(
        dataclasses.replace(proven(one, noise), sha256="9" * 64) if one.path == ONNX else one for one in old.artifacts
    )
    return dataclasses.replace(old, artifacts=entries)


def test_nothing_changed(old: Manifest) -> None:
    """The same manifest twice gives no difference at all."""
    found = compare_manifests(old, old)

    assert {one.kind for one in found.files} == {"same"}
    assert not any(one.figures or one.changes or one.broken for one in found.files)
    assert (found.changes, found.broken) == ((), ())


def test_a_file_that_fails_now_is_broken_and_its_figures_are_worse(old: Manifest) -> None:
    """PASSED -> FAILED; intervals that lie apart make a change significant."""
    found = compare_manifests(old, degraded(old, 0.3))
    figures = {one.name: one for one in of(found).figures}

    assert of(found).kind == "changed"
    assert found.broken == ("image/onnx/fp32: PASSED -> FAILED",)
    assert (figures["top_k"].sense, figures["top_k"].significant) == ("worse", True)
    assert figures["max_abs"].sense == "worse"


def test_a_slight_change_is_told_and_not_called_significant(old: Manifest) -> None:
    """Within the intervals; and the other way round the same figure is better."""
    new = degraded(old, 0.001)
    there, back = compare_manifests(old, new), compare_manifests(new, old)

    assert not there.broken
    assert {one.sense for one in of(there).figures if one.name != "latency_ms"} == {"worse"}
    assert {one.sense for one in of(back).figures} == {"better"}
    assert not any(one.significant for one in of(there).figures)


@pytest.mark.parametrize(("required", "broken"), [(True, 1), (False, 0)])
def test_a_file_that_is_gone_breaks_a_promise_if_it_was_required(old: Manifest, required: bool, broken: int) -> None:
    """And one that came is told as added."""
    before = dataclasses.replace(old, artifacts=with_entry(old, ONNX, required=required))
    after = dataclasses.replace(old, artifacts=tuple(one for one in old.artifacts if one.path != ONNX))

    assert of(compare_manifests(before, after)).kind == "removed"
    assert len(compare_manifests(before, after).broken) == broken
    assert of(compare_manifests(after, before)).kind == "added"


def test_moved_bounds_and_recipes_are_told(old: Manifest) -> None:
    """Loosened, tightened, dropped; a recipe's options one by one."""
    bounds = (dataclasses.replace(TOLERANCES[0], limit=0.9), Tolerance(metric="max_abs", limit=0.1, why=""))
    recipe = Recipe(name="r", summary="s", precision="int8", weight_bits=8)
    before = dataclasses.replace(old, artifacts=with_entry(old, ONNX, recipe=recipe))
    after = dataclasses.replace(
        old, artifacts=with_entry(old, ONNX, tolerances=bounds, recipe=dataclasses.replace(recipe, smooth=0.5))
    )

    changes = {one.name: (one.old, one.new) for one in of(compare_manifests(before, after)).changes}

    assert changes["bound centred_cosine_mean loosened"] == ("0.99", "0.9")
    assert changes["bound top_k dropped"] == ("0.9", "none")
    assert changes["bound max_abs added"] == ("none", "0.1")
    assert changes["recipe.smooth"] == ("0.0", "0.5")
    back = {one.name for one in of(compare_manifests(after, before)).changes}
    assert "bound centred_cosine_mean tightened" in back


def test_weights_tools_and_waivers_are_told(old: Manifest) -> None:
    """What holds for all files; losing training breaks a promise."""
    weights = dataclasses.replace(old.model.weights, sha256="2" * 64)
    new = dataclasses.replace(
        old, model=dataclasses.replace(old.model, trained=False, weights=weights), environment={"onnx": "1.20"},
        waivers=(Waiver(name="untrained-weights", what="x"),),
    )  # fmt: skip

    found = compare_manifests(old, new)
    changes = {one.name: (one.old, one.new) for one in found.changes}

    assert changes["weights"] == ("hub 111111111111", "hub 222222222222")
    assert changes["waivers"] == ("none", "untrained-weights")
    assert changes["onnx"] == ("none", "1.20")
    assert found.broken == ("trained: yes -> no",)
