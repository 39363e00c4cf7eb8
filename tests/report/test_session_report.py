"""A report from folder to record: what is gathered, what runs for it, and what an export leaves."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from converter.benchmarked import BenchMachine, Benchmark, Measured, Timing
from converter.cli import cli
from converter.errors import MissingDependencyError, UsageError
from converter.manifest import Manifest
from converter.pipeline.reporting import ReportSettings
from converter.publishing.manifest import read_manifest, write_manifest
from converter.records import from_json, to_json
from converter.reported import PROVING, Reported
from converter.session_report import digest_of, gather, is_current, require_libraries, write_report
from tests.report.conftest import ROWS, Made, run

MACHINE = BenchMachine(
    name="a phone", processor="p", instructions=(), cores=8, memory_bytes=8 * 2**30, system="s", python="",
    libraries=("LiteRT 2.1",), load_before=None,
)  # fmt: skip


def quick(made: Made) -> ReportSettings:
    return ReportSettings(cache=made.cache, quick=True)


def benchmark(manifest: Manifest, created: str, ms: float, sha256: str = "") -> Benchmark:
    entry = manifest.artifacts[0]
    row = Measured(
        step_id=entry.step_id, path=entry.path, sha256=sha256 or entry.sha256, target=entry.target, tower=entry.tower,
        precision=entry.precision, size_bytes=entry.size_bytes, executed_by="LiteRT",
        latency_ms=Timing(median=ms, p95=2 * ms, interval=(ms, ms), calls=9),
    )  # fmt: skip
    return Benchmark(
        schema_version=1, model=manifest.model.id, weights_sha256="", created=created, created_by="", machine=MACHINE,
        threads=4, rounds=1, calls=9, warmup=1, rows=(row,),
    )  # fmt: skip


def put(folder: Path, name: str, one: Benchmark) -> None:
    (folder / "benchmarks").mkdir(exist_ok=True)
    (folder / "benchmarks" / name).write_bytes(to_json(one))


def test_an_export_ends_by_naming_its_report(made: Made) -> None:
    """The page lies beside the manifest and says what is not in it yet, and how to add that."""
    page = (made.folder / "report.html").read_text()

    assert made.err.splitlines()[-1] == f"report: {made.folder / 'report.html'}"
    assert "Not in this report" in page
    assert "mcconvert report mobileclip_nano" in page


def test_an_export_s_report_has_what_was_proven_a_moment_ago(made: Made) -> None:
    """Matrix and strips come from the embeddings that the export made: nothing runs."""
    reported = gather(made.folder, quick(made))

    assert reported.agreement is not None
    assert [side.name for side in reported.agreement.towers[0].sides] == [
        "pytorch", *(one.entry.step_id.partition("/")[2] for one in reported.files),
    ]  # fmt: skip
    assert reported.strips
    assert {gap.part for gap in reported.gaps} >= {"latency"}


def test_a_warm_export_leaves_the_report(made: Made) -> None:
    """What is made from the same files is not made again; another manifest makes another report."""
    assert is_current(made.folder)
    before = (made.folder / "report.html").stat().st_mtime_ns

    done = run(*ROWS, "--out", made.folder.parent, cache=made.cache)

    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("report: ")
    assert (made.folder / "report.html").stat().st_mtime_ns == before


def test_a_report_of_other_files_is_not_current(own: Path) -> None:
    """The digest covers manifest and benchmarks."""
    assert is_current(own)
    digest = digest_of(own)
    put(own, "x.json", benchmark(read_manifest(own), "2026-01-01T00:00:00Z", 1.0))

    assert not is_current(own)
    assert digest_of(own) != digest


def test_a_report_that_cannot_be_written_fails_no_export(made: Made, tmp_path: Path) -> None:
    """A folder stands where the page should go: the export is what it was, one line says why there is no report."""
    folder = tmp_path / "mobileclip_nano"
    (folder / "report.html").mkdir(parents=True)

    done = run(*ROWS, "--out", tmp_path, cache=made.cache)

    assert done.returncode == 0, done.stderr
    assert "no report was written" in done.stderr.splitlines()[-1]
    assert read_manifest(folder).artifacts


def test_a_whole_report_follows_each_file(made: Made, gathered: Reported) -> None:
    """SQNR along the depth of every file, the INT8 one below the float32 one, and nothing is missing but latencies."""
    ends = {one.precision: one.end_db for one in gathered.depths}

    assert [one.step_id for one in gathered.depths] == [one.entry.step_id for one in gathered.files]
    assert (ends["fp32"] or 0) > 100 > (ends["int8"] or 0) > 20
    assert [gap.part for gap in gathered.gaps] == ["latency"]
    assert gathered.hashed


def test_a_second_report_runs_nothing(made: Made, gathered: Reported) -> None:
    """All that was found is kept by content; equal files give an equal record."""
    said: list[str] = []

    again = gather(made.folder, ReportSettings(cache=made.cache, jobs=2, threads=1, said=said.append))

    assert said == []
    assert again == gathered


def test_a_changed_file_did_not_pass(made: Made, gathered: Reported, own: Path) -> None:
    """One byte more: the whole report says CHANGED, the untouched folder's says PASSED."""
    entry = read_manifest(own).artifacts[0]
    with (own / entry.path).open("ab") as stream:
        stream.write(b"x")

    spoilt = gather(own, ReportSettings(cache=made.cache))

    assert [one.verdict for one in spoilt.files][:2] == ["CHANGED", "PASSED"]
    assert "bytes" in spoilt.files[0].changed
    assert {one.verdict for one in gathered.files} == {"PASSED"}


def test_latencies_come_from_the_newest_benchmark_of_each_machine(made: Made, own: Path) -> None:
    """Older runs, and those of files that are not listed, are left out."""
    manifest = read_manifest(own)
    put(own, "a.json", benchmark(manifest, "2026-02-01T00:00:00Z", 5.0))
    put(own, "b.json", benchmark(manifest, "2026-01-01T00:00:00Z", 7.0))
    other = dataclasses.replace(MACHINE, name="a Mac")
    strange = benchmark(manifest, "2026-02-01T00:00:00Z", 9.0, sha256="f" * 64)
    put(own, "c.json", dataclasses.replace(strange, machine=other))

    reported = gather(own, quick(made))

    assert [one.name for one in reported.machines] == ["a phone"]
    assert [one.median_ms for one in reported.files[0].latencies] == [5.0]
    assert reported.files[1].latencies == ()
    assert "latency" not in {gap.part for gap in reported.gaps}


def test_without_a_benchmark_latencies_are_those_of_proving(made: Made) -> None:
    """And the report says so."""
    reported = gather(made.folder, quick(made))

    assert [one.name for one in reported.machines] == [PROVING]
    assert any(gap.part == "latency" and "bench" in gap.command for gap in reported.gaps)


def test_a_benchmark_that_is_none_is_named(made: Made, own: Path) -> None:
    """A damaged file costs its figures, not the report."""
    (own / "benchmarks").mkdir()
    (own / "benchmarks" / "x.json").write_text("{")

    reported = gather(own, quick(made))

    assert any("x.json" in gap.why for gap in reported.gaps)


def test_a_record_survives_json(gathered: Reported) -> None:
    """What --json gives is all that the page is drawn from."""
    assert to_json(from_json(to_json(gathered), Reported)) == to_json(gathered)


def test_nothing_gathered_names_this_machine(made: Made, gathered: Reported) -> None:
    """Reports travel by mail."""
    text = to_json(gathered).decode()

    assert str(made.folder.parent) not in text
    assert str(Path.home()) + "/" not in text


def test_a_library_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    require_libraries()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))

    with pytest.raises(MissingDependencyError, match=r"matplotlib.*mcconvert\[report\]"):
        require_libraries()


def test_a_folder_without_files_is_refused(made: Made, own: Path) -> None:
    """There is nothing to report."""
    write_manifest(own / "manifest.json", dataclasses.replace(read_manifest(own), artifacts=()))

    with pytest.raises(UsageError, match="lists no file"):
        gather(own, quick(made))


def test_the_command_gives_one_form_at_a_time(made: Made, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with -o, Markdown or JSON on standard output; never two."""
    monkeypatch.setenv("MCCONVERT_CACHE", str(made.cache))
    page = own.parent / "page.html"

    written = CliRunner().invoke(cli, ["report", str(own), "--quick", "-o", str(page)])
    markdown = CliRunner().invoke(cli, ["report", str(own), "--quick", "--markdown"])
    as_json = CliRunner().invoke(cli, ["report", str(own), "--quick", "--json"])
    both = CliRunner().invoke(cli, ["report", str(own), "--json", "--markdown"])

    assert written.stdout == f"report: {page}\n"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert markdown.stdout.startswith("### ✅ mobileclip\\_nano: ")
    assert json.loads(as_json.stdout)["model"]["id"] == "mobileclip_nano"
    assert isinstance(both.exception, UsageError)


def test_equal_records_give_equal_pages(gathered: Reported, tmp_path: Path) -> None:
    """No time, no random name."""
    for name in ("a.html", "b.html"):
        write_report(gathered, tmp_path / name)

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
