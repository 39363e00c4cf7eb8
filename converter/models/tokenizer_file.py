"""The text tower's tokenizer as one file, `tokenizer.json`, for Hugging Face's `tokenizers` and its ports.

Built from open_clip's own vocabulary and merges, in the same order of work:

1. Normalise: what ftfy and html.unescape do to captions, as far as the format can say it by replacing (see
   docs/tokenizer.md for the rest); any white space becomes one blank; NFC; lower case.
2. Split into words, single digits and runs of signs; spell each in bytes; merge byte pairs, the last of a word marked
   by `</w>`.
3. Put the start token before and the end token behind, cut to the context length so that the end token stays, and fill
   up with the padding token.

`check_tokenizer` proves a file against open_clip's tokenizer.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from converter.errors import ConversionError, ParityError
from converter.files import write_atomically
from converter.models.tokenizer import simple_tokenizer, tokenize
from converter.records import ModelSpec

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What a word is, as in OpenAI's CLIP."""
END_OF_WORD = "</w>"
NAMED_ENTITIES = (
    "apos", "hellip", "mdash", "ndash", "lsquo", "rsquo", "ldquo", "rdquo", "bull", "trade", "euro", "hearts", "larr",
    "rarr", "infin", "ne", "le", "ge", "minus", "star", "check",
)  # fmt: skip
"""HTML entities that need their semicolon and are common in captions, beside the 106 that do not need it."""
NUMBERED_ENTITIES = (*range(0x20, 0x7F), 160, 8211, 8212, 8216, 8217, 8220, 8221, 8226, 8230, 8364, 8482)
"""Characters whose numeric HTML entities (&#39; &#x27;) are read."""
C1_CONTROLS = tuple(code for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
"""Those to which Windows-1252 gives a character; no text means the controls themselves."""
_REMOVED = r"\x1b\[[0-9;]*[a-zA-Z]|[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"
_WHITE = r"[\s\u2028\u2029]+"
_SHOWN = 12


def write_tokenizer(spec: ModelSpec, path: Path) -> None:
    """Write the file; the same vocabulary gives the same bytes.

    Raises:
        ConversionError: the model's start or end token is not in the vocabulary.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    source = simple_tokenizer()
    start, end, padding = (_name(source, token, spec) for token in (spec.start_token, spec.end_token, spec.pad_token))
    model = models.BPE(vocab=source.encoder, merges=list(source.bpe_ranks), end_of_word_suffix=END_OF_WORD)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_words(), pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, spec.start_token), (end, spec.end_token)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(END_OF_WORD, " ")])
    tokenizer.add_special_tokens([AddedToken(name, normalized=True) for name in (start, end)])
    tokenizer.enable_truncation(spec.context_length)
    tokenizer.enable_padding(pad_id=spec.pad_token, pad_token=padding, length=spec.context_length)
    write_atomically(path, tokenizer.to_str().encode())


def check_tokenizer(path: Path, captions: Sequence[str], spec: ModelSpec) -> int:
    """Compare the file's tokens with open_clip's on every caption; returns how many were compared.

    Raises:
        ConversionError: the file cannot be loaded.
        ParityError: it cuts a caption into other tokens.
    """
    found = encode(path, captions)
    for caption, ids, expected in zip(captions, found, tokenize(captions, spec).tolist(), strict=True):
        if ids != expected:
            message = (
                f"{path}: {_short(caption)!r} becomes {_listed(ids, spec)}, open_clip's tokenizer gives "
                f"{_listed(expected, spec)}; see docs/tokenizer.md for what the file cannot do"
            )
            raise ParityError(message)
    return len(captions)


def _name(source: Any, token: int, spec: ModelSpec) -> str:
    if token not in source.decoder:
        message = (
            f"{spec.id}: token {token} is not among the {len(source.decoder)} of open_clip's vocabulary; check "
            "start_token, end_token and pad_token"
        )
        raise ConversionError(message)
    return str(source.decoder[token])


def _words() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)


def _normalizer() -> Any:
    """Step 1, in the order in which open_clip cleans."""
    from tokenizers import Regex, normalizers

    final_sigma = normalizers.Replace(Regex(r"(?<=\p{L})\u03a3(?!\p{L})"), "\u03c2")  # Lowercase sees no neighbours
    replacing = [normalizers.Replace(Regex(old), new) for old, new in _replacements()]
    return normalizers.Sequence([*replacing, normalizers.NFC(), final_sigma, normalizers.Lowercase()])


def _replacements() -> Iterator[tuple[str, str]]:
    """(regular expression, text that takes its place), one after the other."""
    yield from [("&amp;?", "&")] * 2  # open_clip unescapes twice and more
    yield from _entities()
    yield from _lookalikes()
    yield r"[\u02bc\u2018-\u201b]", "'"
    yield r"[\u201c-\u201f]", '"'
    yield _REMOVED, ""
    yield _WHITE, " "


def _entities() -> Iterator[tuple[str, str]]:
    """HTML entities: those that need no semicolon, some that do, and numbers of printable characters."""
    known = html.entities.html5
    for name in sorted((name for name in known if not name.endswith(";")), key=len, reverse=True):
        if name not in ("amp", "AMP"):
            yield f"&{name};?", known[name]
    yield from ((f"&{name};", known[f"{name};"]) for name in NAMED_ENTITIES)
    for code in NUMBERED_ENTITIES:
        yield f"&#(0*{code}|[xX]0*(?i:{code:x}))(;|(?![0-9a-fA-F]))", chr(code)


def _lookalikes() -> Iterator[tuple[str, str]]:
    """Ligatures and characters of full or half width, which ftfy spells out; controls read as Windows wrote them."""
    from ftfy.chardata import LIGATURES, WIDTH_MAP

    for code in C1_CONTROLS:
        yield f"\\x{{{code:x}}}", bytes([code]).decode("cp1252")
    for code, text in {**LIGATURES, **WIDTH_MAP}.items():
        yield re.escape(chr(code)), text


def encode(path: Path, captions: Sequence[str]) -> list[list[int]]:
    """What the file makes of captions.

    Raises:
        ConversionError: the file cannot be loaded, or its parts do not belong together.
    """
    from tokenizers import Tokenizer

    try:
        return [encoding.ids for encoding in Tokenizer.from_file(str(path)).encode_batch(list(captions))]
    except (
        BaseException
    ) as error:  # plain Exception for whatever is wrong with a file; a panic of Rust is not even that
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        message = f"{path}: not a tokenizer file ({error}); run again with --force to make it anew"
        raise ConversionError(message) from error


def _listed(ids: Sequence[int], spec: ModelSpec) -> str:
    """The tokens up to the end token."""
    used = list(ids[: ids.index(spec.end_token) + 1] if spec.end_token in ids else ids)
    return f"{used[:_SHOWN]}{' ...' if len(used) > _SHOWN else ''} ({len(used)} tokens)"


def _short(caption: str) -> str:
    return caption if len(caption) <= 60 else f"{caption[:60]}..."
