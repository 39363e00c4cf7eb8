"""timm's towers, quantized by the recipes of MobileCLIP's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import mcconvert

pytestmark = pytest.mark.slow
LEAST_COSINE = 0.95


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit"])
def test_a_tower_of_timm_is_quantized(name: str, tmp_path: Path) -> None:
    """Seeded weights, both formats: every int8 file runs and keeps what tells photographs apart.

    Of files this small the graph is a good part; sizes are not asked.
    """
    ran = mcconvert(
        "--model", name, "--weights", "seeded", "--target", "tflite", "--target", "onnx", "--quant", "int8",
        "--out", tmp_path / "out", "--json", cache=tmp_path / "cache",
    )  # fmt: skip

    results = [one for one in json.loads(ran.out) if one["requested"] and "/pytorch/" not in one["step_id"]]
    assert ran.code in (0, 6), ran.err
    assert {one["step_id"].split("/")[1] for one in results} == {"tflite", "onnx"}
    for one in results:
        assert one["vs_reference"]["outputs"][0]["centred_cosine_mean"] > LEAST_COSINE, one["step_id"]
