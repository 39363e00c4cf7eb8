"""A phone behind `adb`: found, asked for its facts, given files, made to run them.

What reaches the phone's shell are names that are made here of letters, digits, dots and dashes; nothing that a manifest
or a user wrote becomes part of a command there.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.errors import ConversionError, MissingDependencyError, UsageError

ANY = "auto"
PLAIN = re.compile(r"[A-Za-z0-9_./=-]+")
SECONDS = 300.0
STATES: Mapping[str, str] = {
    "unauthorized": "unlock it and accept this computer under 'Allow USB debugging?'",
    "offline": "plug it in again, or 'adb reconnect'",
    "no permissions": "this user may not reach it over USB: udev rules, https://developer.android.com/studio/run/device",
}


@dataclass(frozen=True, kw_only=True)
class Phone:
    """One device that answers."""

    serial: str
    adb: str = "adb"

    def shell(self, *words: str) -> str:
        """What a command prints there, both of its streams.

        Raises:
            ConversionError: it ended with an error, or adb lost the phone.
        """
        wrong = [word for word in words if not PLAIN.fullmatch(word)]
        if wrong:
            message = f"'{wrong[0]}' is not plain enough for the shell of a phone"
            raise ValueError(message)
        done = _run([self.adb, "-s", self.serial, "shell", *words])
        if done.returncode:
            message = f"{self.serial}: '{' '.join(words)[:200]}' ended with {done.returncode}: {_words(done.stdout)}"
            raise ConversionError(message)
        return done.stdout

    def push(self, source: Path, destination: str) -> None:
        """Copy a file there.

        Raises:
            ConversionError: adb could not, for want of space, say.
        """
        done = _run([self.adb, "-s", self.serial, "push", str(source), destination])
        if done.returncode:
            message = f"{self.serial}: {source} could not be copied there: {_words(done.stdout)}"
            raise ConversionError(message)

    def fact(self, name: str) -> str:
        """A property of the system, printable; empty where it has none."""
        return _printable(self.shell("getprop", name).strip())


def find_phone(serial: str, adb: str = "adb") -> Phone:
    """The phone of that serial number, or with "auto" the only one.

    Raises:
        MissingDependencyError: there is no adb.
        UsageError: no such phone, or several, or it does not let this computer in.
    """
    done = _run([adb, "devices"])
    if done.returncode:
        message = f"adb devices ended with {done.returncode}: {_words(done.stdout)}"
        raise UsageError(message)
    seen = dict(_listed(done.stdout))
    if not seen:
        message = "adb sees no device: plug a phone in, switch on 'USB debugging' in its developer options"
        raise UsageError(message)
    if serial == ANY and len(seen) > 1:
        message = f"adb sees {len(seen)} devices: {', '.join(seen)}; name one: --adb {next(iter(seen))}"
        raise UsageError(message)
    chosen = next(iter(seen)) if serial == ANY else serial
    if chosen not in seen:
        message = f"adb sees no device {chosen}; it sees {', '.join(seen)}"
        raise UsageError(message)
    if seen[chosen] != "device":
        message = f"{chosen} is '{seen[chosen]}': {STATES.get(seen[chosen], 'adb cannot use it like that')}"
        raise UsageError(message)
    return Phone(serial=chosen, adb=adb)


def _listed(text: str) -> Sequence[tuple[str, str]]:
    """Serial number and state of each line after the heading."""
    lines = [line for line in text.splitlines() if "\t" in line]
    pairs = [line.split("\t", 1) for line in lines]
    return [(serial, "no permissions" if "no permissions" in state else state.strip()) for serial, state in pairs]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=SECONDS,
        )  # fmt: skip
    except FileNotFoundError as error:
        message = f"{command[0]} is not installed: Android's platform tools bring it (apt-get install adb)"
        raise MissingDependencyError(message) from error
    except subprocess.TimeoutExpired as error:
        message = f"{' '.join(command)[:200]} did not end within {SECONDS:.0f} seconds: is the phone still there?"
        raise ConversionError(message) from error


def _words(text: str) -> str:
    return _printable(" ".join(text.split()))[-300:] or "it printed nothing"


def _printable(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable())
