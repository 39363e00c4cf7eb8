"""A step's process that dies, and converters on their worst days: one step is lost, and nothing else."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.faults.command import any_command, begin, command, environment, wait_until, workers
from tests.faults.conftest import ROWS, SEED, Export, Faults
from tests.faults.wholeness import check_all_as_ever, check_nothing_half

pytestmark = pytest.mark.faults
LOG = "image.misbehaving.misbehaving.log"


@pytest.mark.parametrize("number", range(4))
def test_a_killed_worker_costs_its_step(undisturbed: Export, faults: Faults, tmp_path: Path, number: int) -> None:
    """SIGKILL of a step's process at a random moment: 5, the step is named with a way on; the next run completes."""
    moment = 4 * random.Random(f"{SEED} worker {number}").random()
    export = Export(out=tmp_path / "out", cache=tmp_path / "cache", seconds=undisturbed.seconds)

    with faults.inject(f"SIGKILL of the reference's process {moment:.2f} s after its begin"):
        process = subprocess.Popen(
            command(*ROWS, "--out", export.out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment(export.cache),
        )  # fmt: skip
        wait_until(lambda: workers(export.cache))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moment)
        workers(export.cache)[0].kill()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 5
        assert "image/pytorch/reference: its process was killed (SIGKILL)" in " ".join(out.split())
        assert "then run again" in " ".join(out.split())
        assert "image/pytorch/reference has no artifact to start from" in " ".join(out.split())
        check_nothing_half(export.folder, export.cache, undisturbed.contents())
        ran = export.run()
        assert ran.code == 0, ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("abort", "crashed natively (SIGABRT)"),
        ("hang", "stopped after"),
        ("hog", "GiB of memory"),
        ("exit", "exit code 0 and left no result"),
        ("leave", "exit code 1 and left no result"),
        ("raise", "RuntimeError: op Erf is not supported"),
        ("half", "image/misbehaving/misbehaving"),
        ("garbage", "image/misbehaving/misbehaving"),
        ("noise", "RuntimeError: noise"),
        ("flood", "stopped after printing 256 MiB"),
        ("outcome", "exit code 0 and left no result"),
        ("outside", "wrote no such file into its folder"),
        ("child", "RuntimeError: and a child is left behind"),
        ("full", "no space left on the disk"),
    ],
)
def test_a_misbehaving_converter_costs_its_step(
    undisturbed: Export, site: Path, faults: Faults, tmp_path: Path, how: str, message: str
) -> None:
    """Exit code 5; step, reason and log are named in clean text; the other rows are what they always are."""
    export = undisturbed.copy(tmp_path)
    whole = undisturbed.contents()

    with faults.inject(f"a converter's {how}"):
        ran = export.run(
            "--target", "misbehaving", "--set", f"misbehaving.misbehaving.options.how={how}", "--set",
            "limits.minutes=0.3", "--set", "limits.memory_gib=2", extra={"PYTHONPATH": str(site)},
        )  # fmt: skip
        log = export.folder / "logs" / LOG
        assert ran.code == 5, ran.text
        assert message in ran.out
        assert str(log) in ran.out
        assert "\x1b" not in ran.text
        assert log.stat().st_size < 2**30
        assert not [one for one in psutil.process_iter() if _belongs_to(one, export.cache)]
        check_all_as_ever(export.folder, export.cache, whole, lost=("image/misbehaving/misbehaving",))
        log.unlink()
        assert export.run().code == 0


def test_the_command_ends_when_its_reader_goes(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """`mcconvert | head -c 1`: the code says that a reader went, no traceback, and the manifest is whole."""
    export = undisturbed.copy(tmp_path)

    with faults.inject("a closed standard output"):
        ran = any_command(
            ["bash", "-o", "pipefail", "-c", '"$@" | head -c 1', "-", *command(*ROWS, "--out", export.out)],
            cache=export.cache,
        )  # fmt: skip
        assert ran.code == 141, ran.text
        assert "Traceback" not in ran.text and "Exception" not in ran.text
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


def test_a_run_that_dies_takes_a_converters_child_along(
    undisturbed: Export, site: Path, faults: Faults, tmp_path: Path
) -> None:
    """SIGKILL of the run leaves no process of its step behind once the next run has begun."""
    export = undisturbed.copy(tmp_path)
    arguments = ("--target", "misbehaving", "--set", "misbehaving.misbehaving.options.how=hang")

    with faults.inject("SIGKILL of the run while a converter hangs"):
        extra = {"PYTHONPATH": str(site)}
        process = begin(*ROWS, *arguments, "--out", export.out, cache=export.cache, extra=extra)
        log = export.folder / "logs" / LOG
        wait_until(lambda: log.exists() and "noise" in log.read_text())
        process.kill()
        process.wait()
        assert export.run().code == 0
        assert not [one for one in psutil.process_iter() if _belongs_to(one, export.cache)]


def _belongs_to(process: psutil.Process, cache: Path) -> bool:
    try:
        return process.environ().get("TMPDIR", "").startswith(str(cache)) and process.status() != "zombie"
    except psutil.Error:
        return False
