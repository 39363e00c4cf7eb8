"""Several runs at once: two on one folder, ten on one cache."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest

from tests.faults.command import begin, mcconvert, wait_until, workers
from tests.faults.conftest import ROWS, Export, Faults
from tests.faults.wholeness import check_all_as_ever, contents

pytestmark = pytest.mark.faults
TOGETHER = 10


def test_the_second_run_on_a_folder_is_refused(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """It names the first one's process and ends with 2; the first one ends as if alone."""
    export = Export(out=tmp_path / "out", cache=tmp_path / "cache", seconds=undisturbed.seconds)
    first = begin(*ROWS, "--out", export.out, cache=export.cache)
    wait_until(lambda: workers(export.cache))

    with faults.inject("a second run on the same folder"):
        second = export.run()
        assert second.code == 2
        assert f"another run (process {first.pid}) is writing to {export.folder}" in second.err
        assert first.wait(300) == 0
        check_all_as_ever(export.folder, export.cache, undisturbed.contents())


def test_ten_runs_at_once_share_a_cache(undisturbed: Export, faults: Faults, tmp_path: Path) -> None:
    """All begin with nothing and want the same: each ends well, with the same bytes, and nothing is left in staging."""
    rows = ("--target", "onnx", "--quant", "fp32", "--tower", "image")
    cache = tmp_path / "cache"
    alone = mcconvert(*rows, "--out", tmp_path / "alone", cache=tmp_path / "alone-cache")
    assert alone.code == 0, alone.text

    def one(number: int) -> int:
        with faults.inject(f"run {number} of {TOGETHER} on one cache"):
            ran = mcconvert(*rows, "--out", tmp_path / f"out-{number}", cache=cache)
            assert ran.code == 0, ran.text
            folder = tmp_path / f"out-{number}" / "mobileclip_nano"
            assert contents(folder) == contents(tmp_path / "alone" / "mobileclip_nano")
        return number

    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        assert list(pool.map(one, range(TOGETHER))) == list(range(TOGETHER))
    assert not list((cache / "staging").iterdir())
