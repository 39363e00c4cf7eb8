"""What calibration computes does not depend on how many threads the step was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from converter.quantization.coreml_ranges import CALIBRATION_THREADS, measure
from converter.records import Artifact, Tower
from tests.converted import Arrays, patchwork, recipe

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")


@pytest.mark.parametrize("given", [1, 3])
def test_calibration_has_its_own_number_of_threads(tiny_coreml: dict[tuple[Tower, str], Artifact], given: int) -> None:
    """Whatever the step's number is, which it has again afterwards."""
    package = tiny_coreml["image", "fp32"]
    seen: list[int] = []

    def samples() -> Iterator[Arrays]:
        for image in patchwork(2, seed=3)["image"]:
            seen.append(torch.get_num_threads())
            yield {"image": np.ascontiguousarray(image.transpose(1, 2, 0)[None])}

    before = torch.get_num_threads()
    torch.set_num_threads(given)
    try:
        measure(Path(package.path), ["embedding"], {}, package.inputs, samples(), recipe("static_w8a8"))
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert seen == [CALIBRATION_THREADS] * 2
    assert after == given
