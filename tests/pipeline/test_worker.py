"""A step's own process: what it says of an error is text that can be stored and shown."""

from __future__ import annotations

from converter.pipeline.job import Outcome
from converter.pipeline.worker import _in_words, _printable
from converter.records import from_json, to_json


def test_a_message_that_is_no_text_is_stored_and_shown_all_the_same() -> None:
    """Escape codes and halves of characters are replaced, lines stay."""
    words = _printable(_in_words(RuntimeError("noise \x1b[2J \udcff \x00 end")) + "\nnext line")

    outcome = from_json(to_json(Outcome(error=words)), Outcome)

    assert outcome.error == "RuntimeError: noise \ufffd[2J \ufffd \ufffd end\nnext line"
