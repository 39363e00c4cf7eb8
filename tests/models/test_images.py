"""Pictures of every kind open as a viewer shows them, and what is no picture is refused in one message."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.errors import UsageError
from converter.models import images
from converter.models.images import open_image

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def _no_warning() -> Any:
    """Whatever a file holds, Pillow's warnings stay inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def noise() -> np.ndarray[Any, Any]:
    """A small picture in which every pixel counts."""
    return np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_plain_files_are_what_pillow_converts(
    tmp_path: Path, noise: np.ndarray[Any, Any], name: str, mode: str
) -> None:
    """RGB, grey and black-and-white: bit for bit open_clip's `convert("RGB")`."""
    Image.fromarray(noise).convert(mode).convert("L" if mode == "1" and name == "a.jpg" else mode).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        expected = image.convert("RGB")

    opened = open_image(tmp_path / name)

    assert (opened.mode, opened.size) == ("RGB", (30, 20))
    assert opened.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (29, 19)), (6, (19, 0)), (8, (0, 29))])
def test_a_turned_photograph_stands_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    """The stored top left pixel goes where EXIF says."""
    picture = Image.new("RGB", (30, 20), GREEN)
    picture.putpixel((0, 0), RED)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)

    opened = open_image(tmp_path / "turned.png")

    assert opened.size == ((30, 20) if orientation in (1, 3) else (20, 30))
    assert opened.getpixel(corner) == RED


def test_a_broken_exif_block_costs_nothing_but_the_orientation(tmp_path: Path, noise: np.ndarray[Any, Any]) -> None:
    """The pixels are whole, so the picture opens."""
    Image.fromarray(noise).save(tmp_path / "broken.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnothing")

    assert open_image(tmp_path / "broken.jpg").size == (30, 20)


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk.tif"])
def test_print_colours_are_not_inverted(tmp_path: Path, name: str) -> None:
    """CMYK in a TIFF, and inverted as Adobe writes it in a JPEG: red is red."""
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(tmp_path / name)

    red, green, blue = open_image(tmp_path / name).getpixel((8, 8))

    assert red > 240
    assert green < 15 > blue


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    """0 to 65535 becomes 0 to 255, rounded."""
    levels = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(levels).save(tmp_path / "deep.tif")

    for name in ("deep.png", "deep.tif"):
        row = np.asarray(open_image(tmp_path / name))[0, :, 0]
        assert row.tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.4, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
    ],
)
def test_32_bit_pixels_of_a_known_scale_open(tmp_path: Path, values: np.ndarray[Any, Any], expected: list[int]) -> None:
    """Shares of white, 8 bits or 16 bits, in a wider type."""
    Image.fromarray(values).save(tmp_path / "wide.tif")

    assert np.asarray(open_image(tmp_path / "wide.tif"))[0, :, 1].tolist() == expected


@pytest.mark.parametrize("values", [[[-1.0, 1.0]], [[0.0, 9000.0]], [[0.0, float("nan")]], [[0.0, float("inf")]]])
def test_32_bit_pixels_of_no_known_scale_are_refused(tmp_path: Path, values: list[list[float]]) -> None:
    """Heights and depths are no colours; guessing their scale would make a picture of nothing."""
    Image.fromarray(np.array(values, np.float32)).save(tmp_path / "heights.tif")

    with pytest.raises(UsageError, match=r"heights\.tif: its 32-bit pixels range from .* save it as an 8-bit picture"):
        open_image(tmp_path / "heights.tif")


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    """What is hidden under a transparent pixel does not come to light; half of it does under a half."""
    picture = Image.new("RGBA", (3, 1))
    for column, alpha in enumerate((0, 255, 128)):
        picture.putpixel((column, 0), (*RED, alpha))
    picture.save(tmp_path / "glass.png")
    picture.save(tmp_path / "glass.webp", lossless=True, exact=True)

    for name in ("glass.png", "glass.webp"):
        opened = open_image(tmp_path / name)
        assert [opened.getpixel((column, 0)) for column in range(3)] == [WHITE, RED, (255, 127, 127)]


@pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path, name: str) -> None:
    """By its number in the file, not by its colour."""
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / name, transparency=0)

    opened = open_image(tmp_path / name)

    assert [opened.getpixel((column, 0)) for column in range(2)] == [WHITE, GREEN]


def test_grey_with_transparency_lies_over_white(tmp_path: Path) -> None:
    """Two channels, and grey with one transparent level."""
    Image.fromarray(np.array([[[0, 0], [90, 255]]], np.uint8), "LA").save(tmp_path / "la.png")
    Image.fromarray(np.array([[7, 90]], np.uint8)).save(tmp_path / "l.png", transparency=7)

    for name in ("la.png", "l.png"):
        assert np.asarray(open_image(tmp_path / name))[0, :, 0].tolist() == [255, 90]


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_an_animation_shows_its_first_frame(tmp_path: Path, name: str) -> None:
    """GIF, WebP and APNG."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)

    assert open_image(tmp_path / name).getpixel((4, 4)) == RED


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    """The smallest there is."""
    Image.new("RGB", (1, 1), GREEN).save(tmp_path / "dot.png")

    assert open_image(tmp_path / "dot.png").getpixel((0, 0)) == GREEN


def test_a_huge_jpeg_is_halved_while_it_is_decoded(
    tmp_path: Path, noise: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to 8 times smaller, never below the shortest side that models need; other formats are read whole."""
    monkeypatch.setattr(images, "FULL_PIXELS", 1_000_000)
    Image.fromarray(noise).resize((4400, 4200)).save(tmp_path / "huge.jpg")
    Image.fromarray(noise).resize((9000, 1100)).save(tmp_path / "wide.jpg")
    Image.fromarray(noise).resize((1500, 1400)).save(tmp_path / "huge.png")

    assert open_image(tmp_path / "huge.jpg").size == (1100, 1050)
    assert open_image(tmp_path / "wide.jpg").size == (9000, 1100)
    assert open_image(tmp_path / "huge.png").size == (1500, 1400)


def test_a_picture_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A few bytes may declare pixels for which no memory is enough."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "BMP")
    header = bytearray(stream.getvalue())
    header[18:26] = (30_000).to_bytes(4, "little") + (20_000).to_bytes(4, "little")
    (tmp_path / "bomb.bmp").write_bytes(header)

    with pytest.raises(UsageError, match=r"bomb\.bmp: 30000 x 20000 pixels; BMP .* up to 128,000,000"):
        open_image(tmp_path / "bomb.bmp")


def test_a_frame_larger_than_its_gif_is_refused(tmp_path: Path) -> None:
    """The first frame counts, whatever size the file says that all of it has."""
    Image.new("P", (8, 8)).save(tmp_path / "bomb.gif")
    content = bytearray((tmp_path / "bomb.gif").read_bytes())
    frame = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1) if content[10] & 128 else 13)
    content[frame + 5 : frame + 9] = (65_000).to_bytes(2, "little") + (60_000).to_bytes(2, "little")
    (tmp_path / "bomb.gif").write_bytes(content)

    with pytest.raises(UsageError, match=r"bomb\.gif: 65000 x 60000 pixels; GIF .* up to 128,000,000"):
        open_image(tmp_path / "bomb.gif")


def test_only_the_first_of_many_frames_is_read(tmp_path: Path) -> None:
    """A TIFF of a thousand pages, of which the last claims more pixels than fit, opens as its first."""
    pages = [Image.new("L", (4, 4), shade % 256) for shade in range(1000)]
    pages[0].save(tmp_path / "many.tiff", save_all=True, append_images=pages[1:])
    content = bytearray((tmp_path / "many.tiff").read_bytes())
    width = content.rindex(b"\x00\x01\x04\x00\x01\x00\x00\x00\x04\x00")
    content[width + 8 : width + 10] = (65_000).to_bytes(2, "little")
    (tmp_path / "many.tiff").write_bytes(content)

    assert np.asarray(open_image(tmp_path / "many.tiff")).shape == (4, 4, 3)


def test_pillows_own_limit_is_left_as_it_was(tmp_path: Path) -> None:
    """It belongs to whoever uses Pillow beside us."""
    before = Image.MAX_IMAGE_PIXELS
    Image.new("L", (8, 8)).save(tmp_path / "small.png")

    open_image(tmp_path / "small.png")

    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.slow
def test_20000_pixels_a_side_open(tmp_path: Path) -> None:
    """A JPEG at the limit, in the memory of an eighth of its sides."""
    Image.new("RGB", (20_000, 20_000), RED).save(tmp_path / "largest.jpg")

    assert open_image(tmp_path / "largest.jpg").size == (2500, 2500)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif", "a.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_a_cut_off_file_is_refused_by_name(tmp_path: Path, name: str, share: float) -> None:
    """Empty, a piece of the header, or half: one message that says what to do."""
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(rough).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(UsageError, match=rf"{name} cannot be read as an image \(.+\); repair or remove it"):
        open_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"not a picture\n" * 50, b"\x89PNG\r\n\x1a\n" + bytes(200), b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Text, and rubbish behind a familiar beginning."""
    (tmp_path / "strange.png").write_bytes(content)

    with pytest.raises(UsageError, match=r"strange\.png cannot be read as an image"):
        open_image(tmp_path / "strange.png")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    """As is a folder."""
    for path in (tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(UsageError, match=f"{path} cannot be read as an image"):
            open_image(path)
