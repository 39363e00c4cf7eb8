"""The web sample in Chromium: onnxruntime-web on the real files gives what PyTorch gives."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.models.images import open_image
from converter.models.preprocessing import prepare
from converter.models.tokenizer_file import encode
from converter.records import Preprocessing
from tests.browser import chromium, opened_page
from tests.bundling.conftest import cosine, rewrite
from tests.bundling.texts import captions
from tests.bundling.web import served, with_onnxruntime_web

SIDES = [(420, 315), (301, 517), (96, 96), (50, 33)]
PREPARED = """async ({ data, width, height, facts }) => {
  const { prepare } = await import("./picture.js");
  const bytes = Uint8ClampedArray.from(atob(data), (sign) => sign.charCodeAt(0));
  return [...prepare({ width, height, data: bytes }, facts).data];
}"""

DECODED = """async (data) => {
  const { decode } = await import("./picture.js");
  const { width, height, data: rgb } = await decode(await (await fetch(`data:;base64,${data}`)).blob());
  return { width, height, data: [...rgb] };
}"""

RESIZED_BY_CANVAS = """async ({ picture, quality }) => {
  const blob = await (await fetch(new URL(`../${picture}`, location.href))).blob();
  const { prepare } = await import("./picture.js");
  const facts = window.model.facts.image, bitmap = await createImageBitmap(blob);
  const scale = facts.resize_to / Math.min(bitmap.width, bitmap.height);
  const width = Math.floor(bitmap.width * scale), height = Math.floor(bitmap.height * scale);
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { alpha: false });
  context.imageSmoothingQuality = quality;
  context.drawImage(bitmap, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  const square = prepare({ width, height, data: rgba.filter((_, at) => at % 4 !== 3) }, facts);
  return { pixels: [...square.data], embedding: [...(await window.model.embedPixels(square))] };
}"""


@pytest.fixture(scope="module")
def bundle(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The web bundle with its npm packages."""
    chromium()
    bundle = Path(shutil.copytree(bundles["web"], tmp_path_factory.mktemp("web") / "bundle"))
    with_onnxruntime_web(bundle)
    return bundle


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Iterator[tuple[Any, dict[str, Any], list[str]]]:
    """The page after its own test: page, what it found, what its console said."""
    with served(bundle) as address, opened_page(address) as (page, said):
        page.wait_for_function("window.found")
        yield page, page.evaluate("window.found"), said


def test_embeddings_in_the_browser_are_those_of_pytorch(
    bundle: Path, opened: tuple[Any, dict[str, Any], list[str]]
) -> None:
    """Cosines above 0.9999 and no value further off than 1e-5, for the picture and the text; a quiet console."""
    page, found, said = opened
    expected = json.loads((bundle / "expected.json").read_text())

    for tower in ("image", "text"):
        made, reference = np.array(found[tower]["embedding"]), np.array(expected[tower]["embedding"])
        print(f"{tower}: cosine {cosine(made, reference):.9f}, max_abs {abs(made - reference).max():.2e}")
        assert cosine(made, reference) > 0.9999
        assert abs(made - reference).max() < 1e-5
    assert found["passed"]
    assert found["pixelSum"] == expected["image"]["pixel_sum"]
    assert page.inner_text("#test").endswith("PASSED")
    assert said == []


def test_texts_become_the_tokens_of_the_proven_tokenizer(
    bundle: Path, opened: tuple[Any, dict[str, Any], list[str]]
) -> None:
    """Every caption, and texts with entities, ligatures, other scripts, special tokens and too many words."""
    texts = captions()

    found = opened[0].evaluate("(texts) => texts.map((text) => window.model.tokenizer.encode(text))", texts)

    assert found == encode(bundle / "tokenizer.json", texts)


@pytest.mark.parametrize(
    ("resize", "interpolation"), [("shortest", "bilinear"), ("longest", "bicubic"), ("shortest", "nearest")]
)
@pytest.mark.parametrize("sides", SIDES)
def test_pictures_become_the_very_pixels(
    opened: tuple[Any, dict[str, Any], list[str]], resize: Any, interpolation: Any, sides: tuple[int, int]
) -> None:
    """Equal in every bit to what files are judged on."""
    how = Preprocessing(
        size=64, resize=resize, resize_size=72, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1),
        value_range=(0, 1),
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (*sides[::-1], 3), dtype=np.uint8)
    facts = {"size": 64, "resize_to": 72, "resize": resize, "interpolation": interpolation}
    given = {"data": base64.b64encode(pixels).decode(), "width": sides[0], "height": sides[1], "facts": facts}

    made = opened[0].evaluate(PREPARED, given)

    assert np.array_equal(np.reshape(made, (64, 64, 3)), prepare([Image.fromarray(pixels)], how)[0])


def test_the_canvas_alone_gives_another_picture(bundle: Path, opened: tuple[Any, dict[str, Any], list[str]]) -> None:
    """Why the sample resizes by itself: what drawImage smooths is seen by the test's sum of pixels, at any quality."""
    image, size = json.loads((bundle / "expected.json").read_text())["image"], 64
    right = prepare([Image.open(bundle / "test.png")], Preprocessing(
        size=size, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1), value_range=(0, 1)
    ))[0]  # fmt: skip

    for quality in ("low", "medium", "high"):
        made = opened[0].evaluate(RESIZED_BY_CANVAS, {"picture": "test.png", "quality": quality})
        apart = abs(np.reshape(made["pixels"], right.shape) - right.astype(np.int64))
        near = cosine(made["embedding"], image["embedding"])
        print(
            f"canvas, {quality}: cosine {near:.4f}, pixels off by {apart.max()} at most, {apart.mean():.2f} on average"
        )
        assert sum(made["pixels"]) != image["pixel_sum"]
        assert near < opened[1]["image"]["cosine"]


def test_files_open_as_a_viewer_shows_them(opened: tuple[Any, dict[str, Any], list[str]], tmp_path: Path) -> None:
    """A picture that is turned by its EXIF comes upright, a transparent one on white, as `embed` opens them."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 4), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(pixels[..., :3]).save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    Image.fromarray(pixels).save(tmp_path / "transparent.png")

    for name, apart in (("turned.jpg", 4), ("transparent.png", 1)):
        found = opened[0].evaluate(DECODED, base64.b64encode((tmp_path / name).read_bytes()).decode())
        right = np.asarray(open_image(tmp_path / name), np.int64)
        assert (found["height"], found["width"]) == right.shape[:2]
        assert abs(np.reshape(found["data"], right.shape) - right).max() <= apart


def test_page_ranks_texts_for_a_picture(bundle: Path, opened: tuple[Any, dict[str, Any], list[str]]) -> None:
    """The visitor's own picture and texts: what fits comes first."""
    page = opened[0]
    text = json.loads((bundle / "expected.json").read_text())["text"]["text"]
    page.set_input_files("input[name=picture]", str(bundle / "test.png"))
    page.fill("textarea", f"a green ring\n{text}")
    page.click("button")
    page.wait_for_function("document.getElementById('ranked').textContent")

    assert page.inner_text("#ranked").splitlines()[0].endswith(text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: facts["image"].update(mean=[0.48, 0.46, 0.41]),
        lambda facts: facts["image"].update(interpolation="nearest"),
        lambda facts: facts["image"].update(layout="NHWC"),
    ],
    ids=["wrong mean", "nearest pixels", "channels last"],
)
def test_page_fails_when_it_prepares_otherwise(
    bundle: Path, opened: tuple[Any, dict[str, Any], list[str]], tmp_path: Path, spoil: Any
) -> None:
    """The twin: the page's own test sees each of these mistakes."""
    broken = Path(shutil.copytree(bundle, tmp_path / "bundle", copy_function=_copy))
    rewrite(broken / "preprocessing.json", spoil)

    page = opened[0].context.browser.new_page()
    with served(broken) as address:
        page.goto(address)
        page.wait_for_function("window.found")
        found = page.evaluate("window.found")
    page.close()

    assert not found["passed"]


def test_server_gives_nothing_outside_of_the_bundle(bundle: Path) -> None:
    """Dots in an address lead nowhere."""
    import urllib.error
    import urllib.request

    (bundle.parent / "secret.txt").write_text("secret")
    with served(bundle) as address, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address.replace("/sample/", "/%2e%2e/secret.txt"))


def _copy(source: str, target: str) -> None:
    """Large files by link; what a test changes as a copy."""
    if source.endswith((".wasm", ".onnx", ".mjs", ".map")):
        Path(target).hardlink_to(source)
    else:
        shutil.copyfile(source, target)
