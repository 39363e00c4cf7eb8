from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from timm.layers import SelectAdaptivePool2d
from timm.layers.squeeze_excite import SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from converter.rewrites import static_mean
from tests.rewrites.measuring import ROUNDING, difference, run


def _grid() -> torch.Tensor:
    return torch.randn(3, 16, 5, 7, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("build", [lambda: SEModule(16, rd_ratio=0.5), lambda: SqueezeExcite(16, rd_ratio=0.5)])
def test_squeeze_excite_gives_the_same(build: Any) -> None:
    """Within float32 rounding, on a grid that is not square; both of timm's kinds."""
    module = nn.Sequential(build()).eval()
    assert static_mean.applies(module)

    static = static_mean.apply(copy.deepcopy(module), _grid())

    assert difference(run(module, _grid()), run(static, _grid())) < ROUNDING
    assert not static_mean.applies(static)


def test_average_pooling_gives_the_same() -> None:
    """Both of timm's average poolings become a mean."""
    for kind in ("avg", "fastavg"):
        module = nn.Sequential(SelectAdaptivePool2d(pool_type=kind, flatten=True)).eval()

        static = static_mean.apply(copy.deepcopy(module), _grid())

        assert isinstance(static[0], static_mean.StaticAveragePool)
        assert difference(run(module, _grid()), run(static, _grid())) < ROUNDING


def test_a_pooling_that_keeps_its_axes_keeps_them() -> None:
    """ConvNeXt's head normalises (batch, channels, 1, 1) before it flattens."""
    module = nn.Sequential(SelectAdaptivePool2d(pool_type="avg", flatten=False)).eval()

    static = static_mean.apply(copy.deepcopy(module), _grid())

    assert run(static, _grid()).shape == (3, 16, 1, 1)
    assert difference(run(module, _grid()), run(static, _grid())) < ROUNDING


def test_other_poolings_are_left_alone() -> None:
    """Maximum pooling and squeeze-excite with a maximum are no means; Swin's has its channels last."""
    others = nn.Sequential(
        SelectAdaptivePool2d(pool_type="max", flatten=True),
        SelectAdaptivePool2d(pool_type="fast", flatten=True, input_fmt="NHWC"),
        SEModule(16, add_maxpool=True),
    )

    assert not static_mean.applies(others)


def test_the_input_is_not_changed() -> None:
    """An activation that worked in place works on a copy."""
    static = static_mean.apply(nn.Sequential(SEModule(16, rd_ratio=0.5)).eval(), _grid())

    assert not any(getattr(module, "inplace", False) for module in static.modules())


def test_twin_a_mean_over_one_axis_shows() -> None:
    """Pooling that forgot an axis has another shape; one that took a maximum has other values."""
    mean = run(static_mean.StaticAveragePool(), _grid())

    assert difference(mean, _grid().amax(3).mean(2)) > 100 * ROUNDING
