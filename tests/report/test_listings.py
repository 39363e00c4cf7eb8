"""What is known of models, as tables."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from converter.listed import Listed, Proven
from converter.models.catalog import find
from converter.report.listings import model_table, models_table


def printed(table: Table) -> str:
    """The table as a wide terminal shows it, blanks run together."""
    console = Console(file=io.StringIO(), width=300)
    console.print(table)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_listing_names_what_to_ask_for() -> None:
    """The name that --model takes, towers, sizes, preprocessing, where weights lie, and what was proven."""
    line = Listed(
        name="timm:resnet18.a1_in1k", title="resnet18", towers=("image",), size=224, weights="timm/x", license="mit",
        parameters={"image": 11.2}, preprocessing="bicubic, mean/std ImageNet's", proven="onnx, tflite 1/2",
    )  # fmt: skip

    shown = printed(models_table([line]))

    assert all(
        word in shown
        for word in (
            "timm:resnet18.a1_in1k",
            "image 11.2",
            "224",
            "bicubic, mean/std ImageNet's",
            "timm/x",
            "mit",
            "tflite 1/2",
        )
    )


@pytest.mark.parametrize(
    ("proven", "said"),
    [
        (None, "none yet"),
        (
            Proven(
                weights="hub",
                rows={"image/onnx/fp32": "PASSED", "text/onnx/fp32": "FAILED", "text/coreml/fp32": "PASSED"},
            ),
            "onnx 1 of 2; coreml 1 of 1; on hub weights",
        ),
    ],
)
def test_one_model_shows_all_its_facts(proven: Proven | None, said: str) -> None:
    """Parameters, preprocessing, weights, licence, and what was proven."""
    shown = printed(model_table(find("clip_rn50"), "", proven))

    for word in ("image 38.3 M, text 63.7 M", "shortest to 224, bicubic", "timm/resnet50_clip.openai", "MIT", said):
        assert word in shown


def test_a_missing_text_tower_is_explained() -> None:
    """Beside the towers stands the reason."""
    assert "image, text (no captions here)" in printed(model_table(find("clip_rn50"), "no captions here", None))
