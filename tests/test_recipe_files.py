"""Recipes outside of the package: rows they become, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.config import Config, load_config
from converter.errors import ConfigError, UsageError
from converter.pipeline.steps import Selection, select_rows
from converter.recipe_files import add_rows, is_recipe_file
from converter.records import Recipe

RECIPE = "summary: mine\nprecision: int8\nweight_bits: 8\nactivation_bits: 8\nsample_set: calibration\n"


def _written(folder: Path, name: str, text: str = RECIPE) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def _config(*files: str, targets: tuple[str, ...] = (), refusing: str = "") -> Config:
    def unsupported(stage: str, recipe: Recipe) -> str:
        return f"{stage} cannot" if refusing in (stage, "all") else ""

    return add_rows(load_config(recipe_files=files), files, targets, unsupported)


def test_a_recipe_file_becomes_a_row(tmp_path: Path) -> None:
    """Named after the recipe, with tolerances and size bound of the target's own int8 row."""
    config = _config(_written(tmp_path, "mixed.yaml"))
    row, own = config.row("tflite/mixed"), config.row("tflite/int8")

    assert (row.recipe, row.file, row.precision) == ("mixed", "{tower}_mixed.tflite", "int8")
    assert (row.stage, row.parent, row.tolerances, row.size) == (own.stage, own.parent, own.tolerances, own.size)
    assert config.recipes["mixed"].summary == "mine"
    assert set(select_rows(config, Selection(targets=("tflite",), quants=("mixed",)))) == {"tflite/mixed"}


def test_a_tower_in_the_name_is_the_only_tower(tmp_path: Path) -> None:
    """image_mixed.yaml names layers of the image tower; its file is called as others are."""
    row = _config(_written(tmp_path, "image_mixed.yaml")).row("tflite/image_mixed")

    assert (row.towers, row.file) == (("image",), "{tower}_mixed.tflite")


def test_a_target_that_cannot_has_no_row(tmp_path: Path) -> None:
    """The others have theirs; where none has, each says why."""
    file = _written(tmp_path, "mixed.yaml")
    config = load_config()
    stage = config.row("tflite/int8").stage

    with pytest.raises(UsageError, match=f"(?s)no target can follow recipe 'mixed'.*tflite: {stage} cannot"):
        _config(file, refusing="all")
    with pytest.raises(UsageError, match=f"tflite: {stage} cannot"):
        _config(file, targets=("tflite",), refusing=stage)


def test_a_row_may_name_a_file(tmp_path: Path) -> None:
    """--set tflite.int8.recipe=FILE takes the recipe in that row's place."""
    file = _written(tmp_path, "mine.yaml")

    config = load_config(settings=[f"tflite.int8.recipe={file}"])

    assert config.row("tflite/int8").recipe == "mine"
    assert config.recipes["mine"].summary == "mine"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mixed.yaml", "summry: x\n" + RECIPE, "recipes.mixed.summry: unknown key; did you mean 'summary'"),
        ("mixed.yaml", RECIPE + "ranges: msee\n", "recipes.mixed.ranges: 'msee' is not one of"),
        ("mixed.yaml", RECIPE + "calibration_path: /x\n", "calibration_path: not set in a recipe file"),
        ("mixed.yaml", "summary: [", "this is not YAML"),
        ("static_w8a8.yaml", RECIPE, "its name is that of the recipe of that name which ships"),
        ("my recipe.yaml", RECIPE, "a recipe's file name is its name"),
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path: Path, name: str, text: str, words: str) -> None:
    """The file or the key, and the nearest right one."""
    with pytest.raises(ConfigError) as caught:
        load_config(recipe_files=[_written(tmp_path, name, text)])

    assert words in str(caught.value)


def test_a_missing_file_offers_its_neighbour(tmp_path: Path) -> None:
    """From the command line and from a row alike."""
    _written(tmp_path, "image_mixed.yaml")
    wrong = str(tmp_path / "image_mixd.yaml")

    with pytest.raises(ConfigError, match="no such file; did you mean 'image_mixed.yaml'"):
        load_config(recipe_files=[wrong])
    with pytest.raises(ConfigError, match=r"targets\.tflite\.rows\.int8\.recipe: .* did you mean 'image_mixed.yaml'"):
        load_config(settings=[f"tflite.int8.recipe={wrong}"])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """One would hide the other; the same file twice is one."""
    (tmp_path / "other").mkdir()
    one, other = _written(tmp_path, "mixed.yaml"), _written(tmp_path / "other", "mixed.yaml")

    assert "mixed" in load_config(recipe_files=[one, one]).recipes
    with pytest.raises(ConfigError, match="rename one"):
        load_config(recipe_files=[one, other])


def test_only_yaml_names_are_files() -> None:
    """int8 is a precision, static_w8a8 a recipe that ships."""
    assert [is_recipe_file(name) for name in ("int8", "static_w8a8", "a/b.yaml", "b.YML", None)] == [
        False, False, True, True, False,
    ]  # fmt: skip
