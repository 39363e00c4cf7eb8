"""The command that looks for a recipe: `quantize`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.completion import complete_models, complete_recipes, complete_targets
from converter.errors import ConfigError, ParityError, UsageError
from converter.records import TOWERS

if TYPE_CHECKING:
    from converter.searched import Budget
    from converter.session import Prepared
    from converter.session_quantize import Searched, Settled

DEFAULT_MINUTES = 60.0

EXAMPLES = """\b
Examples:
  mcconvert quantize --budget "centred_cosine_mean>=0.97, top_k>=0.98, as fast as possible"
  mcconvert quantize -m mobileclip_s0 --tower image --budget "centred_cosine_mean>=0.95" --recipe static_w8a8
  mcconvert quantize --target onnx --budget "top_k>=0.95, size_ratio<=0.4, smallest"
  mcconvert quantize --budget "latency_ratio<=0.5, closest"
  mcconvert quantize --budget budget.yaml --only 'trunk.3.*'
Then, without any search:
  mcconvert --target tflite --tower image --quant artifacts/mobileclip_s1/recipes/image_mixed_static_w8a8.yaml
"""


@click.command(epilog=EXAMPLES)
@click.option("-b", "--budget", "budget_text", metavar="BUDGET", required=True,
              help="What must be kept and what it may cost, then what decides: bounds on centred_cosine_mean, "
                   "centred_cosine_min, top_k (recall@5), top1, kendall_tau, sqnr_db, size_ratio and latency_ratio, "
                   "and fastest (default), smallest or closest. Or a YAML file with bounds and objective.")  # fmt: skip
@click.option("-m", "--model", metavar="NAME", shell_complete=complete_models,
              help="As for an export.  [default: mobileclip_s1]")  # fmt: skip
@click.option("-t", "--target", default="tflite", show_default=True, metavar="NAME", shell_complete=complete_targets,
              help="The format whose files are tried.")  # fmt: skip
@click.option("-r", "--recipe", default="static_w8a8", show_default=True, metavar="NAME|FILE",
              shell_complete=complete_recipes,
              help="What is applied to all layers but those left in float.")  # fmt: skip
@click.option("--tower", type=click.Choice([*TOWERS, "both"]), default="both", show_default=True,
              help="Each tower has a search and a recipe of its own.")  # fmt: skip
@click.option("-w", "--weights", metavar="auto|hub|seeded|FILE", help="As for an export.")
@click.option("--only", multiple=True, metavar="PATTERN",
              help="Leave only layers in float whose name or group fits: a quicker search. Repeatable.")  # fmt: skip
@click.option("--techniques/--no-techniques", default=True, show_default=True,
              help="First try what costs no time in the file: other ranges, equalisation, bias correction, "
                   "rounding.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0.1), default=DEFAULT_MINUTES, show_default=True,
              help="When to stop and take the best found so far, for each tower.")  # fmt: skip
@click.option("--name", default="", metavar="NAME", help="The recipe's name.  [default: mixed_ and that of --recipe]")
@click.option("--write", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.yaml", default=None,
              help="Where the recipe goes, with one tower; the plot lies beside it.  "
                   "[default: OUT/MODEL/recipes/TOWER_NAME.yaml]")  # fmt: skip
@click.option("--calibration", "--calibration-images", "calibration_images", metavar="PATH", default=None,
              type=click.Path(exists=True, path_type=Path),
              help="Photographs, as for an export: a half of them is what points are judged on.")  # fmt: skip
@click.option("--calibration-captions", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              default=None, help="Captions, as for an export and with the same halves.")  # fmt: skip
@click.option("-s", "--set", "settings", multiple=True, metavar="KEY=VALUE", help="As for an export.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"),
              show_default=True, help="Folder that exports write to; what was measured lies in its cache.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on standard output, for programs.")
def quantize(budget_text: str, target: str, recipe: str, tower: str, only: tuple[str, ...], techniques: bool,
             minutes: float, name: str, file: Path | None, as_json: bool, **options: object) -> None:  # fmt: skip
    """Find which layers must stay in float so that a quantized file keeps what BUDGET asks for; write a recipe.

    Ranges are taken from one half of the calibration samples, files are judged on the other half. Each group of layers
    (one MLP, one attention) is left in float by itself, then together with others, until the budget is met at the
    least cost; latency is measured beside the float32 file. The recipe found is then judged as an export judges, on
    samples that the search did not look at. What was measured is stored: a search that was stopped goes on.

    The exit code is 0 when a recipe meets the budget, 6 when none does; the best one is named then.
    """
    from converter.report.console import print_json
    from converter.session import Request
    from converter.session_quantize import SearchRequest, settle

    towers = TOWERS if tower == "both" else (tower,)
    _check_files(file, name, towers)
    wanted = SearchRequest(
        request=Request(towers=towers, settings=options.pop("settings"), **options),  # type: ignore[arg-type]
        target=target, recipe=recipe, budget=_budget(budget_text), budget_text=budget_text, only=only,
        techniques=techniques, minutes=minutes, name=name, file=file,
    )  # fmt: skip
    ended = []
    for searched in _carried_out(settle(wanted)):
        ended.append(searched)
        _plot(searched)
        if not as_json:
            _print(searched)
    if as_json:
        print_json(ended)
    _leave(ended)


def _budget(text: str) -> Budget:
    from converter.config import read_yaml
    from converter.quantization.budget import budget_of, parse_budget

    if text.lower().endswith((".yaml", ".yml")):
        return budget_of(read_yaml(Path(text)), text)
    return parse_budget(text)


def _check_files(file: Path | None, name: str, towers: tuple[str, ...]) -> None:
    if file is not None and name:
        message = "--write and --name both name the recipe; give one"
        raise UsageError(message)
    if file is not None and len(towers) > 1:
        message = f"--write {file} is one file, but each tower gets a recipe of its own; give --tower, or --name"
        raise UsageError(message)
    if file is not None and file.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError([f"--write {file}: a recipe's file name ends in .yaml"])


def _carried_out(settled: Settled) -> Iterator[Searched]:
    from converter.report.console import open_console
    from converter.report.live import LiveLines
    from converter.session_quantize import run_search

    _notice(settled.prepared)
    with LiveLines(open_console(stderr=True)) as live:
        yield from run_search(settled, live.started, live.finished, _say)


def _notice(prepared: Prepared) -> None:
    from converter.report.console import warn_untrained

    if prepared.left_out:
        _say(f"image tower only: {prepared.left_out}")
    if prepared.weights.notice:
        warn_untrained(prepared.weights.notice)


def _plot(searched: Searched) -> None:
    from converter.report.search_plot import save_plot

    save_plot(searched.found, Path(searched.plot), f"{searched.tower} tower: {searched.found.budget}")
    _say(f"plot: {searched.plot}")


def _print(searched: Searched) -> None:
    from converter.report.console import open_console
    from converter.report.quantize import search_view

    open_console().print(search_view(searched.found, f"{searched.tower} tower"), highlight=False)
    if searched.file is not None:
        click.echo(f"recipe: {searched.file}")
    if searched.judged is not None:
        failures = "".join(f"; {one}" for one in (*searched.missed, *searched.judged.failures))
        click.echo(f"by the row's own tolerances, on the parity samples: {searched.judged.status}{failures}")


def _leave(ended: list[Searched]) -> None:
    """Exit 6 where a tower has no recipe, or one that the parity samples do not confirm."""
    for searched in ended:
        for line in searched.missed:
            _say(f"{searched.tower}: the parity samples do not confirm the budget ({line}); ask for that much more")
    if any(searched.file is None or searched.missed for searched in ended):
        sys.exit(ParityError.exit_code)


def _say(line: str) -> None:
    click.echo(line, err=True)
