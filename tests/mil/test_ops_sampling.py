"""Images read at any place: held against torch's grid sampling, scipy's interpolation and torchvision's RoI align."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from tests.mil.building import executed
from tests.mil.calling import Array, called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=25, deadline=None)
PIXELS = st.integers(2, 5)
TORCH_PADDING = {("border", False): "border", ("border", True): "border"} | {
    ("reflection", True): "reflection", ("symmetric", False): "reflection",
}  # fmt: skip
"""Torch mirrors about the centres of the edge pixels where corners are aligned, else about their outer sides."""
SCIPY_PADDING = {"border": "nearest", "reflection": "mirror", "symmetric": "reflect"}


def _resampled(x: Array, where: Array, **changes: Any) -> Array:
    given_all: dict[str, Any] = {
        "sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0,
        "coordinates_mode": "unnormalized", "align_corners": True, **changes,
    }  # fmt: skip
    return called("resample", x=x, coordinates=where, **given_all)


@QUICK
@given(PIXELS, PIXELS, st.sampled_from(sorted(TORCH_PADDING)), st.sampled_from(["nearest", "bilinear"]), st.booleans())
def test_sampling_by_shares_of_the_image_is_torchs(
    h: int, w: int, padding: tuple[str, bool], mode: str, from_zero: bool
) -> None:
    """In coordinates from -1 or from 0 to 1, corners aligned or not, far outside too."""
    kind, aligned = padding
    x, where = drawn(1, 2, 3, h, w), 1.5 * drawn(2, 2, 3, 4, 2)

    found = _resampled(
        x, (where + 1) / 2 if from_zero else where, sampling_mode=mode, padding_mode=kind, align_corners=aligned,
        coordinates_mode="normalized_zero_to_one" if from_zero else "normalized_minus_one_to_one",
    )  # fmt: skip

    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x), torch.from_numpy(where), mode, TORCH_PADDING[padding], aligned
    )
    assert np.allclose(found, expected.numpy(), atol=1e-4)


@QUICK
@given(PIXELS, PIXELS, st.sampled_from(sorted(SCIPY_PADDING)))
def test_sampling_at_pixels_is_scipys(h: int, w: int, padding: str) -> None:
    """In coordinates of pixels; the image is repeated around itself as the padding says."""
    x, where = drawn(1, 1, 1, h, w), 4 * drawn(2, 1, 3, 4, 2)

    found = _resampled(x, where, padding_mode=padding)

    places = where[0, ..., ::-1].transpose(2, 0, 1)
    expected = map_coordinates(x[0, 0].astype(np.float64), places, order=1, mode=SCIPY_PADDING[padding])
    assert np.allclose(found[0, 0], expected, atol=1e-4)


@QUICK
@given(PIXELS, PIXELS)
def test_a_constant_around_the_image_is_mixed_in(h: int, w: int) -> None:
    """Half a pixel outside, half of the padding counts."""
    x, where = drawn(1, 1, 1, h, w), 4 * drawn(2, 1, 3, 4, 2)

    found = _resampled(x, where, padding_value=2.5)

    places = where[0, ..., ::-1].transpose(2, 0, 1)
    expected = map_coordinates(x[0, 0].astype(np.float64), places, order=1, mode="grid-constant", cval=2.5)
    assert np.allclose(found[0, 0], expected, atol=1e-4)


@QUICK
@given(PIXELS, PIXELS, PIXELS, PIXELS, st.booleans())
def test_an_affine_map_is_torchs(h: int, w: int, height: int, width: int, shared: bool) -> None:
    """One matrix an image or one for all."""
    x, matrix = drawn(1, 2, 3, h, w), drawn(2, 1 if shared else 2, 6)

    found = called("affine", x=x, transform_matrix=matrix, output_height=height, output_width=width, **_affine_modes())

    maps = torch.from_numpy(matrix).reshape(-1, 2, 3).expand(2, -1, -1)
    grid = torch.nn.functional.affine_grid(maps, [2, 3, height, width], align_corners=True)
    expected = torch.nn.functional.grid_sample(torch.from_numpy(x), grid, align_corners=True)
    assert np.allclose(found, expected.numpy(), atol=1e-4)


def _affine_modes() -> dict[str, Any]:
    return {
        "sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0,
        "coordinates_mode": "normalized_minus_one_to_one", "align_corners": True,
    }  # fmt: skip


def _box(draw: Any) -> list[float]:
    top, left = draw(st.floats(0, 2)), draw(st.floats(0, 2))
    return [top, left, top + draw(st.floats(0.25, 2)), left + draw(st.floats(0.25, 2))]


@QUICK
@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_crops_are_read_from_corner_to_corner(data: Any, height: int, width: int) -> None:
    """Of the image that each box names, in every notation of a box, by pixels or by shares; one value is the middle."""
    x, box = drawn(1, 2, 3, 5, 5), _box(data.draw)
    image = data.draw(st.integers(0, 1))
    mode = data.draw(st.sampled_from(["CORNERS", "CENTER_SIZE"]))
    across = data.draw(st.booleans())
    shares = data.draw(st.booleans())
    noted = (
        box if mode == "CORNERS" else [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]
    )
    noted = [noted[i] for i in (1, 0, 3, 2)] if across else noted

    found = called(
        "crop_resize", x=x, boxes=[[one / (4 if shares else 2) for one in noted]], box_indices=[image],
        target_height=height, target_width=width, normalized_coordinates=shares, spatial_scale=1.0 if shares else 2.0,
        box_coordinate_mode=f"{mode}_{'WIDTH' if across else 'HEIGHT'}_FIRST", sampling_mode="ALIGN_CORNERS",
    )  # fmt: skip

    rows, columns = (
        np.linspace(start, end, count) if count > 1 else np.float64([(start + end) / 2])
        for start, end, count in ((box[0], box[2], height), (box[1], box[3], width))
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    expected = [map_coordinates(one.astype(np.float64), places, order=1, mode="nearest") for one in x[image]]
    assert np.allclose(found, [expected], atol=1e-4)


@QUICK
@given(st.data(), st.integers(1, 4))
def test_crops_at_the_middle_of_cells_are_roi_align(data: Any, size: int) -> None:
    """Mode OFFSET_CORNERS, with one sample a cell; until iOS16 each box is cut from each image."""
    ops = pytest.importorskip("torchvision.ops", reason="needs torchvision")
    x, box = drawn(1, 2, 3, 5, 5), _box(data.draw)

    found = called(
        "crop_resize", x=x, roi=np.float32(box).reshape(1, 1, 4, 1, 1), target_height=size, target_width=size,
        sampling_mode="OFFSET_CORNERS",
    )  # fmt: skip

    corners = torch.tensor([[box[1], box[0], box[3], box[2]]])
    expected = ops.roi_align(torch.from_numpy(x), [corners] * 2, size, sampling_ratio=1, aligned=False)
    assert found.shape == (1, 2, 3, size, size)
    assert np.allclose(found[0], expected.numpy(), atol=1e-4)


def test_a_crop_outside_the_image_is_the_pad_value() -> None:
    """Places beyond the last pixel are not mixed with the edge."""
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    given_all: dict[str, Any] = {
        "target_height": 1,
        "target_width": 3,
        "sampling_mode": "ALIGN_CORNERS",
        "pad_value": -7.0,
    }

    found = called("crop_resize", x=x, boxes=[[1, 1, 1, 3]], **given_all)

    assert found.tolist() == [[[[4, 5, -7]]]]


@pytest.mark.parametrize("mode", ["DEFAULT", "UNALIGN_CORNERS"])
def test_a_crop_that_counts_the_pixels_of_a_box_is_an_error(mode: str) -> None:
    """How many pixels a box from 0.3 to 1.7 holds is nowhere said."""
    with pytest.raises(ValueError, match="not defined"):
        called("crop_resize", x=np.ones((1, 1, 3, 3)), boxes=[[0, 0, 1, 1]], sampling_mode=mode)


def test_every_sampling_goes_through_a_file() -> None:
    """Built by coremltools, saved, read back; crops in the notation of iOS16 and of iOS17."""
    x, where, matrix = drawn(1, 1, 2, 4, 4), drawn(2, 1, 3, 3, 2), drawn(3, 1, 6)
    crop: dict[str, Any] = {"target_height": 2, "target_width": 3, "sampling_mode": "ALIGN_CORNERS"}
    resample: dict[str, Any] = {
        "sampling_mode": "nearest", "padding_mode": "symmetric", "padding_value": np.float32(0),
        "coordinates_mode": "normalized_minus_one_to_one", "align_corners": False,
    }  # fmt: skip
    roi = np.float32([0, 0.5, 1, 2, 3]).reshape(1, 1, 5, 1, 1)
    affine = _affine_modes() | {"output_height": 3, "output_width": 5, "padding_value": np.float32(0)}

    found = executed(
        lambda mb, x: (
            mb.crop_resize(x=x, boxes=np.float32([[0.5, 1, 2, 3]]), **crop),
            mb.resample(x=x, coordinates=where, **resample),
            mb.affine(x=x, transform_matrix=matrix, **affine),
        ),
        {"x": x},
    )
    older = executed(lambda mb, x: mb.crop_resize(x=x, roi=roi, **crop), {"x": x}, "iOS16")

    grid = torch.from_numpy(where)
    assert np.array_equal(found[0], older[0][0])
    assert np.array_equal(
        found[1], torch.nn.functional.grid_sample(torch.from_numpy(x), grid, "nearest", "reflection", False).numpy()
    )
    assert np.array_equal(found[2], called("affine", x=x, transform_matrix=matrix, **affine))
