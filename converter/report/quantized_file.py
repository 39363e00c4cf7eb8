"""The table of a given file's quantized files: how many answers agree, how close, how fast, how small."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from converter.judged import Agreed, Counted, QuantizedFile, QuantizedFiles
from converter.report.summary import size_words

COLUMNS = (
    "file", "same top-1", "top-5 shared", "centred cosine, min / mean", "SQNR, dB", "ms", "latency / given",
    "latency / fp32 of its format", "size", "size / given",
)  # fmt: skip


def print_quantized(console: Console, found: QuantizedFiles) -> None:
    """The table; then accuracy where labels are known, and why a format has no file."""
    calibrated = f"calibrated on {found.calibrated_on} others" if found.calibrated_on else "not calibrated"
    title = (
        f"{found.given}: {size_words(found.size_bytes)}, {found.milliseconds:.2f} ms; quantized files judged on "
        f"{found.judged_on}, {calibrated}"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for one in found.files:
        if one.agreed is not None:
            table.add_row(*_cells(one, one.agreed))
    console.print(table)
    for line in _lines(found):
        console.print(Text(line), soft_wrap=True)


def _cells(one: QuantizedFile, agreed: Agreed) -> tuple[str, ...]:
    return (
        one.path,
        _share(agreed.top1),
        _share(agreed.top5),
        f"{agreed.centred_cosine_min:.4f} / {agreed.centred_cosine_mean:.4f}",
        f"{agreed.sqnr_db:.1f}",
        f"{one.milliseconds:.2f}",
        f"{one.latency_ratio:.2f}",
        f"{one.float_latency_ratio:.2f}",
        size_words(one.size_bytes),
        f"{one.size_ratio:.2f}",
    )


def _lines(found: QuantizedFiles) -> Iterator[str]:
    for one in found.files:
        if one.why_not:
            yield f"no {one.format} file: {one.why_not}"
        if one.agreed is not None and one.agreed.nonfinite:
            yield f"FAILED {one.path}: {one.agreed.nonfinite} outputs are NaN or infinite"
        if one.accuracy is not None:
            known = one.accuracy
            yield (
                f"{one.path}: {_percent(known.quantized)} of the labels right, the given file {_percent(known.given)}; "
                f"lost {100 * known.lost.value:+.2f} points [{_ends(known.lost)}]"
            )


def _share(counted: Counted) -> str:
    return f"{counted.value:.3f} [{counted.interval[0]:.3f}, {counted.interval[1]:.3f}]"


def _percent(counted: Counted) -> str:
    return f"{100 * counted.value:.2f} % [{_ends(counted)}]"


def _ends(counted: Counted) -> str:
    return ", ".join(f"{100 * end:.2f}" for end in counted.interval)
