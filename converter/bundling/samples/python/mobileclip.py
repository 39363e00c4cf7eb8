"""The model of this bundle behind two functions; all that it needs to know is in preprocessing.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

BUNDLE = Path(__file__).resolve().parent.parent


class MobileCLIP:
    """Both towers, or the one that the bundle has. Embeddings are rows of float32 of length 1."""

    def __init__(self, bundle: Path = BUNDLE) -> None:
        facts = json.loads((bundle / "preprocessing.json").read_text(encoding="utf-8"))
        self.image, self.text, self.logit_scale = facts["image"], facts["text"], facts["logit_scale"]
        self._sessions = {
            name: onnxruntime.InferenceSession(bundle / facts[name]["file"], providers=["CPUExecutionProvider"])
            for name in ("image", "text")
            if facts[name]
        }
        self._tokenizer = Tokenizer.from_file(str(bundle / self.text["tokenizer"])) if self.text else None

    def embed_images(self, pictures: list[Image.Image]) -> np.ndarray:
        """(n, embed_dim) for pictures of any size."""
        pixels = np.stack([prepare(picture, self.image) for picture in pictures])
        return self.run("image", to_input(pixels, self.image))

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """(n, embed_dim); what is longer than the model reads is cut."""
        return self.run("text", self.tokens(texts))

    def tokens(self, texts: list[str]) -> np.ndarray:
        """(n, context_length): start token, words, end token, padding."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        return np.array(rows, self.text["dtype"])

    def run(self, tower: str, rows: np.ndarray) -> np.ndarray:
        """(n, embed_dim) for n rows as the file takes them."""
        facts = getattr(self, tower)
        batch = facts["batch"] or len(rows)
        parts = [
            self._sessions[tower].run([facts["output"]], {facts["input"]: rows[start : start + batch]})[0]
            for start in range(0, len(rows), batch)
        ]
        found = np.concatenate(parts).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def prepare(picture: Image.Image, facts: dict) -> np.ndarray:
    """(size, size, 3) uint8 RGB: upright, on white where it is transparent, resized, cropped in the middle."""
    picture = _on_white(ImageOps.exif_transpose(picture))
    size, side = facts["size"], facts["resize_to"]
    width, height = picture.size
    short, long = min(picture.size), max(picture.size)
    shape = {
        "shortest": (side * width // short, side * height // short),
        "longest": (max(1, round(width / (long / side))), max(1, round(height / (long / side)))),
        "squash": (side, side),
    }[facts["resize"]]
    picture = picture.resize(shape, Image.Resampling[facts["interpolation"].upper()])
    left, top = (_margin(length, size) for length in picture.size)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def to_input(pixels: np.ndarray, facts: dict) -> np.ndarray:
    """(n, size, size, 3) uint8 as the file takes it."""
    if facts["dtype"] != "uint8":
        mean, std = np.array(facts["mean"], np.float32), np.array(facts["std"], np.float32)
        pixels = ((pixels / np.float32(255) - mean) / std).astype(facts["dtype"])
    return np.ascontiguousarray(pixels if facts["layout"] == "NHWC" else pixels.transpose(0, 3, 1, 2))


def _margin(length: int, size: int) -> int:
    return round((length - size) / 2) if length >= size else -((size - length) // 2)


def _on_white(picture: Image.Image) -> Image.Image:
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
