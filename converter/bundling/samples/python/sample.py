"""Compare this bundle with its reference, or a picture with texts.

python sample/sample.py                             the bundle's own test; ends with 1 if it fails
python sample/sample.py cat.jpg "a cat" "a dog"     how well each text fits the picture
"""

from __future__ import annotations

import json
import sys

import numpy as np
from mobileclip import BUNDLE, MobileCLIP, prepare
from PIL import Image


def self_test(model: MobileCLIP) -> bool:
    """Print what each tower gives beside what PyTorch gave; says whether all is as it was when the bundle was made."""
    expected = json.loads((BUNDLE / "expected.json").read_text(encoding="utf-8"))
    good = True
    if image := expected["image"]:
        picture = Image.open(BUNDLE / image["picture"])
        pixel_sum = int(prepare(picture, model.image).sum(dtype=np.int64))
        good &= report("image", model.embed_images([picture])[0], image, expected["tolerance"])
        good &= same("pixel sum", pixel_sum, image["pixel_sum"])
    if text := expected["text"]:
        good &= report("text", model.embed_texts([text["text"]])[0], text, expected["tolerance"])
        good &= same("tokens", model.tokens([text["text"]])[0][: len(text["tokens"])].tolist(), text["tokens"])
    print("PASSED" if good else "FAILED")
    return good


def report(tower: str, found: np.ndarray, wanted: dict, tolerance: float) -> bool:
    """One line: the cosine with PyTorch and the largest difference."""
    reference = np.array(wanted["embedding"], np.float32)
    cosine, apart = float(found @ reference), float(abs(found - reference).max())
    print(f"{tower}: cosine {cosine:.6f}, when it was bundled {wanted['cosine']:.6f}; largest difference {apart:.2e}")
    return cosine >= wanted["cosine"] - tolerance


def same(what: str, found: object, wanted: object) -> bool:
    """One line where they differ."""
    if found != wanted:
        print(f"{what}: {found}, expected {wanted}")
    return found == wanted


def classify(model: MobileCLIP, path: str, texts: list[str]) -> None:
    """Print the share of each text, the best first."""
    logits = (model.logit_scale or 100.0) * (model.embed_texts(texts) @ model.embed_images([Image.open(path)])[0])
    shares = np.exp(logits - logits.max())
    for share, text in sorted(zip(shares / shares.sum(), texts, strict=True), reverse=True):
        print(f"{share:7.2%}  {text}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        classify(MobileCLIP(), sys.argv[1], sys.argv[2:])
    else:
        sys.exit(0 if self_test(MobileCLIP()) else 1)
