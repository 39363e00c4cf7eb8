"""The benchmark's photographs are 96, and neither calibrated on nor judged on by an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converter.bench.photographs import UNTOUCHED, photograph_views
from converter.config import load_models
from converter.models.photographs import CALIBRATION_PHOTOGRAPHS, PARITY_PHOTOGRAPHS, parity_views
from converter.models.preprocessing import prepare

PREPROCESSING = load_models()["mobileclip_nano"].preprocessing


def test_there_are_96_views_of_12_photographs() -> None:
    """Each under another name, each another picture."""
    views = list(photograph_views())
    pixels = prepare((image for _, image in views), PREPROCESSING)

    assert len({name for name, _ in views}) == 96
    assert len({name.partition("#")[0] for name, _ in views}) == 12
    assert len({one.tobytes() for one in pixels}) == 96


def test_no_view_is_a_parity_view_or_of_a_calibration_photograph() -> None:
    """Nor is any of the four other photographs one of theirs."""
    ours = prepare((image for _, image in photograph_views()), PREPROCESSING)
    theirs = prepare((image for _, image in parity_views()), PREPROCESSING)
    stems = {name.partition("#")[0] for name, _ in photograph_views()}

    assert not {one.tobytes() for one in ours} & {one.tobytes() for one in theirs}
    assert not stems & {Path(name).stem for name in CALIBRATION_PHOTOGRAPHS}
    assert not set(UNTOUCHED) & {*PARITY_PHOTOGRAPHS, *CALIBRATION_PHOTOGRAPHS}
    assert np.ptp(ours.reshape(96, -1), axis=1).min() > 0
