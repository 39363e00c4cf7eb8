"""Texts that every tokenizer of a sample is compared on."""

from __future__ import annotations

import json
from pathlib import Path

HARD = (
    "ΣΑΣ ΟΔΟΣ", "a &amp; b &#39;x&#x27; &hellip;", "\ufb01ne \ufb02oor \uff26\uff55\uff4c\uff4c",
    "<end_of_text> inside", "naïve café İstanbul",
    "word " * 100, "日本語テスト 🎉👍", "it's I'LL \x85 \u3000 x", "tab\tnew\nline", "e\u0301 combining", "1234 5a6",
    "\u201cquoted\u201d \u2019tis", "&lt;b&gt; &AMP; &eacute; &#8230;",
)  # fmt: skip
"""Entities, ligatures, scripts, special tokens, too many words, white space of every kind, marks that combine."""


def captions() -> list[str]:
    """All that the project keeps for its own tokenizer, and the hard ones."""
    path = Path(__file__).parents[2] / "converter/models/captions.json"
    return [*json.loads(path.read_text(encoding="utf-8")), *HARD]
