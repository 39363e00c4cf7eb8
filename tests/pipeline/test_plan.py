"""Keys and reasons: what makes a step another step."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from converter.config import load_config, load_models
from converter.errors import MissingDependencyError
from converter.files import hash_path
from converter.models import memory
from converter.pipeline import plan as plan_module
from converter.pipeline.cache import Cache
from converter.pipeline.plan import PROOF_NEUTRAL, PROOF_SOURCES, Planner, check_dependencies, fingerprint, make_plan
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


def test_a_folder_of_images_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Another clone, another machine, another day: the same photographs are the same ingredient."""
    for place, age in (("here/photos", 1), ("there/copied", 2_000_000_000)):
        (tmp_path / place / "inner").mkdir(parents=True)
        for name, content in (("a.png", b"1"), ("inner/b.png", b"2")):
            (tmp_path / place / name).write_bytes(content)
            os.utime(tmp_path / place / name, (age, age))

    assert fingerprint(str(tmp_path / "here/photos")) == fingerprint(str(tmp_path / "there/copied"))


@pytest.mark.parametrize("change", ["bytes", "name", "folder", "more"])
def test_other_images_are_another_ingredient(tmp_path: Path, change: str) -> None:
    """One byte, one name, one place below the folder or one picture more is seen, whatever the times say."""
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    (photos / "a.png").write_bytes(b"1")
    before = fingerprint(str(photos))
    changes = {
        "bytes": lambda: (photos / "a.png").write_bytes(b"2"),
        "name": lambda: (photos / "a.png").rename(photos / "b.png"),
        "folder": lambda: (photos / "a.png").rename(photos / "inner" / "a.png"),
        "more": lambda: (photos / "c.png").write_bytes(b"1"),
    }

    changes[change]()

    assert fingerprint(str(photos)) != before


def test_images_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm run reads no photograph again; a touched one it does."""
    read: list[Path] = []
    monkeypatch.setattr(memory, "hash_path", lambda path: (read.append(path), hash_path(path))[1])
    photos = [tmp_path / name for name in ("a.png", "b.png")]
    for photo in photos:
        photo.write_bytes(photo.name.encode())
    first = memory.files_sha256(photos, tmp_path / "memory")
    os.utime(photos[1], (1, 1))

    again = memory.files_sha256(photos, tmp_path / "memory")

    assert again == first
    assert read == [*photos, photos[1]]


def test_the_static_key_follows_what_a_step_is_made_from(planner: Planner) -> None:
    """A cache between runs is found by it: other options or weights miss, another tolerance or order of jobs hits."""
    some = steps()[:3]
    optioned = [*some[:2], dataclasses.replace(some[2], options={**some[2].options, "more": 1})]
    judged = [dataclasses.replace(one, tolerances=()) for one in some]
    others = dataclasses.replace(planner, weights=dataclasses.replace(planner.weights, sha256="1" * 64))

    assert planner.static_key(judged) == planner.static_key(some)
    assert planner.static_key(optioned) != planner.static_key(some)
    assert others.static_key(some) != planner.static_key(some)
