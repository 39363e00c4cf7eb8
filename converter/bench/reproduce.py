"""`make reproduce`: export a model twice as two strangers would, and compare every file byte by byte.

    python -m converter.bench.reproduce --model mobileclip_nano [-- OPTIONS OF MCCONVERT]

1. The last commit is cloned into two folders whose paths differ in length and letters; each clone runs its own source.
2. Each run has a cache, a home, a temporary folder, a time zone, a language, an umask, a `--jobs` and a number of
   threads a step of its own; the second begins when the first has ended.
3. All that either manifest names is compared: artifacts, the tokenizer, the samples and embeddings of the reference,
   its module. What differs is said in the terms of its format (`converter.bench.file_differences`).
4. The last line counts. Exit 6 if a file differs or is there once, 5 if an export fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.bench.file_differences import first_difference
from converter.errors import ConversionError, McconvertError, ParityError
from converter.manifest import Manifest
from converter.publishing.manifest import read_manifest

ROOT = Path(__file__).parents[2]
COMMAND = "from converter.cli import main; main()"
MISSING = "only one of the two runs made it"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """All in which one run differs from the other. `folder` is relative to the scratch folder."""

    folder: str
    jobs: int
    threads: int
    umask: int
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One file of both runs; `difference` is empty when its bytes are the same."""

    path: str
    format: str
    difference: str


RUNS = (
    Surroundings(
        folder="a", jobs=1, threads=2, umask=0o022,
        variables={"TZ": "UTC", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "0"},
    ),
    Surroundings(
        folder="another place/with a longer name", jobs=2, threads=1, umask=0o027,
        variables={"TZ": "Asia/Kolkata", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4711"},
    ),
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Clone, export, compare, print; the exit code."""
    parser = argparse.ArgumentParser(prog="make reproduce", description=__doc__)
    parser.add_argument("--model", default="mobileclip_nano", help="what to export")
    parser.add_argument("options", nargs="*", help="further options of mcconvert, after --")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="mcconvert-reproduce-") as scratch:
            return _reproduce(Path(scratch), ["--model", given.model, "--target", "all", *given.options])
    except McconvertError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def compare_folders(first: Path, second: Path) -> list[Compared]:
    """Every file that either folder's manifest names, in order of path (rule 3).

    Raises:
        ParityError: neither manifest names a file, so that comparing would prove nothing.
    """
    ours, theirs = (formats(read_manifest(folder)) for folder in (first, second))
    if not ours | theirs:
        message = f"{first} and {second}: their manifests name no file, so nothing was compared; export more rows"
        raise ParityError(message)
    found = []
    for path, kind in sorted((ours | theirs).items()):
        there = all((folder / path).exists() for folder in (first, second)) and path in ours and path in theirs
        difference = first_difference(first / path, second / path) if there else MISSING
        found.append(Compared(path=path, format=kind, difference=difference))
    return found


def report(first: Path, second: Path) -> int:
    """Print how two exported folders compare; the exit code (rule 4)."""
    compared = compare_folders(first, second)
    print(table(compared))
    return ParityError.exit_code if any(one.difference for one in compared) else 0


def formats(manifest: Manifest) -> dict[str, str]:
    """The format of every file that a manifest names, by its path."""
    found = {entry.path: f"{entry.format} {entry.precision}" for entry in manifest.artifacts}
    for reference in manifest.references:
        found[reference.module.path] = "reference module"
        found[reference.samples.path] = "samples"
        found[reference.embeddings.path] = "embeddings"
    if manifest.model.tokenizer is not None:
        found[manifest.model.tokenizer.path] = "tokenizer"
    return found


def table(compared: Iterable[Compared]) -> str:
    """A line for each format, one for each file that differs, and the counts."""
    every = list(compared)
    lines = [f"{'format':<24}{'files':>7}{'equal':>7}{'differing':>11}"]
    for kind in sorted({one.format for one in every}):
        of_kind = [one for one in every if one.format == kind]
        differing = sum(bool(one.difference) for one in of_kind)
        lines.append(f"{kind:<24}{len(of_kind):>7}{len(of_kind) - differing:>7}{differing:>11}")
    different = [one for one in every if one.difference]
    lines += [f"{one.path}: {one.difference}" for one in different]
    identical = len(every) - len(different)
    return "\n".join([*lines, f"files compared: {len(every)}, identical: {identical}, different: {len(different)}"])


def export(source: Path, base: Path, run: Surroundings, options: Sequence[str]) -> Path:
    """The model's folder as the source in `source` exports it; what the run writes is in `base`.

    Raises:
        ConversionError: it is not this source that would run; the export failed, or left no manifest. A row that fails
            parity is exported all the same.
    """
    out, log = base / "artifacts", base / "log"
    settings = ["--jobs", str(run.jobs), "--set", f"threads={run.threads}", "--out", str(out)]
    command = [sys.executable, "-c", COMMAND, *options, *settings]
    environment = _environment(source, base, run)
    _refuse_other_source(source, environment)
    with log.open("wb") as stream:
        done = subprocess.run(
            command, cwd=source, env=environment, umask=run.umask, stdin=subprocess.DEVNULL,
            stdout=stream, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    folders = [path.parent for path in out.glob("*/manifest.json")]
    if done.returncode not in (0, ParityError.exit_code) or len(folders) != 1:
        last = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        message = f"mcconvert {' '.join(options)} ended with {done.returncode} in {source}; its last words:\n{last}"
        raise ConversionError(message)
    return folders[0]


def _reproduce(scratch: Path, options: Sequence[str]) -> int:
    commit = _git("rev-parse", "--short", "HEAD")
    changes = " (what is not committed is left out)" if _git("status", "--porcelain") else ""
    print(f"commit {commit}{changes}, {os.cpu_count()} cores, mcconvert {' '.join(options)}")
    folders = []
    for run in RUNS:
        base = scratch / run.folder
        _git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(base / "mcconvert"))
        how = f"--jobs {run.jobs}, {run.threads} threads, umask {run.umask:03o}, {_listed(run.variables)}"
        print(f"exporting in {base}, {how}", flush=True)
        folders.append(export(base / "mcconvert", base, run, options))
    return report(*folders)


def _environment(source: Path, base: Path, run: Surroundings) -> dict[str, str]:
    """Rules 1 and 2."""
    own = {"HOME": base / "home", "TMPDIR": base / "temporary", "MCCONVERT_CACHE": base / "cache"}
    for name in ("HOME", "TMPDIR"):
        own[name].mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LC_"))}
    paths = {name: str(path) for name, path in own.items()}
    return inherited | paths | {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"} | dict(run.variables)


def _refuse_other_source(source: Path, environment: Mapping[str, str]) -> None:
    """Rule 1. The installed package is another clone's: what that exports would say nothing of this one.

    Raises:
        ConversionError: a process started in `source` finds its `converter` elsewhere.
    """
    code = "import converter; print(converter.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=True)
    found = Path(done.stdout.strip())
    if not found.is_relative_to(source):
        message = f"{source}: its process runs {found}, not its own source; is this a whole clone of mcconvert?"
        raise ConversionError(message)
    print(f"its source is {found.parent}", flush=True)


def _listed(variables: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in variables.items())


def _git(*arguments: str) -> str:
    """What git says.

    Raises:
        ConversionError: git refuses, as it does outside of a clone.
    """
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"git {arguments[0]} in {ROOT}: {done.stderr.strip()}; make reproduce needs a git clone of mcconvert"
        raise ConversionError(message)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
