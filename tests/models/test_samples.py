"""Sample files are exact, repeatable, apart from each other, and refused when they are not whole."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.errors import ConversionError, UsageError
from converter.models.captions import parity_captions
from converter.models.photographs import parity_views
from converter.models.samples import (
    load_inputs,
    load_model_inputs,
    load_names,
    load_stored,
    sample_set_name,
    shared_samples,
    stress_count,
    write_samples,
)
from converter.models.tokenizer import tokenize
from converter.records import TOWERS, ModelSpec, Tower
from tests.transforms import open_clip_transform

SETS = ("parity", "calibration")


@pytest.fixture(scope="module")
def small(spec: ModelSpec) -> ModelSpec:
    """The default model at 64 pixels, for speed."""
    return dataclasses.replace(spec, preprocessing=dataclasses.replace(spec.preprocessing, size=64))


@pytest.fixture(scope="module")
def scenes_spec(small: ModelSpec) -> ModelSpec:
    """The same, judged on drawn scenes."""
    return dataclasses.replace(small, samples="scenes")


def test_images_are_what_open_clip_would_feed_the_model(small: ModelSpec, tmp_path: Path) -> None:
    """All 64 views in order, equal bit for bit to open_clip's transform."""
    views = list(parity_views())
    expected = np.stack([open_clip_transform(small.preprocessing)(image).numpy() for _, image in views])

    count = write_samples(small, "image", "parity", tmp_path / "image.npz")

    assert count == 64
    assert load_names(tmp_path / "image.npz")[:64] == [name for name, _ in views]
    assert np.array_equal(load_inputs(tmp_path / "image.npz")["image"][:64], expected)


def test_pixels_are_given_to_files_that_normalise_and_floats_to_the_model(small: ModelSpec, tmp_path: Path) -> None:
    """uint8 in the tower's own layout; the model gets what it gets from any other sample file."""
    inside = dataclasses.replace(
        small, preprocessing=dataclasses.replace(small.preprocessing, inside_graph=True, value_range=(0.0, 255.0))
    )
    write_samples(inside, "image", "parity", tmp_path / "inside.npz", count=4)
    write_samples(small, "image", "parity", tmp_path / "plain.npz", count=4)

    pixels, floats = load_inputs(tmp_path / "inside.npz")["image"], load_model_inputs(tmp_path / "inside.npz")["image"]

    assert (pixels.dtype, pixels.shape[1:], pixels.flags.c_contiguous) == (np.uint8, (3, 64, 64), True)
    assert np.array_equal(floats, load_inputs(tmp_path / "plain.npz")["image"])
    assert np.array_equal(floats, load_model_inputs(tmp_path / "plain.npz")["image"])
    assert np.array_equal(pixels, np.rint(floats * 255))


def test_tokens_are_those_of_the_captions(spec: ModelSpec, tmp_path: Path) -> None:
    """All captions in order, and the names are the captions themselves, the empty one too."""
    count = write_samples(spec, "text", "parity", tmp_path / "text.npz")

    assert count == len(parity_captions())
    assert load_names(tmp_path / "text.npz")[:count] == list(parity_captions())
    assert np.array_equal(load_inputs(tmp_path / "text.npz")["tokens"][:count], tokenize(parity_captions(), spec))


@pytest.mark.parametrize("tower", TOWERS)
def test_the_same_samples_are_the_same_bytes(small: ModelSpec, tmp_path: Path, tower: Tower) -> None:
    """No time of day in the file, and nothing left beside it."""
    for name in ("first.npz", "second.npz"):
        write_samples(small, tower, "calibration", tmp_path / name, count=8)

    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.npz", "second.npz"}


@pytest.mark.parametrize("tower", TOWERS)
def test_calibration_and_parity_share_no_sample(small: ModelSpec, tmp_path: Path, tower: Tower) -> None:
    """Not one picture, not one row of tokens; a file shares everything with itself."""
    for name in ("parity", "calibration"):
        write_samples(small, tower, name, tmp_path / f"{name}.npz")

    assert shared_samples(tmp_path / "parity.npz", tmp_path / "calibration.npz") == 0
    assert shared_samples(tmp_path / "parity.npz", tmp_path / "parity.npz") > 0
    assert len(load_names(tmp_path / "calibration.npz")) == 128


def test_a_folder_of_your_own_takes_the_photographs_place(small: ModelSpec, tmp_path: Path) -> None:
    """Names are file names; `count` takes the first for parity, any for calibration, the same every time."""
    (tmp_path / "mine").mkdir()
    for index in range(3):
        Image.new("RGB", (80, 70), (index * 90, 0, 0)).save(tmp_path / "mine" / f"{index}.png")

    everything = write_samples(small, "image", "parity", tmp_path / "a.npz", source=tmp_path / "mine")
    some = [
        write_samples(small, "image", "calibration", tmp_path / name, source=tmp_path / "mine", count=2)
        for name in ("b.npz", "c.npz")
    ]

    assert (everything, some) == (3, [2, 2])
    assert _ordinary(tmp_path / "a.npz") == ["0.png", "1.png", "2.png"]
    assert len({"0.png", "1.png", "2.png"} & set(load_names(tmp_path / "b.npz"))) == 2
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()


def test_calibration_pictures_come_in_a_random_order(small: ModelSpec, tmp_path: Path) -> None:
    """A folder sorted by kind gives a bit of every kind to whoever takes the first ones; each keeps its name."""
    (tmp_path / "mine").mkdir()
    for index in range(16):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(tmp_path / "mine" / f"{index:02}.png")
    write_samples(small, "image", "calibration", tmp_path / "c.npz", source=tmp_path / "mine")

    names = load_names(tmp_path / "c.npz")
    assert sorted(names) == [f"{index:02}.png" for index in range(16)]
    assert names != sorted(names)
    assert [f"{picture[0, 0, 0]:02}.png" for picture in load_stored(tmp_path / "c.npz")] == names


def test_captions_of_your_own_take_the_built_in_ones_place(spec: ModelSpec, tmp_path: Path) -> None:
    """For calibration; parity keeps its own."""
    (tmp_path / "mine.txt").write_text("a red bicycle\n\na blue boat\na red bicycle\n", encoding="utf-8")

    count = write_samples(spec, "text", "calibration", tmp_path / "c.npz", source=tmp_path / "mine.txt")

    assert count == 2
    assert set(load_names(tmp_path / "c.npz")) == {"a red bicycle", "a blue boat"}
    assert np.array_equal(load_stored(tmp_path / "c.npz"), tokenize(load_names(tmp_path / "c.npz"), spec))


@pytest.mark.parametrize("tower", TOWERS)
def test_scenes_take_the_photographs_place_where_the_model_says_so(
    scenes_spec: ModelSpec, tmp_path: Path, tower: Tower
) -> None:
    """Both towers, both sets, which share nothing; the names say what is seen."""
    for name in ("parity", "calibration"):
        write_samples(scenes_spec, tower, name, tmp_path / f"{name}.npz")

    parity, calibration = (_ordinary(tmp_path / f"{name}.npz") for name in ("parity", "calibration"))
    assert (len(parity), len(calibration)) == (64 if tower == "image" else 256, 128)
    assert shared_samples(tmp_path / "parity.npz", tmp_path / "calibration.npz") == 0
    assert not set(parity) & set(calibration)
    assert all("background" in caption for caption in parity)


def test_a_folder_of_your_own_takes_the_scenes_place_too(scenes_spec: ModelSpec, tmp_path: Path) -> None:
    """Images only; the captions stay."""
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (80, 70)).save(tmp_path / "mine" / "0.png")

    write_samples(scenes_spec, "image", "parity", tmp_path / "image.npz", source=tmp_path / "mine")

    assert _ordinary(tmp_path / "image.npz") == ["0.png"]


@pytest.mark.parametrize("tower", TOWERS)
def test_stress_samples_come_last_and_are_not_counted(small: ModelSpec, tmp_path: Path, tower: Tower) -> None:
    """In the parity set only: calibration never sees them."""
    counts = {name: write_samples(small, tower, name, tmp_path / f"{name}.npz", count=4) for name in SETS}

    parity, calibration = (tmp_path / f"{name}.npz" for name in SETS)
    assert counts == {"parity": 4, "calibration": 4}
    assert (stress_count(parity), stress_count(calibration)) == (7 if tower == "image" else 6, 0)
    assert [name.startswith("stress/") for name in load_names(parity)] == [False] * 4 + [True] * stress_count(parity)
    assert len(next(iter(load_inputs(parity).values()))) == len(load_names(parity))


def test_a_folder_of_your_own_has_stress_samples_too(small: ModelSpec, tmp_path: Path) -> None:
    """And a black picture of one's own may be calibrated on, though it is one of them."""
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "mine" / "night.png")
    write_samples(small, "image", "parity", tmp_path / "parity.npz", count=4)

    write_samples(small, "image", "calibration", tmp_path / "mine.npz", source=tmp_path / "mine")
    write_samples(small, "image", "parity", tmp_path / "judged.npz", source=tmp_path / "mine")

    assert shared_samples(tmp_path / "parity.npz", tmp_path / "mine.npz") == 0
    assert shared_samples(tmp_path / "judged.npz", tmp_path / "mine.npz") == 1
    assert stress_count(tmp_path / "judged.npz") == 7


def test_files_of_an_earlier_version_have_no_stress_samples(tmp_path: Path) -> None:
    """With names or without."""
    tokens = np.ones((2, 77), np.int32)
    np.savez(tmp_path / "named.npz", tokens=tokens, names=np.array(["a cat", "stress/es"])[::-1])
    np.savez(tmp_path / "bare.npz", tokens=tokens)

    assert stress_count(tmp_path / "named.npz") == stress_count(tmp_path / "bare.npz") == 0


def test_more_samples_than_there_are_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """Fewer than asked for would be a silent change of the recipe."""
    with pytest.raises(UsageError, match="5000 were asked for"):
        write_samples(spec, "text", "calibration", tmp_path / "x.npz", count=5000)
    assert not (tmp_path / "x.npz").exists()


def test_an_unknown_set_is_refused_with_the_nearest_name(spec: ModelSpec, tmp_path: Path) -> None:
    """A typo is told what was probably meant."""
    with pytest.raises(UsageError, match="did you mean 'parity'"):
        write_samples(spec, "text", "paritty", tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [0, 100, 3000, -30])
def test_a_truncated_file_is_refused(spec: ModelSpec, tmp_path: Path, keep: int) -> None:
    """Wherever it was cut; the message names it and says that it may be deleted."""
    path = tmp_path / "text.npz"
    write_samples(spec, "text", "calibration", path)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ConversionError, match=r"text\.npz.*delete it"):
        load_inputs(path)


def test_a_changed_byte_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """The archive's checksum is looked at."""
    path = tmp_path / "text.npz"
    write_samples(spec, "text", "calibration", path)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)

    with pytest.raises(ConversionError, match="CRC"):
        load_inputs(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": np.zeros(3)},
        {"tokens": np.zeros((2, 77), np.int64)},
        {"tokens": np.zeros((0, 77), np.int32)},
        {"pixels": np.zeros((2, 8, 8, 3), np.uint8)},
        {"pixels": np.zeros((2, 8, 8, 3), np.float32), "mean": np.zeros(3), "std": np.ones(3)},
        {"tokens": np.array([{"code": 1}], dtype=object)},
    ],
    ids=["other", "int64", "empty", "no mean", "floats", "pickled"],
)
def test_a_foreign_file_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Other arrays, other types, none, or pickled objects, which are never loaded."""
    np.savez(tmp_path / "foreign.npz", **arrays)

    with pytest.raises(ConversionError, match=r"foreign\.npz is not a whole sample file"):
        load_inputs(tmp_path / "foreign.npz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """As a conversion error, not as a traceback."""
    with pytest.raises(ConversionError, match=r"gone\.npz"):
        load_inputs(tmp_path / "gone.npz")


def test_sets_have_a_name_for_reports(tmp_path: Path) -> None:
    """Kind and count, and calibration says so."""
    assert sample_set_name("image", 64) == "photographs-64"
    assert sample_set_name("text", 291) == "captions-291"
    assert sample_set_name("image", 12, images_dir=tmp_path) == "images-12"
    assert sample_set_name("image", 128, name="calibration") == "calibration-photographs-128"
    assert sample_set_name("image", 64, domain="scenes") == "scenes-64"
    assert sample_set_name("text", 256, domain="scenes") == "scene-captions-256"
    assert sample_set_name("image", 12, images_dir=tmp_path, domain="scenes") == "images-12"


def test_reading_samples_needs_no_torch(spec: ModelSpec, tmp_path: Path) -> None:
    """The process that runs a TFLite file stays free of it."""
    write_samples(spec, "text", "calibration", tmp_path / "text.npz")
    code = (
        "import sys; from pathlib import Path; from converter.models.samples import load_inputs; "
        f"load_inputs(Path({str(tmp_path / 'text.npz')!r})); print(*sys.modules)"
    )

    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"torch", "PIL", "open_clip"} & set(imported)


def _ordinary(path: Path) -> list[str]:
    names = load_names(path)
    return names[: len(names) - stress_count(path)]
