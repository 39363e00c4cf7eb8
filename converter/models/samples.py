"""Named sample sets as files: what the towers are fed, written once, read by every process that runs an artifact.

One .npz a tower: `pixels` (n, size, size, 3) uint8 with `mean` and `std`, or `tokens` (n, 77) int32, and `names`.
`inside_graph` marks pixels that the files take as they are.
Pixels are stored before normalising, exact and a quarter of the size. Reading needs numpy alone. The same samples give
the same bytes, so that a file's hash can stand in a cache key. The last rows of a parity set are the stress samples of
`converter.models.stress`: `stress_count` says how many, and whoever ranks samples or takes their mean leaves them out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from converter.arrays import read_arrays
from converter.errors import ConversionError, UsageError, nearest
from converter.models.preprocessing import normalise
from converter.models.stress import count_stress, stress_pixels, stress_tokens
from converter.records import ModelSpec, SampleDomain, Tower

if TYPE_CHECKING:
    from PIL.Image import Image

type SampleSetKind = Literal["parity", "calibration"]

CALIBRATION_SAMPLES = 128
NEVER = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold; a real one would change the file's hash."""


def write_samples(
    spec: ModelSpec,
    tower: Tower,
    name: str,
    path: Path,
    *,
    count: int | None = None,
    source: Path | None = None,
) -> int:
    """Write the set "parity" or "calibration" of one tower to `path`; returns how many samples it holds.

    After those of "parity", and not counted among them, come the stress samples.
    `count` takes the first so many (default: all of parity, 128 for calibration). `spec.samples` says which images and
    captions are shipped for this model: photographs, or drawn scenes. `source` replaces them by your own: a folder of
    images for the image tower's parity, what `calibration_images` and `read_captions` take for calibration.

    Raises:
        UsageError: no set has that name, it holds fewer than `count`, or an image or a caption cannot be read.
        MissingDependencyError: `source` is parquet, and pyarrow is not installed.
    """
    if name not in get_args(SampleSetKind.__value__):
        message = f"unknown sample set '{name}'; {nearest(name, get_args(SampleSetKind.__value__))}"
        raise UsageError(message)
    wanted = CALIBRATION_SAMPLES if count is None and name == "calibration" and source is None else count
    make_arrays = _image_arrays if tower == "image" else _text_arrays
    arrays = make_arrays(spec, name, wanted, source)
    found = len(arrays["names"])
    if wanted is not None and found < wanted:
        message = f"the sample set '{name}' of the {tower} tower holds {found} samples, {wanted} were asked for"
        raise UsageError(message)
    _write_npz(path, _with_stress(spec, arrays) if name == "parity" else arrays)
    return found


def load_inputs(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What a tower's files take, stress samples too: {"image": (n, 3, size, size)} or {"tokens": (n, 77) int32}.

    Images are normalised float32, or the uint8 pixels themselves where the file says `inside_graph`.

    Raises:
        ConversionError: the file is missing, truncated, or not one that `write_samples` wrote.
    """
    arrays = _read_npz(path)
    if "pixels" in arrays and bool(arrays.get("inside_graph", False)):
        pixels = _expect(path, arrays, "pixels", 4, np.uint8)
        return {"image": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
    return _normalised(path, arrays)


def load_model_inputs(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What the unmodified model takes: as `load_inputs`, with images normalised in any case.

    Raises:
        ConversionError: as for `load_inputs`.
    """
    return _normalised(path, _read_npz(path))


def load_stored(path: Path) -> npt.NDArray[Any]:
    """Pixels or tokens as they are stored, stress samples too.

    Raises:
        ConversionError: as for `load_inputs`.
    """
    arrays = _read_npz(path)
    if "tokens" in arrays:
        return _expect(path, arrays, "tokens", 2, np.int32)
    return _expect(path, arrays, "pixels", 4, np.uint8)


def load_names(path: Path) -> list[str]:
    """The samples' names, in order: `<photograph>#<view>`, a file name, the caption itself, or `stress/<name>`.

    Raises:
        ConversionError: as for `load_inputs`.
    """
    names = _read_npz(path).get("names")
    if names is None or names.ndim != 1 or names.dtype.kind != "U":
        raise ConversionError(_foreign(path, "it has no list of names"))
    try:
        return [str(name) for name in names]
    except (SystemError, ValueError) as error:  # numpy makes text of numbers that are no characters
        raise ConversionError(_foreign(path, "its names are no text")) from error


def stress_count(path: Path) -> int:
    """How many of the last samples are stress samples; none in a file of an earlier version, or without names.

    Raises:
        ConversionError: as for `load_inputs`.
    """
    return _stress_rows(_read_npz(path))


def sample_set_name(
    tower: Tower,
    count: int,
    *,
    name: str = "parity",
    images_dir: Path | None = None,
    domain: SampleDomain = "photographs",
) -> str:
    """How reports name a set: "photographs-64", "captions-291", "images-12", "calibration-photographs-128".

    Those of drawn scenes are "scenes-64" and "scene-captions-256".
    """
    captions = "scene-captions" if domain == "scenes" else "captions"
    kind = captions if tower == "text" else "images" if images_dir else domain
    return f"{kind}-{count}" if name == "parity" else f"{name}-{kind}-{count}"


def shared_samples(first: Path, second: Path) -> int:
    """How many samples of one file are, value for value, in the other too; calibration and parity must share none.

    Stress samples do not count: a black image of one's own may be calibrated on.

    Raises:
        ConversionError: as for `load_inputs`.
    """
    return len(_rows(first) & _rows(second))


def _image_arrays(spec: ModelSpec, name: str, count: int | None, source: Path | None) -> dict[str, npt.NDArray[Any]]:
    from converter.models.preprocessing import prepare

    names: list[str] = []
    ranks: list[int] = []

    def images() -> Iterable[Image]:
        for rank, image_name, image in _ranked(spec, name, count, source):
            ranks.append(rank)
            names.append(image_name)
            yield image

    pixels = prepare(images(), spec.preprocessing)
    if ranks != sorted(ranks):
        order = np.argsort(ranks)
        pixels, names = pixels[order], [names[place] for place in order]
    mean, std = (np.asarray(values, np.float64) for values in (spec.preprocessing.mean, spec.preprocessing.std))
    inside_graph = {"inside_graph": np.asarray(True)} if spec.preprocessing.inside_graph else {}
    return {"pixels": pixels, "mean": mean, "std": std, "names": np.asarray(names, dtype=np.str_), **inside_graph}


def _ranked(spec: ModelSpec, name: str, count: int | None, source: Path | None) -> Iterable[tuple[int, str, Image]]:
    """Images with the places that they take in the file."""
    from converter.models.calibration_sources import LIMIT, calibration_images

    if name == "calibration" and source is not None:
        return calibration_images(source, LIMIT if count is None else count)
    views = islice(_views(spec.samples, name, count, source), count)
    return ((rank, image_name, image) for rank, (image_name, image) in enumerate(views))


def _views(domain: SampleDomain, name: str, count: int | None, source: Path | None) -> Iterable[tuple[str, Image]]:
    from converter.models.photographs import calibration_views, folder_images, parity_views

    if source is not None:
        return folder_images(source)
    if domain == "scenes":
        return _scene_views(name, count)
    return parity_views() if name == "parity" else calibration_views(count or CALIBRATION_SAMPLES)


def _scene_views(name: str, count: int | None) -> Iterable[tuple[str, Image]]:
    from converter.models.drawing import draw
    from converter.models.scenes import calibration_scenes, caption, parity_scenes

    scenes = parity_scenes() if name == "parity" else calibration_scenes(count or CALIBRATION_SAMPLES)
    return ((caption(scene), draw(scene)) for scene in scenes)


def _text_arrays(spec: ModelSpec, name: str, count: int | None, source: Path | None) -> dict[str, npt.NDArray[Any]]:
    from converter.models.calibration_texts import read_captions
    from converter.models.tokenizer import tokenize

    captions = (read_captions(source) if source else _captions(spec.samples, name, count))[:count]
    return {"tokens": tokenize(captions, spec), "names": np.asarray(captions, dtype=np.str_)}


def _captions(domain: SampleDomain, name: str, count: int | None) -> Sequence[str]:
    from converter.models import captions, scenes

    if domain == "scenes":
        wanted = count or CALIBRATION_SAMPLES
        return scenes.parity_captions() if name == "parity" else scenes.calibration_captions(wanted)
    return captions.parity_captions() if name == "parity" else captions.calibration_captions()


def _with_stress(spec: ModelSpec, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    key = "tokens" if "tokens" in arrays else "pixels"
    rows = stress_tokens(spec) if key == "tokens" else stress_pixels(spec.preprocessing.size)
    more = {key: np.stack(list(rows.values())), "names": np.asarray(list(rows), dtype=np.str_)}
    return {**arrays, **{name: np.concatenate([arrays[name], added]) for name, added in more.items()}}


def _write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_name(f"{path.name}.partial")
    with zipfile.ZipFile(sibling, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", date_time=NEVER), buffer.getvalue())
    sibling.replace(path)


def _normalised(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    if "tokens" in arrays:
        return {"tokens": _expect(path, arrays, "tokens", 2, np.int32)}
    pixels = _expect(path, arrays, "pixels", 4, np.uint8)
    mean, std = (_expect(path, arrays, key, 1, np.float64) for key in ("mean", "std"))
    return {"image": normalise(pixels, mean.tolist(), std.tolist())}


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    return read_arrays(path, lambda why: _foreign(path, str(why)))


def _rows(path: Path) -> set[bytes]:
    arrays = _read_npz(path)
    samples = arrays.get("tokens", arrays.get("pixels"))
    if samples is None:
        raise ConversionError(_foreign(path, "it has neither 'tokens' nor 'pixels'"))
    return {row.tobytes() for row in samples[: len(samples) - _stress_rows(arrays)]}


def _stress_rows(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    return count_stress([str(name) for name in arrays.get("names", ())])


def _expect(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], name: str, rank: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    array = arrays.get(name)
    if array is None:
        raise ConversionError(_foreign(path, f"it has {', '.join(sorted(arrays)) or 'nothing'}, but no '{name}'"))
    if array.ndim != rank or array.dtype != dtype or not len(array):
        seen = f"'{name}' is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} of rank {rank}"
        raise ConversionError(_foreign(path, seen))
    return array


def _foreign(path: Path, why: str) -> str:
    return f"{path} is not a whole sample file: {why}; delete it, and the next run writes it again"
