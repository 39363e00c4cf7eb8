"""`make fuzz`: `python -m tests.fuzz`, ending in one line of counts; exit code 1 where a finding was made."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import Plan, run
from tests.fuzz.child import seeds_of, write_input
from tests.fuzz.readers import READERS

INPUTS, SECONDS = 40_000, 600.0


def main() -> int:
    """Feed all readers, or those whose name has `--reader` in it; `--input` reads one input again, in this process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs in all  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="end after that long  [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs  [default: %(default)s]")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once  [default: %(default)s]")
    parser.add_argument("--reader", default="", help="part of a reader's name  [default: all]")
    parser.add_argument("--input", type=int, default=None, help="read this one input again, with its traceback")
    parser.add_argument("--work", type=Path, default=Path("artifacts/fuzz"), help="seeds and findings")
    given = parser.parse_args()
    chosen = [reader for reader in READERS if given.reader in reader.name]
    given.work.mkdir(parents=True, exist_ok=True)
    if given.input is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = write_input(chosen[0], seeds_of(chosen[0], given.work), given.seed, given.input, Path(folder))
            print(chosen[0].read(path))
        return 0
    plan = Plan(work=given.work, seed=given.seed, inputs=given.inputs, seconds=given.seconds, jobs=given.jobs)
    return int(any(tally.failed for tally in run(chosen, plan).values()))


if __name__ == "__main__":
    sys.exit(main())
