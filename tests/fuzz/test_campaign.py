"""A campaign sees what it is there to see, and on this program it sees nothing."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import broken, readers
from tests.fuzz.campaign import Plan, Tally, run
from tests.fuzz.child import seeds_of, write_input
from tests.fuzz.mutators import gadgets, spoiled

EACH = 2
SLOW = ("tflite", "mlpackage", "onnx", "torchscript")
"""Readers whose seeds take a conversion, or whose library takes long to load; the long campaign has them."""
SHORT_INPUTS, SHORT_SECONDS = 400, 600.0


def _counts(name: str, work: Path) -> Tally:
    reader = next(one for one in broken.READERS if one.name == name)
    plan = Plan(work=work, seed=1, inputs=EACH, seconds=60, jobs=1, module="tests.fuzz.broken")
    return run([reader], plan, lambda _line: None)[name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("raises", "traceback"),
        ("segfaults", "crash"),
        ("segfaults in its own process", "contained"),
        ("hangs", "hang"),
        ("takes all memory", "traceback"),
        ("leaves", "crash"),
        ("refuses", "refused"),
        ("believes", "read"),
    ],
)
def test_every_end_is_counted_as_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    """A crash or a hang costs its own input alone: the next one is tried too."""
    tally = _counts(name, tmp_path)

    assert tally.counts[kind] == tally.tried == EACH
    assert tally.failed == (kind in ("traceback", "crash", "hang"))


def test_a_finding_is_kept_with_the_way_to_see_it_again(tmp_path: Path) -> None:
    """The input is the one that was read, and its number makes the same bytes."""
    _counts("raises", tmp_path)
    reader = broken.READERS[0]

    kept = tmp_path / "findings" / "raises-1"
    again = write_input(reader, seeds_of(reader, tmp_path), 1, 1, tmp_path)

    assert "--seed 1 --input 1" in (kept / "finding.txt").read_text()
    assert "KeyError: 'absent'" in (kept / "finding.txt").read_text()
    assert (kept / "seed.bin").read_bytes() == again.read_bytes() != broken.WHOLE


def test_the_last_line_counts_everything(tmp_path: Path) -> None:
    """In one line, for people and for CI."""
    said: list[str] = []
    chosen = [one for one in broken.READERS if one.name in ("raises", "segfaults", "refuses", "believes")]
    run(chosen, Plan(work=tmp_path, seed=1, inputs=8, seconds=60, jobs=2, module="tests.fuzz.broken"), said.append)

    assert said[-1] == "inputs tried: 8, refused: 2, read: 2, tracebacks: 2, crashes: 2, hangs: 0"
    assert len(said) == len(chosen) + 1


def test_mutations_repeat() -> None:
    """The same seed, the same bytes; another seed, others."""
    data = bytes(range(200))

    once, again = ([spoiled(data, Random(f"{seed}")) for seed in range(50)] for _ in range(2))

    assert once == again
    assert len(set(once)) > 40


def test_every_gadget_is_a_pickle_that_would_run(tmp_path: Path) -> None:
    """Those that need only the standard library do, when an unpickler that believes them reads them."""
    import pickle

    ran = 0
    for number, data in enumerate(gadgets(str(tmp_path / "canary"))):
        try:
            pickle.loads(data)
        except Exception:  # some need torch, some end in an error after they ran
            continue
        finally:
            if (tmp_path / "canary").exists():
                ran += 1
                canary = tmp_path / "canary"
                canary.rmdir() if canary.is_dir() else canary.unlink()
            assert number < 100

    assert ran >= 5


def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    """Every reader whose seeds are made quickly; `make fuzz` is the long one."""
    chosen = [one for one in readers.READERS if not one.name.startswith(SLOW)]
    said: list[str] = []

    tallies = run(chosen, Plan(work=tmp_path, seed=7, inputs=SHORT_INPUTS, seconds=SHORT_SECONDS, jobs=1), said.append)

    assert not any(tally.failed for tally in tallies.values()), "\n".join(said)
    assert all(tally.tried for tally in tallies.values()), "\n".join(said)
    assert int(re.findall(r"refused: (\d+)", said[-1])[0]) > SHORT_INPUTS // 2
