"""A found recipe as YAML: it reads back as the recipe, and its first lines say what it is for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from converter.parsing import parse
from converter.quantization.budget import parse_budget
from converter.quantization.writing import recipe_yaml
from converter.records import Recipe
from converter.searched import Figures, Found, Group, Tried

FIGURES = Figures(
    centred_cosine_mean=0.9712, centred_cosine_min=0.9, top_k=0.98, top1=1.0, kendall_tau=0.9, sqnr_db=20.0,
    size_ratio=0.31, latency_ratio=0.44,
)  # fmt: skip
BASE = Recipe(
    name="static_w8a8", summary="int8: all of it", precision="int8", weight_bits=8, activation_bits=8,
    sample_set="calibration", samples=64,
)  # fmt: skip
CHOSEN = dataclasses.replace(BASE, ranges="mse", float_layers=("trunk.stem.*", "trunk.head.fc"))
COMMANDS = ("Model, image tower", "mcconvert quantize --budget 'top_k>=0.9'", "mcconvert --quant image_mixed.yaml")


def found() -> Found:
    """Two groups of three in float."""
    plain = Tried(label="every layer quantized", recipe=BASE, figures=dataclasses.replace(FIGURES, top_k=0.5))
    chosen = Tried(label="two in float", recipe=CHOSEN, groups=("trunk.stem", "trunk.head"), figures=FIGURES)
    groups = tuple(
        Group(name=name, layers=(f"{name}.fc",), patterns=(f"{name}.*",), gained=0.1, costs=0.01) for name in "abc"
    )
    return Found(
        budget=parse_budget("top_k>=0.9"), chosen=chosen, best=chosen, tried=(plain, chosen), groups=groups,
        judged_on="64 samples for ranges, 48 others to judge on", executed_by="LiteRT 2.1.2", seconds=10.0,
    )  # fmt: skip


def test_it_reads_back_as_the_recipe(tmp_path: Path) -> None:
    """All fields but the name and the summary are the chosen recipe's; defaults are not written."""
    mistakes: list[str] = []
    tree = yaml.safe_load(recipe_yaml(found(), COMMANDS))
    read = parse(Recipe, {"name": "image_mixed"} | tree, "", mistakes)

    assert not mistakes
    assert dataclasses.replace(read, name=CHOSEN.name, summary=CHOSEN.summary) == CHOSEN
    assert read.summary == "int8: all of it; 2 of 3 groups of layers in float"
    assert "percentile" not in tree


def test_the_heading_has_commands_and_figures() -> None:
    """What it is for, the command that found it, the one that uses it, what it keeps, what the plain one keeps."""
    text = recipe_yaml(found(), COMMANDS).decode()
    heading = [line for line in text.splitlines() if line.startswith("#")]

    assert heading[0] == "# Model, image tower: 2 of 3 groups of layers in float, for the budget top_k >= 0.9, fastest."
    assert "#   mcconvert quantize --budget 'top_k>=0.9'" in heading
    assert "#   mcconvert --quant image_mixed.yaml" in heading
    assert "top-5 kept 0.980" in text
    assert "With every layer quantized" in text
    assert "top-5 kept 0.500" in text
