"""The captions are many, distinct, hard, and parity shares none with calibration."""

from __future__ import annotations

import unicodedata

import pytest

from converter.models.captions import calibration_captions, parity_captions
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec

SCRIPTS = (
    "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "ARABIC", "HEBREW", "DEVANAGARI", "CYRILLIC", "GREEK", "THAI", "LATIN",
)  # fmt: skip


def test_there_are_enough_and_all_are_distinct() -> None:
    """At least 256 and 128, no caption twice, none in both."""
    parity, calibration = parity_captions(), calibration_captions()

    assert len(parity) >= 256
    assert len(calibration) >= 128
    assert len({*parity, *calibration}) == len(parity) + len(calibration)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_in_both_lists_or_at_least_in_parity(script: str) -> None:
    """Every script that people search in occurs among the parity captions."""
    letters = "".join(parity_captions())

    assert any(unicodedata.name(letter, "").startswith(script) for letter in letters)


def test_the_hard_cases_are_there() -> None:
    """Nothing, blanks, emoji, numbers alone, punctuation alone, upper case, accents, an address, code, line breaks."""
    captions = parity_captions()

    assert "" in captions
    assert any(text and not text.strip() for text in captions)
    assert any(unicodedata.category(letter) == "So" for text in captions for letter in text)
    assert any(text.isdecimal() for text in captions)
    assert any(text and all(unicodedata.category(letter)[0] == "P" for letter in text) for text in captions)
    assert any(text.isupper() and " " in text for text in captions)
    assert any("é" in text for text in captions)
    assert any(text.startswith("https://") for text in captions)
    assert any("def " in text and "\n" in text for text in captions)


def test_only_nothing_and_blanks_become_the_same_tokens(spec: ModelSpec) -> None:
    """Otherwise a query would have two right answers."""
    parity = {row.tobytes() for row in tokenize(parity_captions(), spec)}
    calibration = {row.tobytes() for row in tokenize(calibration_captions(), spec)}

    assert len(parity) == len(parity_captions()) - 1
    assert len(calibration) == len(calibration_captions())
    assert not parity & calibration
