"""The mistakes that apps and exporters make before the first layer fail the verdict, on photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converter.config import load_config, load_models
from converter.models.photographs import parity_views
from converter.models.preprocessing import normalise, prepare
from converter.models.stress import stress_pixels
from converter.parity.compare import compare
from converter.parity.judge import MIN_SPREAD, judge
from converter.records import ParityReport, Preprocessing
from tests.tiny import TINY_IMAGE_SIZE, tiny_clip

Array = np.ndarray[Any, Any]
RIGHT = replace(load_models()["mobileclip_s1"].preprocessing, size=TINY_IMAGE_SIZE)
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OPENAI: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
TIE_MARGIN = 2e-3


@pytest.fixture(scope="module")
def clip() -> Any:
    """The toy model, awake."""
    return tiny_clip()


@pytest.fixture(scope="module")
def reference(clip: Any) -> Array:
    """Its embeddings of the 64 photographs, prepared as it was made for."""
    return _embed(clip, _floats(RIGHT))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_right_preprocessing_passes(clip: Any, reference: Array, precision: str) -> None:
    """And the photographs lie far enough apart for the verdict to mean something."""
    report = _compared(reference, _embed(clip, _floats(RIGHT)))

    assert report.outputs[0].spread > MIN_SPREAD
    assert _failures(report, precision) == ()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    ("mistake", "floats"),
    [
        ("ImageNet's statistics", lambda: _floats(replace(RIGHT, **IMAGENET))),
        ("OpenAI's statistics", lambda: _floats(replace(RIGHT, **OPENAI))),
        ("blue before red", lambda: _floats(RIGHT)[:, ::-1]),
        ("squashed instead of cropped", lambda: _floats(replace(RIGHT, resize="squash"))),
        ("never divided by 255", lambda: _floats(RIGHT) * np.float32(255.0)),
    ],
)
def test_a_wrong_preprocessing_fails(clip: Any, reference: Array, mistake: str, floats: Any, precision: str) -> None:
    """In every precision, whatever else the bounds forgive."""
    failures = _failures(_compared(reference, _embed(clip, floats())), precision)

    assert any("centred_cosine" in failure for failure in failures), mistake


def _floats(preprocessing: Preprocessing) -> Array:
    pixels = prepare((image for _, image in parity_views()), preprocessing)
    stress = np.stack(list(stress_pixels(TINY_IMAGE_SIZE).values()))
    return normalise(np.concatenate([pixels, stress]), preprocessing.mean, preprocessing.std)


def _embed(clip: Any, floats: Array) -> Array:
    import torch

    with torch.no_grad():
        images = torch.from_numpy(np.ascontiguousarray(floats))
        return np.asarray(clip.encode_image(images, normalize=True).numpy())


def _compared(reference: Array, candidate: Array) -> ParityReport:
    return compare(
        {"embedding": reference}, {"embedding": candidate}, reference_name="right", candidate_name="as prepared",
        sample_set="photographs-64", executed_by="PyTorch", k=5, tie_margin=TIE_MARGIN, stress=len(reference) - 64,
    )  # fmt: skip


def _failures(report: ParityReport, precision: str) -> tuple[str, ...]:
    """By the bounds for trained weights of TFLite, which has all three precisions."""
    return judge(report, load_config().targets["tflite"].tolerances[precision].trained)[1]
