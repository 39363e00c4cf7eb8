"""Images are brought to another size by the rule that the operation names, held against torch's and numpy's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mil.building import executed
from tests.mil.calling import Array, called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=25, deadline=None)
PIXELS, SIZES = st.integers(1, 6), st.integers(1, 9)
MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _grid(mode: str, n: int, count: int) -> list[float]:
    """Where values are read, as the table of the specification has it for one axis."""
    if mode == "ALIGN_CORNERS" and count == 1:
        return [(n - 1) / 2]
    if mode.endswith("_ALIGN_CORNERS") or mode == "ALIGN_CORNERS":
        return [0.0 if count == 1 else i * (n - 1) / (count - 1) for i in range(count)]
    if mode == "OFFSET_CORNERS":
        return [max(1, n - 1) / count * (0.5 + i) for i in range(count)]
    return [i * n / count + (0.5 * n / count - 0.5 if mode == "UNALIGN_CORNERS" else 0.0) for i in range(count)]


def _plain(x: Array, mode: str, height: int, width: int) -> Array:
    """Straight lines between pixels, along the last axis, then along the one before; the edge beyond them."""
    for axis, size in ((-1, width), (-2, height)):
        n = x.shape[axis]
        x = np.apply_along_axis(lambda line, n=n, size=size: np.interp(_grid(mode, n, size), range(n), line), axis, x)
    return x


@QUICK
@given(PIXELS, PIXELS, SIZES, SIZES, st.sampled_from(MODES))
def test_bilinear_resizing_reads_where_its_mode_says(h: int, w: int, height: int, width: int, mode: str) -> None:
    """In every sampling mode, larger and smaller; `resize` does the same to the last two axes."""
    x = drawn(1, 2, h, w)

    found = called("resize_bilinear", x=x, target_size_height=height, target_size_width=width, sampling_mode=mode)
    newer = called("resize", x=x, shape=[1, height, width], resized_dims=2, sampling_mode=mode)

    assert np.allclose(found, _plain(x, mode, height, width), atol=1e-5)
    assert np.array_equal(found, newer)


@QUICK
@given(PIXELS, PIXELS, st.sampled_from([0.5, 1.0, 1.5, 2, 2.6, 3]), st.booleans())
def test_bilinear_upsampling_is_torchs_with_recomputed_scales(h: int, w: int, scale: float, aligned: bool) -> None:
    """With corners aligned or pixels halved; the size is rounded down and the scale follows it."""
    x = drawn(1, 1, 2, 2 * h, 2 * w)

    found = called(
        "upsample_bilinear", x=x, scale_factor_height=scale, scale_factor_width=np.float32(scale), align_corners=aligned
    )

    sizes = [int(np.float32(scale) * size) for size in x.shape[2:]]
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), sizes, mode="bilinear", align_corners=aligned)
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_upsampling_without_halved_pixels_starts_at_the_first() -> None:
    """Neither corners nor centres aligned: places are multiples of the spacing; both at once is an error."""
    given_all: dict[str, Any] = {"x": np.float32([[[1, 2]]]), "scale_factor_width": 2}

    found = called("upsample_bilinear", align_corners=False, half_pixel_centers=False, **given_all)

    assert found.tolist() == [[[1.0, 1.5, 2.0, 2.0]]]
    with pytest.raises(ValueError, match="half_pixel_centers"):
        called("upsample_bilinear", align_corners=True, half_pixel_centers=True, **given_all)


@QUICK
@given(PIXELS, PIXELS, SIZES, SIZES)
def test_nearest_resizing_takes_the_pixel_around_the_centre(h: int, w: int, height: int, width: int) -> None:
    """As torch's exact kind of nearest; `resize` does the same, in whole numbers too."""
    x = drawn(1, 1, 2, h, w)

    found = called("resize_nearest_neighbor", x=x, target_size_height=height, target_size_width=width)
    newer = called(
        "resize",
        x=(8 * x).astype(np.int32),
        shape=[height, width],
        resized_dims=2,
        interpolation_mode="NEAREST_NEIGHBOR",
    )

    expected = torch.nn.functional.interpolate(torch.from_numpy(x), (height, width), mode="nearest-exact").numpy()
    assert np.array_equal(found, expected)
    assert np.array_equal(newer, (8 * expected).astype(np.int32))


@QUICK
@given(PIXELS, SIZES)
def test_nearest_upsampling_takes_the_pixel_before(pixels: int, size: int) -> None:
    """As torch's older kind of nearest, for the scales that coremltools writes of a size."""
    x = drawn(1, 1, 1, 1, pixels)
    scale = size / pixels if size % pixels == 0 else (size + 1e-4) / pixels

    found = called("upsample_nearest_neighbor", x=x, scale_factor_width=np.float32(scale))

    expected = torch.nn.functional.interpolate(torch.from_numpy(x), (1, size), mode="nearest").numpy()
    assert np.array_equal(found, expected)


def test_a_scale_that_chooses_other_pixels_than_the_sizes_is_an_error() -> None:
    """Five pixels times 1.3 are six: the last one is pixel 4 by the sizes, pixel 3 by the scale."""
    with pytest.raises(ValueError, match="different pixels"):
        called("upsample_nearest_neighbor", x=drawn(1, 1, 1, 5), scale_factor_width=np.float32(1.3))


def test_resizing_keeps_sizes_that_are_zero() -> None:
    """A size of 0 is the input's own; the sizes before the resized ones are not looked at."""
    x = drawn(1, 2, 3, 4)

    found = called("resize", x=x, shape=[9, 9, 0], resized_dims=1)

    assert np.array_equal(found, x)


@pytest.mark.parametrize(
    "changes",
    [
        {"interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "ALIGN_CORNERS"},
        {"x": np.ones((1, 2, 2), np.int32)},
        {"sampling_mode": "CORNERS"},
        {"resized_dims": 3},
    ],
)
def test_what_resizing_leaves_undefined_is_an_error(changes: dict[str, Any]) -> None:
    """Nearest by another rule, mixed whole numbers, an unknown mode, too many axes."""
    given_all: dict[str, Any] = {"x": np.ones((1, 2, 2)), "shape": [3, 3], "resized_dims": 2, **changes}

    with pytest.raises(ValueError, match=r"mode|resized_dims"):
        called("resize", **given_all)


def test_every_resizing_goes_through_a_file() -> None:
    """Built by coremltools, saved, read back: sizes as declared, values as the kernels give them."""
    x = drawn(1, 1, 2, 4, 6)

    found = executed(
        lambda mb, x: (
            mb.resize_bilinear(x=x, target_size_height=7, target_size_width=3, sampling_mode="OFFSET_CORNERS"),
            mb.upsample_bilinear(x=x, scale_factor_height=2.0, scale_factor_width=1.5, align_corners=False),
            mb.resize_nearest_neighbor(x=x, target_size_height=7, target_size_width=3),
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
            mb.resize(x=x, shape=[5, 0], resized_dims=np.uint32(2)),
            mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]),
        ),
        {"x": x},
    )

    expected = [
        _plain(x, "OFFSET_CORNERS", 7, 3),
        _plain(x, "UNALIGN_CORNERS", 8, 9),
        torch.nn.functional.interpolate(torch.from_numpy(x), (7, 3), mode="nearest-exact").numpy(),
        x.repeat(2, 2).repeat(3, 3),
        _plain(x, "DEFAULT", 5, 6),
        x[:, :, 1:, 2:-1],
    ]
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
