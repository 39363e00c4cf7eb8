"""What `verify --provenance` found, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from converter.records import Finding

PROVEN = "every byte is as provenance.json says, and nothing is missing, added or out of place"
NOT_PROVEN = "not proven here: that the files are still the model ('mcconvert verify' runs them)"


def print_provenance(console: Console, name: str, findings: Sequence[Finding], notes: Sequence[str]) -> None:
    """Each finding with what to do; without any, what that proves and what it does not."""
    for one in findings:
        console.print(f"{one.name}: {one.seen}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"    {one.advice}", markup=False, highlight=False, soft_wrap=True)
    if findings:
        text = f"{name}: {len(findings)} {'thing is' if len(findings) == 1 else 'things are'} not as stated"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    for line in (f"{name}: {PROVEN}", *notes, NOT_PROVEN):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
