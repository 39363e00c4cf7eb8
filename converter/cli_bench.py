"""The command that measures what files cost: `bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.errors import UsageError
from converter.records import TOWERS, to_json

if TYPE_CHECKING:
    from converter.bench.history import Run
    from converter.bench.rounds import Settings
    from converter.benchmarked import Benchmark
    from converter.manifest import Manifest
    from converter.records import Tower

PREVIOUS, NONE = "previous", "none"
DEFAULT_ROUNDS, DEFAULT_CALLS, DEFAULT_LOADS = 15, 3, 3

EXAMPLES = """\b
Examples:
  mcconvert bench artifacts/mobileclip_s1                           every file, beside PyTorch and ONNX Runtime
  mcconvert bench artifacts/mobileclip_s1 --tower image --only onnx --only tflite/int8
  mcconvert bench artifacts/mobileclip_s1 --against benchmarks/20260131T120000Z-1a2b3c4d.json
  mcconvert bench artifacts/mobileclip_s1 --history
  mcconvert bench artifacts/mobileclip_s1 --import iphone.json      figures from a phone or a Mac
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--tower", type=click.Choice([*TOWERS, "both"]), default="both", show_default=True,
              help="One tower only.")  # fmt: skip
@click.option("--only", multiple=True, metavar="ROW", help="Only these files: a row such as onnx/int8, a target, or "
              "what follows it (int8). Repeatable. PyTorch and the float32 ONNX file are measured in any case, for the "
              "ratios.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(2, 1000), default=DEFAULT_ROUNDS, show_default=True,
              help="How often each file has its turn; more make intervals narrower.")  # fmt: skip
@click.option("--calls", type=click.IntRange(1, 1000), default=DEFAULT_CALLS, show_default=True,
              help="Calls measured in a turn.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), default=None,
              help="Threads of each runtime, kept to as many cores.  [default: 2, or the only core]")  # fmt: skip
@click.option("--batch", "batches", metavar="N,N,...", default="1,4,16", show_default=True,
              help="Inputs a call for throughput, where a file leaves its batch open; 1 leaves it out.")  # fmt: skip
@click.option("--loads", type=click.IntRange(1, 50), default=DEFAULT_LOADS, show_default=True,
              help="In how many fresh processes a file that opens quickly is opened.")  # fmt: skip
@click.option(
    "--against",
    metavar="FILE|previous|none",
    default=PREVIOUS,
    show_default=True,
    help="The earlier run to compare with. previous: the newest one of this machine, if there is one.",
)
@click.option(
    "-w",
    "--weights",
    metavar="auto|hub|seeded|FILE",
    default="",
    help="The weights that the files were made from, where they came from a file.  [default: the manifest's]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of turns.")
@click.option("--history", is_flag=True, help="Instead: list the runs that were kept.")
@click.option("--import", "imported", metavar="FILE", multiple=True,
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Instead: take in a run that a phone or a Mac wrote; its files must be the manifest's, byte for "
                   "byte. Repeatable.")  # fmt: skip
@click.option(
    "--adb",
    "serial",
    metavar="SERIAL|auto",
    default=None,
    help="Instead of this machine: the TFLite files on an Android phone. auto: the only one plugged in.",
)
@click.option("--benchmark-binary", "binary", metavar="FILE", type=click.Path(path_type=Path), default=None,
              help="With --adb: the official benchmark_model for the phone.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The run, and the comparison, as JSON on standard output.")
def bench(folder: Path, *, tower: str, only: tuple[str, ...], against: str, weights: str, history: bool,
          imported: tuple[Path, ...], serial: str | None, binary: Path | None, as_json: bool,
          **options: Any) -> None:  # fmt: skip
    """Measure what each file in FOLDER (artifacts/MODEL) costs: time a call, inputs a second, loading, memory.

    Every file runs in a process of its own, in its own runtime; all take turns, so that whatever else the machine does
    hits all alike. Ratios to PyTorch eager and to ONNX Runtime float32 have 95 % intervals. The run is kept in
    FOLDER/benchmarks and compared with the one before.
    """
    place = (folder if folder.is_dir() else folder.parent).absolute()
    manifest = _manifest(place)
    if history:
        _print_history(place, as_json=as_json)
    elif imported:
        _import(place, manifest, imported)
    else:
        named = _named_run(place, against)
        towers: tuple[Tower, ...] = TOWERS if tower == "both" else (tower,)  # type: ignore[assignment]
        if serial is not None or binary is not None:
            run = _measure_phone(place, manifest, towers, only, serial, binary, options)
        else:
            run = _measure(place, manifest, towers, only, weights, options)
        _finish(place, run, named or _previous_run(place, run, against), as_json=as_json)


def _manifest(place: Path) -> Manifest:
    from converter.publishing.manifest import read_manifest

    return read_manifest(place)


def _measure(
    place: Path, manifest: Manifest, towers: tuple[Tower, ...], only: tuple[str, ...], weights: str,
    options: dict[str, Any],
) -> Benchmark:  # fmt: skip
    from converter.bench.benchmark import Wanted, run_benchmark
    from converter.report.console import warn_untrained

    if not manifest.model.trained:
        warn_untrained(f"{manifest.model.id}: the weights are not trained; times hold for trained ones, answers do not")
    wanted = Wanted(towers=towers, only=only, weights=weights)
    with _saying() as say:
        return run_benchmark(place, manifest, wanted, _settings(options), say)


def _measure_phone(
    place: Path, manifest: Manifest, towers: tuple[Tower, ...], only: tuple[str, ...], serial: str | None,
    binary: Path | None, options: dict[str, Any],
) -> Benchmark:  # fmt: skip
    from converter.bench.adb import find_phone
    from converter.bench.phone import run_on_phone
    from converter.bench.selecting import choose_entries

    if serial is None or binary is None:
        message = "--adb and --benchmark-binary go together: docs/benchmark-devices.md says where to get the binary"
        raise UsageError(message)
    entries = choose_entries(manifest, towers, only)
    with _saying() as say:
        return run_on_phone(place, manifest, entries, find_phone(serial), binary, _settings(options), say)


def _settings(options: dict[str, Any]) -> Settings:
    from converter.bench.machine import allowed_cores
    from converter.bench.rounds import Settings

    return Settings(
        rounds=options["rounds"], calls=options["calls"], loads=options["loads"], seed=options["seed"],
        threads=options["threads"] or min(2, len(allowed_cores())), batches=_batches(options["batches"]),
    )  # fmt: skip


@contextmanager
def _saying() -> Iterator[Callable[[str], None]]:
    """Progress on standard error: one line that changes on a terminal, a line a file elsewhere."""
    from converter.report.console import open_console

    console = open_console(stderr=True)
    with console.status("measuring") as status:

        def say(line: str) -> None:
            status.update(line)
            if not console.is_terminal and "round" not in line:
                console.print(line, highlight=False, markup=False)

        yield say


def _batches(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() and 0 < int(part) <= 4096 for part in parts):
        message = f"--batch {text}: expected numbers from 1 to 4096 with commas between, such as 1,4,16"
        raise UsageError(message)
    return tuple(sorted({int(part) for part in parts}))


def _finish(place: Path, run: Benchmark, earlier: Run | None, *, as_json: bool) -> None:
    from converter.bench.comparing import compare_runs
    from converter.bench.history import write_run
    from converter.report.benchmark import print_benchmark, print_comparison
    from converter.report.console import open_console

    compared = compare_runs(earlier.benchmark, run, earlier.path.name, "this run") if earlier else None
    written = write_run(place, run)
    if as_json:
        click.echo(to_json({"run": run, "comparison": compared, "file": str(written)}).decode(), nl=False)
    else:
        console = open_console()
        print_benchmark(console, run, f"{run.model}: what each file costs")
        if compared is not None:
            print_comparison(console, compared)
    click.echo(f"kept as {written}", err=True)


def _named_run(place: Path, against: str) -> Run | None:
    """The run that --against names; read before anything is measured, so that a wrong name costs no minutes."""
    from converter.bench.history import read_run

    if against in (PREVIOUS, NONE):
        return None
    path = Path(against)
    return read_run(path if path.exists() or path.is_absolute() else place / path)


def _previous_run(place: Path, run: Benchmark, against: str) -> Run | None:
    from converter.bench.history import previous_run, read_history

    if against != PREVIOUS:
        return None
    runs, unread = read_history(place)
    for line in unread:
        click.echo(f"not read: {line}", err=True)
    found = previous_run(runs, run)
    if found is None:
        click.echo("no earlier run of this machine to compare with", err=True)
    return found


def _print_history(place: Path, *, as_json: bool) -> None:
    from converter.bench.history import read_history
    from converter.report.benchmark import print_history
    from converter.report.console import open_console, print_json

    runs, unread = read_history(place)
    if as_json:
        print_json({"runs": [{"file": str(run.path), "run": run.benchmark} for run in runs], "unread": unread})
    elif not runs and not unread:
        click.echo(f"no run kept in {place / 'benchmarks'}: 'mcconvert bench {place}' makes one")
    else:
        print_history(open_console(), [(run.path.name, run.benchmark) for run in runs], unread)


def _import(place: Path, manifest: Manifest, imported: Sequence[Path]) -> None:
    from converter.bench.history import take_in

    for path in imported:
        click.echo(f"taken in as {take_in(place, manifest, path)}")
