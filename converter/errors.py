"""Every refusal that mcconvert makes, with its exit code.

A message says what was seen, what was expected and what to do next; it is shown to the user without a traceback.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class McconvertError(Exception):
    """A refusal with a message for the user. `exit_code` is what the process ends with."""

    exit_code = 1


class UsageError(McconvertError):
    """A wrong argument or configuration."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more mistakes in YAML or in `--set`, all of them listed."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        head = "1 mistake in the configuration" if count == 1 else f"{count} mistakes in the configuration"
        super().__init__("\n  ".join([f"{head}:", *self.mistakes]))


class MissingDependencyError(McconvertError):
    """An optional extra is not installed."""

    exit_code = 3


class WeightsError(McconvertError):
    """Weights could not be had, or do not belong to this model."""

    exit_code = 4


class ConversionError(McconvertError):
    """A step could not make or open its artifact."""

    exit_code = 5


class ParityError(McconvertError):
    """An artifact is not the same model within its tolerances, or comparing would prove nothing."""

    exit_code = 6


class PublishError(McconvertError):
    """Publishing was refused."""

    exit_code = 7


class SkippedError(McconvertError):
    """Some inputs could not be read and were skipped; the results of the others, if any, were given."""

    exit_code = 8


INTERRUPTED_EXIT_CODE = 130
READER_GONE_EXIT_CODE = 141
"""As a shell says that SIGPIPE ended a command: `mcconvert | head -1`. Whether all rows passed was not told."""


def system_words(error: OSError) -> str:
    """What the system refused, to which file, and the way on."""
    name = error.filename2 or error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk while writing {name}: free some, then run again; what had ended is kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{error.strerror}: {name}: mend its rights, or write elsewhere (--out, MCCONVERT_CACHE for the cache), "
            "then run again; what had ended is kept"
        )
    return f"{error.strerror or error}: {name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or lists all when none is near."""
    choices = sorted(known)
    lowered = {choice.lower(): choice for choice in reversed(choices)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{lowered[close[0]]}'?"
    return f"known: {', '.join(choices)}" if choices else "none is known"
