"""Reference pages from the code: `python -m converter.report.reference FOLDER [--check]`, or `make reference`.

Configuration, manifest and exit codes, as the dataclasses, the shipped YAML and the errors say. With `--check` nothing
is written; a page that is not what the code says ends the process with 1.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from converter import config, errors, manifest, records
from converter.errors import McconvertError
from converter.files import write_atomically
from converter.report.fields import field_table, record_section

NOTE = "<!-- written by `make reference` from the code; a change here is lost -->"
CONFIG_HEAD = """\
Everything that a run does is named in YAML below `configs/`: a pipeline, and a file for each target, recipe and model.
Three things change it, each laid over the one before:

1. the file that `--config` names, instead of `configs/pipelines/export-all.yaml`;
2. whatever that file says below `targets:` and `recipes:`, key by key;
3. `--set KEY=VALUE`, any number of times: `--set limits.minutes=10`, or `--set onnx.fp32.options.opset=17`, which is
   short for `targets.onnx.rows.fp32.options.opset`.

Unknown keys are errors. All mistakes are listed at once, each with where it stands and the nearest name that is known.
`mcconvert plan` shows what a change makes run again, and why."""
MANIFEST_HEAD = """\
`artifacts/<model>/manifest.json` says what each file is, how to feed it, what it was made from and what was proven.
Someone with the manifest and a file can use the model without reading our code. Its JSON schema ships with the package
as `converter/publishing/manifest.schema.json`; `schema_version` grows when an older reader would misunderstand. Paths
are relative to the manifest. Numbers that are not finite are null."""
CODES_HEAD = """\
Every command ends with one of these. A refusal is one message on standard error: what was seen, what was expected, what
to do; there is a traceback for code 1 only."""
METRIC_HEAD = "What a `metric` of a tolerance may be; what each figure means stands in [parity](../parity.md)."
CONFIG_RECORDS = (
    config.LimitsConfig, config.RowChoice, config.TargetConfig, config.RowConfig, config.SizeBound,
    config.ToleranceSet, records.Tolerance, records.Recipe, records.ModelSpec, records.Preprocessing,
)  # fmt: skip
MANIFEST_RECORDS = (
    manifest.ManifestModel, records.Weights, records.Preprocessing, manifest.TokenizerFile, manifest.ManifestReference,
    manifest.FileRef, manifest.ManifestEntry, records.TensorSpec, records.Recipe, records.Tolerance,
    records.ParityReport, records.OutputParity, records.RankingParity, records.StressParity, records.NonfiniteOrigin,
    records.StructureCheck, records.Artifact, manifest.Waiver, manifest.MissingFile,
)  # fmt: skip


def main(folder: Path, *, check: bool) -> None:
    """Write the pages, or see that they are what would be written.

    Raises:
        SystemExit: with `check`, a page is missing or differs.
    """
    stale = []
    for name, text in pages().items():
        page = folder / name
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(page, text.encode())
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(str(page))
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; 'make reference' writes them")


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    made = {"config.md": config_page(), "manifest.md": manifest_page(), "exit-codes.md": codes_page()}
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}


def config_page() -> Iterator[str]:
    """Pipelines, targets, recipes, models, tolerances, and every stage's options."""
    yield from [NOTE, "", "# Configuration", "", CONFIG_HEAD, "", "## Config", ""]
    yield from ["A pipeline: the file that `--config` names.", "", *field_table(config.Config), ""]
    for kind in CONFIG_RECORDS:
        yield from record_section(kind, kind.__name__)
    yield from ["## Metrics", "", METRIC_HEAD, "", *_metrics(), ""]
    yield from ["## Options of stages", "", "What stands below `options` in a row.", "", *_options()]
    yield from ["## Rows that ship", "", *_rows(), "", "## Recipes that ship", "", *_recipes()]


def manifest_page() -> Iterator[str]:
    """The manifest and every record in it."""
    yield from [NOTE, "", "# The manifest", "", MANIFEST_HEAD, "", "## Manifest", ""]
    yield from field_table(manifest.Manifest)
    yield ""
    for kind in MANIFEST_RECORDS:
        yield from record_section(kind, kind.__name__)


def codes_page() -> Iterator[str]:
    """Every refusal with the code that the process ends with."""
    yield from [NOTE, "", "# Exit codes", "", CODES_HEAD, "", "| code | means |", "|---:|---|"]
    yield "| 0 | It was done. |"
    yield "| 1 | A bug: please report it with its traceback. |"
    for code, kinds in sorted(_refusals().items()):
        yield f"| {code} | {' '.join(kinds)} |"
    yield f"| {errors.INTERRUPTED_EXIT_CODE} | Interrupted. What had ended is kept; run again to go on. |"
    yield f"| {errors.READER_GONE_EXIT_CODE} | The reader of its output went, as in `mcconvert \\| head`. |"


def _refusals() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for kind in McconvertError.__subclasses__():
        if kind.__module__ == errors.__name__:
            found.setdefault(kind.exit_code, []).append(" ".join((kind.__doc__ or "").split()))
    return found


def _metrics() -> Iterator[str]:
    judge = importlib.import_module("converter.parity.judge")
    yield "| metric | bound |"
    yield "|---|---|"
    yield from (f"| `{name}` | {bound} |" for name, bound in judge.METRICS.items())


def _options() -> Iterator[str]:
    for path in sorted((Path(__file__).parents[1] / "stages").glob("to_*.py")):
        stage = importlib.import_module(f"converter.stages.{path.stem}")
        yield from [f"### {path.stem}", "", f"From {_words(stage.ACCEPTS)} to {stage.FORMAT}.", ""]
        yield from [*field_table(stage.Options), ""]


def _rows() -> Iterator[str]:
    loaded = config.load_config()
    yield "| row | file | made by | from | recipe | in `export-all` |"
    yield "|---|---|---|---|---|---|"
    for target, found in sorted(loaded.targets.items()):
        for name, row in found.rows.items():
            chosen = loaded.rows.get(f"{target}/{name}")
            taken = "no" if chosen is None else "yes" if chosen.required else "yes, not required"
            recipe = f"`{row.recipe}`" if row.recipe else "-"
            yield f"| `{target}/{name}` | `{row.file}` | {row.stage} | `{row.parent}` | {recipe} | {taken} |"


def _recipes() -> Iterator[str]:
    yield "| recipe | precision | what it does |"
    yield "|---|---|---|"
    for name, recipe in sorted(config.load_config().recipes.items()):
        yield f"| `{name}` | {recipe.precision} | {recipe.summary} |"


def _words(names: Iterable[str]) -> str:
    return " or ".join(names)


if __name__ == "__main__":
    main(Path(sys.argv[1]), check="--check" in sys.argv[2:])
