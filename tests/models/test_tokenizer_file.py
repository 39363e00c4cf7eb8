"""The tokenizer's file cuts what open_clip cuts, and a file that does not is refused."""

# ruff: noqa: RUF001 (characters that look like others are what is tested)

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from converter.errors import ConversionError, ParityError
from converter.files import hash_path
from converter.models.captions import calibration_captions, parity_captions
from converter.models.tokenizer_file import check_tokenizer, write_tokenizer
from converter.records import ModelSpec

ODD = (
    "", "  \t\n ", "\u3000", "1234 ½ ² ٣", "é é ñ ñ", "👩‍👩‍👧‍👦 🏳️‍🌈 😀", "हिन्दी नमस्ते ไทย ﷺ", "ß ẞ İstanbul ǅ K Å",
    "don’t “quote” ‛x‟ ʼtis", "it's O'NEIL'S we'll they've", "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ", "ſ'ſ",
    "ﬁne ﬂy ĲSSEL ŉ", "Ｆｕｌｌ　ｗｉｄｔｈ！ ｶﾞ ﾊﾝｶｸ", "a\xa0b a\u2003b\u202fc x\u2028y\x85z a\u200bb a\xadb",
    "\ufeffbom", "\x93smart\x94 quotes\x92 \x80 5", "a\x00b\x07c q\x0bz w\x0cv", "\x1b[31mred\x1b[0m",
    "AT&amp;T &amp;lt;b&amp;gt; &lt;i&gt; &quot;q&quot; &apos;a&apos;", "caf&eacute; &copy2020 &nbsp;x&nbsp; 5&euro;",
    "it&#39;s it&#x27;s it&#0039s &#8217;tis&#8230;", "a<b &lt;c &ampersand a & b &unknown; &#;", "<b>bold</b>",
    "<start_of_text> hi <END_OF_TEXT> there", "x" * 300, "!" * 300, "!?...,,;;--__//\\\\",
    "naïve café", "ab" * 40 + " end",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's file."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(spec, path)
    return path


def test_every_caption_is_cut_as_open_clip_cuts_it(spec: ModelSpec, written: Path) -> None:
    """Both caption sets, and what people paste: other scripts, emoji, HTML, curly quotes, control characters."""
    captions = (*parity_captions(), *calibration_captions(), *ODD)

    assert check_tokenizer(written, captions, spec) == len(captions)


def test_rows_are_ready_for_the_text_tower(spec: ModelSpec, written: Path) -> None:
    """77 tokens: start, words, end, zeros; a text that is too long keeps its end token."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(written))

    short, long = (tokenizer.encode(text).ids for text in ("a cat", "cat " * 200))
    assert short[:5] == [49406, 320, 2368, 49407, 0]
    assert (len(short), len(long), long[-1]) == (77, 77, spec.end_token)
    assert tokenizer.decode(short[:4]).strip() == "a cat"


def test_the_same_vocabulary_gives_the_same_bytes(spec: ModelSpec, written: Path, tmp_path: Path) -> None:
    """So that its hash can stand in a manifest."""
    write_tokenizer(spec, tmp_path / "again.json")

    assert hash_path(tmp_path / "again.json") == hash_path(written)


def test_a_text_of_100_kilobytes_takes_less_than_seconds(spec: ModelSpec, written: Path) -> None:
    """Words, one endless word, signs, and nothing but entities."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(written))
    texts = ["a cat on a sofa " * 6250, "a" * 100_000, "!" * 100_000, "&amp;" * 20_000, "😀" * 25_000]

    begun = time.monotonic()
    rows = [tokenizer.encode(text).ids for text in texts]

    assert time.monotonic() - begun < 20
    assert all(len(row) == 77 and row[-1] == spec.end_token for row in rows[:-2])
    assert check_tokenizer(written, [text[:20_000] for text in texts], spec) == len(texts)


@pytest.mark.parametrize("step", ["normalizer", "merges", "truncation", "post_processor"])
def test_twin_a_file_that_cuts_otherwise_is_refused(spec: ModelSpec, written: Path, tmp_path: Path, step: str) -> None:
    """Without lower case, with two merges exchanged, without a limit, without start and end."""
    broken = json.loads(written.read_text())
    if step == "merges":
        merges = broken["model"]["merges"]
        merges[0], merges[300] = merges[300], merges[0]
    else:
        broken[step] = None
    (tmp_path / "broken.json").write_text(json.dumps(broken))

    with pytest.raises(ParityError, match=r"broken\.json: .* becomes \[.*open_clip's tokenizer gives \[49406"):
        check_tokenizer(tmp_path / "broken.json", parity_captions(), spec)


def test_the_refusal_names_the_caption_and_both_rows(spec: ModelSpec, written: Path) -> None:
    """Here for one of the differences that the format cannot avoid."""
    with pytest.raises(ParityError, match=r"'!!<start_of_text>' becomes \[49406, 748, .* gives \[49406, 1443,"):
        check_tokenizer(written, ["a cat", "!!<start_of_text>"], spec)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_what_is_no_tokenizer_is_refused(spec: ModelSpec, tmp_path: Path, content: str) -> None:
    """By name, with what to do."""
    (tmp_path / "tokenizer.json").write_text(content)

    with pytest.raises(ConversionError, match=r"tokenizer\.json: not a tokenizer file .* --force"):
        check_tokenizer(tmp_path / "tokenizer.json", ["a cat"], spec)


def test_a_token_outside_of_the_vocabulary_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """A model with another tokenizer must not get this one."""
    with pytest.raises(ConversionError, match=r"token 49408 is not among the 49408"):
        write_tokenizer(dataclasses.replace(spec, end_token=49408), tmp_path / "tokenizer.json")
