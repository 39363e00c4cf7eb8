"""One report from folder to file: what the manifest, the benchmarks, the cache and the files themselves say, gathered.

The gathered record (`converter.reported`) is drawn by `report`. After an export the report is written by a process of
its own (`python -m converter.session_report`), so that it can neither slow nor fail what it tells of.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from converter import __version__
from converter.benchmarked import BENCHMARKS, Benchmark
from converter.errors import McconvertError, MissingDependencyError, UsageError
from converter.files import inside, write_atomically
from converter.manifest import FileRef, Manifest, ManifestEntry
from converter.publishing.manifest import read_manifest
from converter.publishing.provenance import read_build
from converter.publishing.snippets import lines_of
from converter.records import from_json
from converter.release import DOCUMENTS, MANIFEST
from converter.reported import (
    PROVING,
    SCHEMA_VERSION,
    Document,
    Gap,
    Latency,
    Machine,
    Origin,
    Reported,
    ReportedFile,
    Strip,
)

if TYPE_CHECKING:
    from converter.pipeline.reporting import Compared, Depths, ReportSettings
    from converter.pipeline.run import RunReport
    from converter.session import Prepared

REPORT = "report.html"
NEEDS = ("jinja2", "matplotlib")
SECONDS_AFTER_EXPORT = 120.0
THUMBNAIL = 80
"""Pixels a side of a photograph in a report."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For many small products, which threads that wait for each other only slow down."""
DIGEST = re.compile(rb'<meta name="mcconvert-digest" content="([0-9a-f]{64})">')


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The newest run on one machine: medians by the sha256 of the file."""

    machine: Machine
    latencies: Mapping[str, Latency]


def gather(folder: Path, settings: ReportSettings) -> Reported:
    """All that can be said of the files in a model's folder.

    What cannot be had is left out and named among the gaps, with the command that adds it.

    Raises:
        UsageError: the folder holds no manifest, or one that lists no file.
    """
    from converter.pipeline.reporting import compare, measure_depths

    manifest = read_manifest(folder)
    if not manifest.artifacts:
        message = f"{folder}: the manifest lists no file, so there is nothing to report; run the export again"
        raise UsageError(message)
    changed = {} if settings.quick else {one.step_id: _changed(folder, one) for one in manifest.artifacts}
    benches, unread = read_benches(folder, manifest)
    compared, why = _tried(lambda: compare(folder, manifest, settings))
    depths, why_not = _tried(lambda: measure_depths(folder, manifest, settings))
    gaps = [*unread, *_comparing_gaps(folder, compared, why), *_depth_gaps(folder, depths, why_not)]
    if not benches:
        gaps.append(_gap(folder, "latency", "no benchmark was taken: latencies are those of single calls while files "
                         "were proven, beside other work", "bench"))  # fmt: skip
    strips = compared.strips if compared else ()
    return Reported(
        schema_version=SCHEMA_VERSION, created_by=f"mcconvert {__version__}", folder=folder.resolve().name,
        digest=digest_of(folder), quick=settings.quick, hashed=not settings.quick, model=manifest.model,
        files=tuple(_file(manifest, entry, benches, changed.get(entry.step_id, "")) for entry in manifest.artifacts),
        missing=manifest.missing, waivers=manifest.waivers,
        machines=tuple(bench.machine for bench in benches) or (Machine(name=PROVING),),
        agreement=compared.agreement if compared else None, depths=depths.depths if depths else (), strips=strips,
        gaps=tuple(gaps), documents=tuple(_documents(folder)), origin=_origin(folder),
        environment=manifest.environment, pictures=_pictures(folder, manifest, strips),
    )  # fmt: skip


def read_benches(folder: Path, manifest: Manifest) -> tuple[list[Bench], list[Gap]]:
    """The newest benchmark of each machine, of those that measured a listed file; what could not be read is a gap."""
    newest: dict[str, Benchmark] = {}
    gaps = []
    for path in sorted((folder / BENCHMARKS).glob("*.json")):
        try:
            one = from_json(path.read_bytes(), Benchmark)
        except (OSError, msgspec.DecodeError) as error:
            gaps.append(_gap(folder, "latency", f"{BENCHMARKS}/{path.name} is no benchmark: {error}", "bench"))
            continue
        if one.machine.name not in newest or newest[one.machine.name].created <= one.created:
            newest[one.machine.name] = one
    listed = {entry.sha256 for entry in manifest.artifacts}
    return [bench for one in newest.values() if (bench := _bench(one, listed)).latencies], gaps


def digest_of(folder: Path) -> str:
    """Of all that a report is made from beside the files themselves, and of what makes it."""
    digest = hashlib.sha256(f"mcconvert {__version__}, report {SCHEMA_VERSION}".encode())
    names = [folder / name for name in DOCUMENTS]
    for path in [*names, *sorted((folder / BENCHMARKS).glob("*.json"))]:
        if path.is_file():
            digest.update(f"\0{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current(folder: Path) -> bool:
    """Whether the folder's report is made from what lies there now."""
    try:
        with (folder / REPORT).open("rb") as stream:
            found = DIGEST.search(stream.read(4096))
    except OSError:
        return False
    return found is not None and found[1].decode() == digest_of(folder)


def require_libraries() -> None:
    """Raises: MissingDependencyError: a library that draws reports is not installed."""
    absent = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if absent:
        message = f"a report needs {' and '.join(absent)}, not installed here: pip install 'mcconvert[report]'"
        raise MissingDependencyError(message)


def write_report(reported: Reported, path: Path) -> None:
    """Draw the report as one HTML file at `path`; all of it or nothing."""
    from converter.report.html import render

    write_atomically(path, render(reported).encode())


def report_after(prepared: Prepared, run: RunReport, say: Callable[[str], None]) -> None:
    """Write the report of an export that just ended, in its quick form, and name it; whatever happens, only that.

    A report that is made from the same files already stays.
    """
    folder = prepared.workspace.folder
    if not (folder / MANIFEST).is_file():
        return
    try:
        if not is_current(folder):
            require_libraries()
            _write_apart(prepared, run)
        say(f"report: {_as_given(prepared.request.out, folder) / REPORT}")
    except MissingDependencyError as error:
        say(f"no report: {error}")
    except (OSError, McconvertError, subprocess.SubprocessError) as error:
        say(f"no report was written ({_last_line(error)}); 'mcconvert report {folder}' says more")


def main(arguments: Sequence[str]) -> int:
    """The process of its own: FOLDER CACHE, and on standard input where the files' embeddings lie, by step id."""
    from converter.pipeline.reporting import ReportSettings, keep_embeddings

    folder, cache = map(Path, arguments)
    made = {step: Path(place) for step, place in json.load(sys.stdin).items()}
    try:
        keep_embeddings(cache, read_manifest(folder), made)
        write_report(gather(folder, ReportSettings(cache=cache, quick=True)), folder / REPORT)
    except McconvertError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _write_apart(prepared: Prepared, run: RunReport) -> None:
    cache = prepared.planner.cache
    made = {step: str(cache.path(entry, "candidate")) for step, entry in run.entries.items()
            if "candidate" in entry.files}  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "converter.session_report", str(prepared.workspace.folder), str(cache.root)],
        input=json.dumps(made), capture_output=True, text=True, check=True, timeout=SECONDS_AFTER_EXPORT,
        env=os.environ | ONE_THREAD,
    )  # fmt: skip


def _as_given(out: Path, folder: Path) -> Path:
    return out / folder.name


def _last_line(error: Exception) -> str:
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _tried[T](function: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return function(), ""
    except McconvertError as error:
        return None, str(error)


def _changed(folder: Path, entry: ManifestEntry) -> str:
    from converter.pipeline.verify import changed

    return changed(folder, FileRef(path=entry.path, sha256=entry.sha256, size_bytes=entry.size_bytes))


def _file(manifest: Manifest, entry: ManifestEntry, benches: Sequence[Bench], changed: str) -> ReportedFile:
    latencies = [bench.latencies[entry.sha256] for bench in benches if entry.sha256 in bench.latencies]
    if not benches and entry.parity is not None and entry.parity.latency_ms is not None:
        latencies = [Latency(machine=PROVING, median_ms=entry.parity.latency_ms)]
    return ReportedFile(
        entry=entry, latencies=tuple(latencies), changed=changed,
        lines=lines_of(manifest.model, entry) if entry.inputs and entry.outputs else None,
    )  # fmt: skip


def _bench(run: Benchmark, listed: Iterable[str]) -> Bench:
    found = {
        row.sha256: Latency(machine=run.machine.name, median_ms=row.latency_ms.median, p95_ms=row.latency_ms.p95)
        for row in run.rows
        if row.latency_ms is not None and row.sha256 in listed
    }
    machine = Machine(name=run.machine.name, created=run.created, threads=run.threads, facts=run.machine)
    return Bench(machine=machine, latencies=found)


def _comparing_gaps(folder: Path, compared: Compared | None, why: str) -> Iterator[Gap]:
    if compared is None:
        yield _gap(folder, "matrix", why, "report")
    elif compared.absent:
        yield _gap(folder, "matrix", f"not yet run for it: {_some(compared.absent)}", "report")


def _depth_gaps(folder: Path, depths: Depths | None, why: str) -> Iterator[Gap]:
    if depths is None:
        yield _gap(folder, "depth", why, "report")
        return
    if depths.absent:
        yield _gap(folder, "depth", f"nobody looked into them yet: {_some(depths.absent)}", "report")
    for step, reason in depths.failed.items():
        yield _gap(folder, "depth", f"{step}: {reason}", "report")


def _gap(folder: Path, part: str, why: str, command: str) -> Gap:
    return Gap(part=part, why=why, command=f"mcconvert {command} {folder.name}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _documents(folder: Path) -> Iterator[Document]:
    for name in DOCUMENTS:
        if (folder / name).is_file():
            yield Document(name=name, sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest())


def _origin(folder: Path) -> Origin | None:
    try:
        build = read_build(folder)
    except UsageError:
        return None
    return Origin(
        invocation=build.invocation, started=build.started, finished=build.finished, tools=build.tools,
        materials=build.materials,
    )  # fmt: skip


def _pictures(folder: Path, manifest: Manifest, strips: Sequence[Strip]) -> dict[int, str]:
    """The photographs that strips show, small."""
    shown = {one.sample for strip in strips if strip.tower == "image" for answer in strip.answers
             for one in answer.shown} | {strip.sample for strip in strips if strip.tower == "image"}  # fmt: skip
    reference = next((one for one in manifest.references if one.tower == "image"), None)
    place = inside(folder, reference.samples.path) if reference else None
    if not shown or place is None:
        return {}
    from converter.models.samples import load_stored

    pixels = load_stored(place)
    return {sample: _jpeg(pixels[sample]) for sample in sorted(shown) if sample < len(pixels)}


def _jpeg(pixels: object) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)  # type: ignore[arg-type]
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(buffer, "JPEG", quality=78, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
