"""The matrix as people read it."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from rich.console import Console

from converter.agreement import Agreement, LeftOut, Side, TowerMatrix, ZeroShotMatrix, ZeroShotSide
from converter.parity.matrix import tower_pairs, zero_shot_pairs
from converter.report.answers import percent, tower_answer, zero_shot_answer
from converter.report.matrix import PICTURE_WIDTH, colour, least_alike, print_matrix
from tests.parity.test_matrix import noisy
from tests.parity.test_metrics import unit_rows

ROWS = ("pytorch", "coreml/fp16", "onnx/fp32", "tflite/int8", "tflite/broken")


def side(name: str, **more: object) -> Side:
    return Side(name=name, target=name.partition("/")[0], folder="f", executed_by="", **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    """Five rows: three alike, one a little off, one of another model."""
    rows = unit_rows(64, 16)
    embedded = dict(zip(ROWS, (rows, rows, rows, noisy(rows, 0.1), unit_rows(64, 16, seed=8)), strict=True))
    sides = tuple(side(name, nonfinite=7 if "broken" in name else 0) for name in ROWS)
    both = [ZeroShotSide(name=one.name, target=one.target, tie_margin=0.0, right_caption=0.5, right_image=0.25)
            for one in sides[:4]]  # fmt: skip
    scores = {one.name: embedded[one.name] @ unit_rows(12, 16, seed=4).T for one in both}
    return Agreement(
        model="m", trained=False, k=5,
        towers=(TowerMatrix(tower="image", sample_set="photographs-64", sides=sides,
                            pairs=tower_pairs(sides, embedded, [f"photo {i}" for i in range(64)], 5)),),
        zero_shot=ZeroShotMatrix(images=64, captions=12, sides=tuple(both), alone=("tflite/broken",),
                                 pairs=zero_shot_pairs(both, scores, 5, 50.0)),
        left_out=(LeftOut(step_id="image/onnx/fp16", folder="f", why="onnx/image_fp16.onnx was changed"),),
    )  # fmt: skip


def shown(agreement: Agreement, width: int = PICTURE_WIDTH) -> str:
    text = io.StringIO()
    print_matrix(Console(file=text, width=width), agreement)
    return text.getvalue()


def test_every_pair_has_a_cell(agreement: Agreement) -> None:
    """One line a row, with as many figures as rows before it."""
    lines = [line for line in shown(agreement).splitlines() if re.match(r"\d (pytorch|\w+/\w+) ", line)][:5]

    assert [line.split()[1] for line in lines] == list(ROWS)
    assert [len(line.split()) - 2 for line in lines] == [0, 1, 2, 3, 4]
    assert lines[2].split()[2:] == ["100", "100"]


def test_the_broken_file_is_least_alike(agreement: Agreement) -> None:
    """Pairs with it come first; pairs of equal figures are one line that counts them."""
    found = least_alike(agreement.towers[0].pairs)

    assert {found[0][0].one, found[0][0].other} & {"tflite/broken"}
    assert sum(1 + more for _, more in found) == len(agreement.towers[0].pairs)
    assert found[-1][1] == 2


def test_phones_are_answered_in_words(agreement: Agreement) -> None:
    """A pair of a Core ML and a TFLite row has a sentence; others have none."""
    pair = next(one for one in agreement.towers[0].pairs if (one.one, one.other) == ("coreml/fp16", "tflite/int8"))
    text = " ".join(shown(agreement, 400).split())

    assert tower_answer(pair, "image").startswith(
        f"coreml/fp16 and tflite/int8: same five photos, in any order, for {pair.ranking.same_strict} of 64 queries; "
        f"{percent(pair.ranking.top_k_strict)} % of the five shared; scores differ by up to "
    )
    assert tower_answer(pair, "image") in text
    assert "onnx/fp32 and tflite/int8:" not in text
    assert zero_shot_answer(agreement.zero_shot.pairs[0]) == (  # type: ignore[union-attr]
        "pytorch and coreml/fp16: same best caption for 64 of 64 images; same five captions for 64 of 64 images; "
        "same five images for 12 of 12 captions; probabilities differ by up to 0"
    )


def test_ties_that_were_forgiven_are_said(agreement: Agreement) -> None:
    """With their margin, so that nobody takes them for equal."""
    pair = agreement.towers[0].pairs[0]
    tied = dataclasses.replace(pair.ranking, same_strict=60, same=63, tie_margin=2e-3)

    text = tower_answer(dataclasses.replace(pair, ranking=tied), "text")

    assert "same five captions, in any order, for 60 of 64 queries (63 with scores within 0.002 taken for ties)" in text


def test_what_took_no_part_is_said(agreement: Agreement) -> None:
    """Left out files with the reason, rows of one tower, values that are not finite, untrained weights."""
    text = " ".join(shown(agreement).split())

    assert "took no part: image/onnx/fp16 of f: onnx/image_fp16.onnx was changed" in text
    assert "one tower only, so not among images against captions: tflite/broken" in text
    assert "tflite/broken gave 7 values that are NaN or infinite" in text
    assert "not trained" in text
    assert "right caption for 50.0 % of the images, right image for 25.0 % of the captions: pytorch" in text


def test_a_narrow_terminal_has_whole_percents_and_fewer_columns(agreement: Agreement) -> None:
    """No name is cut into letters, and no line is longer than the terminal."""
    text = shown(agreement, 48)

    assert "5 tflite/broken" in text
    assert "centred cosine" not in text
    assert "centred cosine" in shown(agreement)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 48


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100"), (0.9999, "99.9"), (0.997, "99.7"), (0.981, "98.1"), (7 / 10 / 5, "14.0")]
)
def test_percents_are_rounded_down(share: float, text: str) -> None:
    """100 means all."""
    assert percent(share) == text


def test_colours_run_from_red_to_green() -> None:
    """Below half is as red as half; all agreeing is green."""
    assert colour(0.0) == colour(0.5) == "#de5a50"
    assert colour(1.0) == "#58b269"
    reds = [int(colour(share)[1:3], 16) for share in np.linspace(0.9, 1.0, 5)]
    assert reds == sorted(reds, reverse=True)
