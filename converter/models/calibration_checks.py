"""Whether calibration samples are of the kind that a model meets: compared with the built-in ones, said in words.

Ranges from other data cut off what users show, or waste the integers on what they never do, and nothing fails. Each
figure of a set is held against the same figure of the built-in samples (photographs, or scenes where the model knows
only those) through the same preprocessing. Measured at 256 pixels, built-in photographs / noise / enlarged noise of
32 x 32 pixels: neighbouring pixels correlate by 0.71 to 1.00 / 0.00 / 0.98, neighbouring fields of a 16 x 16 board by
0.65 in the median / 0.00 / 0.15.

1. Fewer than `FEW` samples, or as few different ones, are too few.
2. Pictures of one colour carry no range: if all are, they are refused.
3. Noise: a quarter of the pictures, or more, has neighbours that correlate half as much as in any built-in one.
4. No large forms: the median correlation of fields is below half of the built-in one (enlarged noise, textures only).
5. Other scaling: all but the outer hundredths of pixels lie in less than a third of what built-in ones span.
6. Captions without a word are refused if all are; half of them cut off at the end, or half as many characters a token
   as in the built-in ones, are not what people type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from converter.errors import UsageError
from converter.records import ModelSpec

FEW = 8
ONE_COLOUR = 2
"""The largest difference of two pixels in a picture of one colour: a JPEG of a white page has some of 1."""
MANY = 0.25
FIELDS = 16

type Pixels = npt.NDArray[np.uint8]
type Grey = npt.NDArray[np.float64]
type Tokens = npt.NDArray[np.int32]


def picture_cautions(pixels: Pixels, sane: Pixels) -> tuple[str, ...]:
    """What is wrong with pictures, each (n, size, size, 3) uint8, beside the built-in ones in `sane`.

    Raises:
        UsageError: all are of one colour.
    """
    ends = pixels.reshape(len(pixels), -1, 3)
    plain = (ends.max(axis=1).astype(int) - ends.min(axis=1)).max(axis=1) <= ONE_COLOUR
    if plain.all():
        message = (
            f"all {len(pixels)} calibration pictures are of one colour each, which sets no range; give photographs "
            "like those that users have"
        )
        raise UsageError(message)
    some = (f"{plain.sum()} of {len(plain)} calibration pictures are of one colour",) if plain.mean() >= MANY else ()
    return (*_few(pixels, "pictures"), *some, *_noise(pixels, sane), *_scaling(pixels, sane))


def caption_cautions(
    spec: ModelSpec, tokens: Tokens, captions: Sequence[str], sane: Tokens, sane_captions: Sequence[str]
) -> tuple[str, ...]:
    """What is wrong with captions, beside the built-in ones in `sane`.

    Raises:
        UsageError: none has a word.
    """
    lengths = _lengths(spec, tokens)
    if not lengths.any():
        message = f"none of the {len(tokens)} calibration captions has a word; give texts like those that users type"
        raise UsageError(message)
    return (*_few(tokens, "captions"), *_long(lengths, spec), *_strange(spec, tokens, captions, sane, sane_captions))


def _few(rows: npt.NDArray[np.generic], what: str) -> Iterator[str]:
    different = len({row.tobytes() for row in rows})
    if len(rows) < FEW:
        yield f"{len(rows)} calibration {what} are too few for ranges that hold; give 64 or more"
    elif different < max(FEW, len(rows) // 2):
        yield f"of {len(rows)} calibration {what} only {different} differ"


def _noise(pixels: Pixels, sane: Pixels) -> Iterator[str]:
    fine, usual = _correlations(pixels, lambda grey: grey), _correlations(sane, lambda grey: grey)
    rough = fine < usual.min() / 2
    if rough.mean() >= MANY:
        yield (
            f"{rough.sum()} of {len(rough)} calibration pictures look like noise: neighbouring pixels correlate by "
            f"{np.median(fine[rough]):.2f}, by {usual.min():.2f} or more in the built-in ones"
        )
        return
    coarse, forms = (float(np.median(_correlations(each, _fields))) for each in (pixels, sane))
    if coarse < forms / 2:
        yield (
            f"the calibration pictures have no large forms: neighbours of {FIELDS} x {FIELDS} fields correlate by "
            f"{coarse:.2f}, by {forms:.2f} in the built-in ones; enlarged noise does so, and close-ups of textures"
        )


def _scaling(pixels: Pixels, sane: Pixels) -> Iterator[str]:
    (low, high), (usual_low, usual_high) = (np.quantile(each, (0.01, 0.99)) for each in (pixels, sane))
    if high - low < (usual_high - usual_low) / 3:
        yield (
            f"the pixels of the calibration pictures lie between {low:.0f} and {high:.0f} of 255, those of the "
            f"built-in ones between {usual_low:.0f} and {usual_high:.0f}: were they scaled or normalised before?"
        )


def _correlations(pixels: Pixels, seen_as: Callable[[Grey], Grey]) -> Grey:
    """For each picture, of horizontal and vertical neighbours; 1 in a picture of one colour."""
    greys = (seen_as(picture.astype(np.float64).mean(axis=-1)) for picture in pixels)
    return np.asarray(
        [(_correlation(g[:, 1:], g[:, :-1]) + _correlation(g[1:], g[:-1])) / 2 for g in greys], np.float64
    )


def _correlation(one: Grey, other: Grey) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else 1.0


def _fields(grey: Grey) -> Grey:
    """The means of `FIELDS` x `FIELDS` squares."""
    fields = min(FIELDS, len(grey))
    side = len(grey) // fields
    inner = grey[: fields * side, : fields * side]
    return np.asarray(inner.reshape(fields, side, fields, side).mean(axis=(1, 3)))


def _lengths(spec: ModelSpec, tokens: Tokens) -> npt.NDArray[np.int64]:
    """Tokens of each caption between its start and its end."""
    ends = tokens == spec.end_token
    return np.where(ends.any(axis=1), ends.argmax(axis=1), tokens.shape[1]) - 1


def _long(lengths: npt.NDArray[np.int64], spec: ModelSpec) -> Iterator[str]:
    cut = lengths >= spec.context_length - 2
    if cut.mean() >= 0.5:
        tokens = f"the {spec.context_length} tokens of the model"
        yield f"{cut.sum()} of {len(cut)} calibration captions are longer than {tokens}"


def _strange(
    spec: ModelSpec, tokens: Tokens, captions: Sequence[str], sane: Tokens, sane_captions: Sequence[str]
) -> Iterator[str]:
    seen, usual = _characters(spec, tokens, captions), _characters(spec, sane, sane_captions)
    if seen < usual / 2:
        yield (
            f"the calibration captions have {seen:.1f} characters a token, the built-in ones {usual:.1f}: they are "
            "names, codes or another language than the model's"
        )


def _characters(spec: ModelSpec, tokens: Tokens, captions: Sequence[str]) -> float:
    """Characters a token, in the median over captions that have words and are not cut."""
    lengths = _lengths(spec, tokens)
    whole = [len(text) / length for text, length in zip(captions, lengths, strict=True)
             if 0 < length < spec.context_length - 2]  # fmt: skip
    return float(np.median(whole)) if whole else float("inf")
