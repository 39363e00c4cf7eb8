"""Operations that read an image at places of their own: `crop_resize`, `resample`, `affine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

CROP_MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS")
"""Sampling modes that say where a box that need not hold whole pixels is read."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"crop_resize": _crop_resize, "resample": _resample, "affine": _affine}


def _crop_resize(a: Arguments) -> torch.Tensor:
    """MIL `crop_resize`: boxes of the image brought to one size; outside the image stands `pad_value`.

    Until iOS16 `roi` holds the boxes and gives `(boxes, images, ...)`; a fifth coordinate before the others chooses one
    image. From iOS17 on `boxes` and `box_indices` give `(boxes, ...)`. Normalized coordinates are times size - 1.
    Defaults: sizes 1, spatial_scale 1, normalized_coordinates false, box_coordinate_mode "CORNERS_HEIGHT_FIRST",
    sampling_mode "DEFAULT", pad_value 0, box_indices 0, 1, 2 ...

    Raises:
        ValueError: sampling mode DEFAULT or UNALIGN_CORNERS, which count the pixels of a box; no rule says how.
    """
    import torch

    mode = a.get("sampling_mode", "DEFAULT")
    if mode not in CROP_MODES:
        message = f"crops in sampling mode {mode}: what it gives is not defined; known are {', '.join(CROP_MODES)}"
        raise ValueError(message)
    if "roi" not in a:
        indices = a["box_indices"].tolist() if a.get("box_indices") is not None else range(len(a["boxes"]))
        return torch.cat(
            [_cropped(a, a["x"][i : i + 1], box, mode) for i, box in zip(indices, a["boxes"], strict=True)]
        )
    found = []
    for box in a["roi"].flatten(1):
        image = int(box[0]) if len(box) == 5 else None
        x = a["x"] if image is None else a["x"][image : image + 1]
        found.append(_cropped(a, x, box[-4:], mode))
    return torch.stack(found)


def _cropped(a: Arguments, x: torch.Tensor, box: torch.Tensor, mode: str) -> torch.Tensor:
    """One box of some images."""
    import torch

    from converter.mil.ops.resizing import places

    if not len(x):
        message = "a box of an image that is not there"
        raise ValueError(message)
    where = []
    spans = zip(("height", "width"), x.shape[2:], _corners(a, box.double()), strict=True)
    for side, pixels, (start, end) in spans:
        factor = float(a.get("spatial_scale", 1.0)) * (pixels - 1 if a.get("normalized_coordinates", False) else 1)
        where.append(places(mode, pixels, int(a.get(f"target_{side}", 1)), start * factor, end * factor))
    rows, columns = torch.meshgrid(*where, indexing="ij")
    read = _mixed(x, rows.float().expand(len(x), -1, -1), columns.float().expand(len(x), -1, -1), 0.0)
    inside = torch.ones(())
    for one, pixels in zip((rows, columns), x.shape[2:], strict=True):
        inside = inside * ((one >= 0) & (one <= pixels - 1))
    return torch.where(inside.bool(), read, float(a.get("pad_value", 0.0)))


def _corners(a: Arguments, box: torch.Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """(top, bottom), (left, right) of a box in any of MIL's four notations."""
    mode = a.get("box_coordinate_mode", "CORNERS_HEIGHT_FIRST")
    first, second = (box[0::2].tolist(), box[1::2].tolist())
    if mode.startswith("CENTER_SIZE"):
        first, second = ([centre - size / 2, centre + size / 2] for centre, size in (first, second))
    elif not mode.startswith("CORNERS"):
        message = f"box coordinates {mode}"
        raise ValueError(message)
    high, wide = (first, second) if mode.endswith("HEIGHT_FIRST") else (second, first)
    return (high[0], high[1]), (wide[0], wide[1])


def _affine(a: Arguments) -> torch.Tensor:
    """MIL `affine`: output place `(x, y)` reads `(a0 x + a1 y + a2, b0 x + b1 y + b2)`, in coordinates from -1 to 1.

    Raises:
        ValueError: another mode than MIL allows, or a size of 1, whose one pixel is both corners.
    """
    import torch

    given = (a["sampling_mode"].lower(), a["padding_mode"].lower(), a["coordinates_mode"].lower())
    sizes = [int(a["output_height"]), int(a["output_width"])]
    if given != ("bilinear", "constant", "normalized_minus_one_to_one") or not a["align_corners"] or min(sizes) < 2:
        message = (
            f"affine {given}, align_corners {bool(a['align_corners'])}, size {sizes}: what it gives is not defined"
        )
        raise ValueError(message)
    rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in sizes), indexing="ij")
    matrix = a["transform_matrix"].reshape(-1, 2, 3)
    read = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1) @ matrix.transpose(1, 2).unsqueeze(1)
    return _resample({**a, "coordinates": read.expand(len(a["x"]), -1, -1, -1)})


def _resample(a: Arguments) -> torch.Tensor:
    """MIL `resample`: the image read at `coordinates`, each (x, y), nearest or mixed of four pixels.

    Beyond the image "constant" has `padding_value` pixels, "border" the edge, "reflection" the image mirrored about the
    centres of its edge pixels, "symmetric" about their outer sides. A tie of nearest goes to the even pixel.
    """
    x = a["x"].float()
    padding = a["padding_mode"].lower()
    columns, rows = (
        _folded(_pixel(a, a["coordinates"][..., i].float(), pixels), pixels, padding)
        for i, pixels in enumerate((x.shape[3], x.shape[2]))
    )
    outside = float(a["padding_value"])
    sampling = a["sampling_mode"].lower()
    if sampling not in ("nearest", "bilinear"):
        message = f"sampling mode {sampling}; known are nearest and bilinear"
        raise ValueError(message)
    if sampling == "nearest":
        return _read(x, rows.round(), columns.round(), outside)
    return _mixed(x, rows, columns, outside)


def _pixel(a: Arguments, given: torch.Tensor, pixels: int) -> torch.Tensor:
    """A coordinate in pixels; corners are centres of pixels when aligned, else their outer sides."""
    mode = a["coordinates_mode"].lower()
    if mode == "unnormalized":
        return given
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        message = f"coordinates {mode}"
        raise ValueError(message)
    share = (given + 1) / 2 if mode == "normalized_minus_one_to_one" else given
    return share * (pixels - 1) if bool(a["align_corners"]) else share * pixels - 0.5


def _folded(where: torch.Tensor, pixels: int, padding: str) -> torch.Tensor:
    """A place as one inside the image, where the padding repeats the image."""
    import torch

    if padding == "constant":
        return where
    if padding == "reflection":
        where = torch.zeros_like(where) if pixels == 1 else _mirrored(where, pixels - 1.0)
    elif padding == "symmetric":
        where = _mirrored(where + 0.5, float(pixels)) - 0.5
    elif padding != "border":
        message = f"padding {padding}; known are constant, border, reflection, symmetric"
        raise ValueError(message)
    return where.clamp(0, pixels - 1)


def _mirrored(where: torch.Tensor, length: float) -> torch.Tensor:
    """Places between 0 and a length, after any number of reflections at both."""
    import torch

    turned = where.remainder(2 * length)
    return torch.where(turned > length, 2 * length - turned, turned)


def _mixed(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, outside: float) -> torch.Tensor:
    """Four neighbours by their nearness. `rows` and `columns` are `(images, height, width)`."""
    found: Any = 0.0
    top, left = rows.floor(), columns.floor()
    for row, vertical in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, horizontal in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            found = found + _read(x, row, column, outside) * (vertical * horizontal).unsqueeze(1)
    result: torch.Tensor = found
    return result


def _read(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, outside: float) -> torch.Tensor:
    """Whole pixels of `(images, channels, height, width)`; a number where there is none."""
    import torch

    height, width = x.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    at = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    taken = x.flatten(2).gather(2, at.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1))
    return torch.where(inside.unsqueeze(1), taken.reshape(*x.shape[:2], *rows.shape[1:]), outside)
