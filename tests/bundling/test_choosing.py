"""Which files a platform gets: the plainest that PASSED in its own format, and none that nothing proves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from converter.bundled import PLATFORMS, Expected, ExpectedImage, Platform
from converter.bundling.choosing import DEFAULTS, FORMATS, Rows, choose, row_of
from converter.bundling.preparing import preparation
from converter.bundling.readme import WORDS, readme
from converter.bundling.writing import sample_files
from converter.config import load_config
from converter.errors import PublishError, UsageError
from converter.manifest import Manifest
from tests.publishing.provable import make_provable, proven, with_entry

PACKAGE = "coreml/image_fp32.mlpackage"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two ONNX files and a Core ML package, all proven."""
    return make_provable(tmp_path)


@pytest.mark.parametrize(
    ("platform", "paths"),
    [
        ("ios", [PACKAGE]),
        ("web", ["onnx/image_fp32.onnx", "onnx/text_fp32.onnx"]),
        ("python", ["onnx/image_fp32.onnx", "onnx/text_fp32.onnx"]),
    ],
)
def test_each_platform_gets_its_format(
    tmp_path: Path, manifest: Manifest, platform: Platform, paths: list[str]
) -> None:
    """Of the towers that were asked for."""
    towers = ("image",) if platform == "ios" else ("image", "text")

    chosen = choose(tmp_path, manifest, Rows(platform=platform, towers=towers, named={}))

    assert [entry.path for entry in chosen] == paths


def test_a_tower_without_its_format_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    """There is no Core ML text file; taking the image file alone would be a surprise, so --tower has to say it."""
    with pytest.raises(PublishError, match="of the text tower there is none of them"):
        choose(tmp_path, manifest, Rows(platform="ios", named={}))


def test_figures_of_other_bytes_are_refused(tmp_path: Path, manifest: Manifest) -> None:
    """A verdict counts for the bytes that ran."""
    (entry,) = [one for one in manifest.artifacts if one.path == PACKAGE]
    assert entry.parity is not None
    other = dataclasses.replace(entry.parity, candidate_sha256="0" * 64)
    spoiled = dataclasses.replace(manifest, artifacts=with_entry(manifest, PACKAGE, parity=other))

    with pytest.raises(PublishError, match="measured on other bytes"):
        choose(tmp_path, spoiled, Rows(platform="ios", towers=("image",), named={}))


def test_a_row_of_another_format_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    """The Swift sample opens no ONNX file."""
    with pytest.raises(UsageError, match="the ios sample opens coreml files"):
        choose(tmp_path, manifest, Rows(platform="ios", towers=("image",), named={"image": "onnx/fp32"}))


def test_noise_is_not_handed_over(tmp_path: Path, manifest: Manifest) -> None:
    """A file that drifted FAILED, and is refused with its first figure."""
    (entry,) = [one for one in manifest.artifacts if one.path == PACKAGE]
    drifted = dataclasses.replace(manifest, artifacts=(proven(entry, noise=0.5),))

    with pytest.raises(PublishError, match="only files that PASSED"):
        choose(tmp_path, drifted, Rows(platform="ios", towers=("image",), named={"image": "coreml/fp32"}))


def test_every_default_is_a_row_of_the_targets() -> None:
    """A slip in the list of defaults would never be found."""
    known = {f"{name}/{row}" for name, target in load_config().targets.items() for row in target.rows}

    assert {row for rows in DEFAULTS.values() for row in rows} <= known
    assert all(row.startswith(FORMATS[platform]) for platform, rows in DEFAULTS.items() for row in rows)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_a_sample_and_a_page(manifest: Manifest, platform: Platform) -> None:
    """The page names each file of the sample, its commands, and what was checked and what was not."""
    entries = tuple(one for one in manifest.artifacts if one.path == PACKAGE)
    image = ExpectedImage(picture="test.png", pixel_sum=1, embedding=(1.0,), cosine=0.99, executed_by="a runtime")
    found = Expected(schema_version=1, reference="PyTorch", tolerance=0.001, image=image, text=None)

    page = readme(platform, dataclasses.replace(manifest, artifacts=entries), entries, found)

    assert all(f"`sample/{path}`" in page for path in sample_files(platform))
    assert all(command in page for command in WORDS[platform].commands)
    assert "0.990000 for the picture (by a runtime)" in page
    assert ("Apple's frameworks were not called" in page) == (platform == "ios")


def test_preparation_names_what_the_file_takes(manifest: Manifest) -> None:
    """Names and shapes come from the file, sizes and numbers from the model."""
    entries = [one for one in manifest.artifacts if row_of(one) == "onnx/fp32"]

    made = preparation(manifest.model, entries)

    assert made.image is not None and made.text is not None
    assert (made.image.input, made.image.layout, made.image.batch, made.image.size) == ("image", "NCHW", 1, 256)
    assert (made.text.input, made.text.context_length, made.text.end_token) == ("tokens", 77, 49407)
