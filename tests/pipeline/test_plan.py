"""Keys and reasons: what makes a step another step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from converter.config import load_config, load_models
from converter.errors import MissingDependencyError
from converter.pipeline import plan as plan_module
from converter.pipeline.cache import Cache
from converter.pipeline.plan import PROOF_NEUTRAL, PROOF_SOURCES, Planner, check_dependencies, make_plan
from converter.pipeline.sources import source_hash
from converter.pipeline.steps import Selection, build_steps, reference_id
from converter.records import Step, Weights


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    return Planner(
        cache=Cache(tmp_path), spec=load_models()["mobileclip_s1"],
        weights=Weights(kind="seeded", sha256="0" * 64, trained=False),
    )  # fmt: skip


def steps(**config: object) -> list[Step]:
    changed = dataclasses.replace(load_config(), **config)  # type: ignore[arg-type]
    return build_steps(changed, load_models()["mobileclip_s1"], Selection(), trained=False)


def test_the_towers_have_references_of_their_own(planner: Planner) -> None:
    """One model, two towers: two keys, or one would be taken for the other."""
    planned = {one.step.id: one.key for one in make_plan(steps(), planner)}

    assert planned[reference_id("image")] != planned[reference_id("text")]


@pytest.mark.parametrize("change", ["weights", "images", "spec", "calibration folder", "calibration file"])
def test_what_the_reference_is_made_of_is_in_its_key(planner: Planner, tmp_path: Path, change: str) -> None:
    """Other weights, other photographs or another preprocessing: another reference."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"1")
    others = {
        "weights": dataclasses.replace(planner, weights=dataclasses.replace(planner.weights, sha256="1" * 64)),
        "images": dataclasses.replace(planner, images=str(tmp_path / "photos")),
        "calibration folder": dataclasses.replace(planner, calibration_images=str(tmp_path / "photos")),
        "calibration file": dataclasses.replace(planner, calibration_images=str(tmp_path / "photos" / "a.png")),
        "spec": dataclasses.replace(planner, spec=load_models()["mobileclip_s2"]),
    }

    keys = {make_plan(steps(), one)[0].key for one in (planner, others[change])}

    assert len(keys) == 2


def test_calibration_captions_are_in_the_text_towers_key_alone(planner: Planner, tmp_path: Path) -> None:
    """Other captions calibrate no image tower, other pictures no text tower."""
    (tmp_path / "a.txt").write_text("a caption")
    captions = dataclasses.replace(planner, calibration_captions=str(tmp_path / "a.txt"))
    pictures = dataclasses.replace(planner, calibration_images=str(tmp_path / "a.txt"))

    def keys(one: Planner) -> dict[str, str | None]:
        found = {step.step.id: step.key for step in make_plan(steps(), one)}
        return {tower: found[reference_id(tower)] for tower in ("image", "text")}

    plain = keys(planner)
    assert [tower for tower, key in keys(captions).items() if key != plain[tower]] == ["text"]
    assert [tower for tower, key in keys(pictures).items() if key != plain[tower]] == ["image"]


def test_tolerances_are_in_no_key(planner: Planner) -> None:
    """Judging differently is not converting differently."""
    reference = steps()[0]
    stricter = dataclasses.replace(reference, tolerances=())

    assert planner.decide(reference, None, None).key == planner.decide(stricter, None, None).key
    assert planner.decide(reference, None, None).proof_key == planner.decide(stricter, None, None).proof_key


def test_a_changed_tie_margin_measures_again_and_converts_nothing(planner: Planner) -> None:
    """Ties are part of what is measured, so only the proof's key changes."""
    reference = steps()[0]
    other = dataclasses.replace(reference, tie_margin=0.5)

    assert planner.decide(reference, None, None).key == planner.decide(other, None, None).key
    assert planner.decide(reference, None, None).proof_key != planner.decide(other, None, None).proof_key


def test_missing_distributions_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every target that lacks something has a line, and the line has the command."""
    monkeypatch.setattr(plan_module, "missing", lambda names: [n for n in names if n in ("onnx2tf", "coremltools")])

    with pytest.raises(MissingDependencyError) as caught:
        check_dependencies(steps(), {"tflite": "tflite", "coreml": "coreml"})

    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "tflite needs onnx2tf: pip install 'mcconvert[tflite]'" in lines


def test_parents_come_before_children() -> None:
    """The order of steps is one in which they can run."""
    seen: set[str] = set()
    for step in steps():
        assert {one for one in (step.parent, step.size_reference) if one} <= seen
        seen.add(step.id)


@pytest.mark.parametrize("module", ["converter.models.stress", "converter.models.samples"])
def test_what_samples_are_made_of_is_in_the_references_key(module: str) -> None:
    """Another stress sample is another sample file: every reference is made anew."""
    neutral = plan_module._REFERENCE_NEUTRAL

    assert _depends("converter.pipeline.reference", module, neutral)


@pytest.mark.parametrize("module", ["ranking", "intervals", "metrics", "stress", "nonfinite", "compare"])
def test_what_figures_are_made_of_is_in_the_proofs_key(module: str) -> None:
    """Another way of measuring measures again."""
    assert any(_depends(source, f"converter.parity.{module}", PROOF_NEUTRAL) for source in PROOF_SOURCES)


@pytest.mark.parametrize("module", ["judge", "resolution"])
def test_how_verdicts_are_made_is_in_no_key(module: str) -> None:
    """Verdicts and cautions come from stored figures each time."""
    assert not any(_depends(source, f"converter.parity.{module}", PROOF_NEUTRAL) for source in PROOF_SOURCES)


def _depends(source: str, module: str, neutral: tuple[str, ...]) -> bool:
    """Whether the hash of `source` would be another one without `module` in it."""
    return source == module or source_hash(source, neutral) != source_hash(source, (*neutral, module))
