"""Every `mcconvert` line in a fence of README.md and docs/ parses: no page names an option that is not there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt

from converter.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
REMARK = re.compile(r"\s{2,}(?=[^\s'\"]).*$")
"""What stands behind two blanks on a line that is no shell's: the page's own words on the command."""


def commands(text: str) -> Iterator[str]:
    """The command lines in fences and indented blocks, continued lines joined, without prompt, pipe and redirection."""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block"):
            for line in re.sub(r"\\\n\s*", "", token.content).splitlines():
                found = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )?(mcconvert(?: .*)?)$", line)
                if found and "..." not in line:
                    yield re.split(r"\s[|<>]|\s2>|\s&&", found[1])[0]


def words_of(command: str) -> list[str]:
    """The arguments, without a comment or the words that follow two blanks."""
    words = shlex.split(REMARK.sub("", re.sub(r"\s{2,}#.*$", "", command)), comments=True)
    return words[1:]


def parse(words: list[str]) -> None:
    """Let click read the words as the command would; nothing is run and no file needs to be there."""
    context = cli.make_context("mcconvert", list(words), resilient_parsing=False)
    while isinstance(context.command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None and name is not None
        context = command.make_context(name, rest, parent=context)


@pytest.fixture(autouse=True)
def _files_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages name files of their readers."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, context: Path(value))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_parses(page: Path) -> None:
    """With its options, their values, and the number of its arguments."""
    wrong = []
    for command in commands(page.read_text(encoding="utf-8")):
        try:
            parse(words_of(command))
        except click.exceptions.Exit:
            continue  # --help and --version
        except (click.ClickException, ValueError) as error:
            wrong.append(f"{command}: {error.format_message() if isinstance(error, click.ClickException) else error}")

    assert not wrong, "\n".join(wrong)


def test_commands_are_found() -> None:
    """A pattern that finds nothing would pass every page."""
    found = [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]

    assert len(found) > 50
    assert {words_of(command)[0] for command in found} >= {"verify", "explain", "publish", "embed", "classify"}


@pytest.mark.parametrize("line", ["mcconvert verify here --matrices", "mcconvert prove", "mcconvert --tower both both"])
def test_a_line_that_is_wrong_is_seen(line: str) -> None:
    """An unknown option, an unknown command, an argument too many."""
    (command,) = commands(f"```sh\n{line}\n```\n")

    with pytest.raises(click.ClickException):
        parse(words_of(command))
