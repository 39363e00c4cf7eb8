"""The Kotlin sample compiles against the API that it names; its tokenizer and resizing run, and agree in every bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from converter.models.tokenizer_file import encode
from tests.bundling.comparing import picture_cases, same
from tests.bundling.kotlin import SOURCES, Compiled, compiled
from tests.bundling.texts import captions


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The sample as it ships."""
    return compiled(SOURCES, tmp_path_factory.mktemp("kotlin") / "classes")


def test_sample_compiles_without_a_warning(sample: Compiled) -> None:
    """Against declarations of android.*, of LiteRT's CompiledModel, and Android's own org.json."""
    assert (sample.code, sample.said) == (0, "")


def test_a_slip_in_the_api_does_not_compile(tmp_path: Path) -> None:
    """The twin: a method that LiteRT does not have."""
    broken = Path(shutil.copytree(SOURCES, tmp_path / "kotlin"))
    (file,) = broken.rglob("MobileClip.kt")
    file.write_text(file.read_text().replace("writeFloat(", "writeFloats("))

    done = compiled(broken, tmp_path / "classes")

    assert done.code != 0
    assert "unresolved reference 'writeFloats'" in done.said


def test_texts_become_the_tokens_of_the_proven_tokenizer(sample: Compiled, nano: Path, tmp_path: Path) -> None:
    """Every caption, and texts with entities, ligatures, other scripts, special tokens and too many words."""
    texts, tokenizer = captions(), nano / "tokenizer.json"

    found = sample.run([{"text": text} for text in texts], tokenizer, tmp_path)

    assert found == encode(tokenizer, texts)


def test_pictures_become_the_very_pixels_and_floats(sample: Compiled, nano: Path, tmp_path: Path) -> None:
    """Equal in every bit to what files are judged on, for 16 sizes and ways of resizing."""
    cases = picture_cases("NHWC")

    found = sample.run([facts for facts, _ in cases], nano / "tokenizer.json", tmp_path)

    assert [case[0]["facts"] for made, case in zip(found, cases, strict=True) if not same(made, case)] == []
