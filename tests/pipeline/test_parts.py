"""Dividing a run: the parts together are the whole, and each has what it needs."""

from __future__ import annotations

import pytest

from converter.config import load_config, load_models
from converter.errors import UsageError
from converter.pipeline.parts import only, parts_of
from converter.pipeline.steps import Selection, build_steps, chain
from converter.records import Step


@pytest.fixture
def steps() -> list[Step]:
    selection = Selection(targets=("onnx", "tflite"), quants=("fp32", "int8_dynamic"))
    return build_steps(load_config(), load_models()["mobileclip_s1"], selection, trained=False)


def test_the_parts_make_the_whole(steps: list[Step]) -> None:
    """Every requested row is in just one part, as it is in the whole run."""
    made = [step for part in parts_of(steps) for step in only(steps, part) if step.requested and step.parent]

    assert sorted(step.id for step in made) == sorted(step.id for step in steps if step.requested and step.parent)
    assert all(step in steps for step in made)


def test_a_part_has_what_its_rows_are_made_from(steps: list[Step]) -> None:
    """TFLite is made from ONNX: that part makes the ONNX file too, and does not hand it out."""
    part = only(steps, "tflite/image")
    by_id = {step.id: step for step in part}

    assert all(need in by_id for needs in chain(part).values() for need in needs)
    assert not by_id["image/onnx/fp32"].requested
    assert by_id["image/tflite/fp32"].requested


def test_an_unknown_part_is_refused_with_those_there_are(steps: list[Step]) -> None:
    """The message names the nearest and the rest."""
    with pytest.raises(UsageError, match="did you mean 'onnx/text'.*tflite/image"):
        only(steps, "onnx/txt")
