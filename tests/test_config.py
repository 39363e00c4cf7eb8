"""Configuration: what is read, and how every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.config import find_model, load_config, load_models, read_yaml
from converter.errors import ConfigError, UsageError, nearest


def test_default_pipeline_reads_and_every_row_exists() -> None:
    """The shipped YAML is whole: every row, parent, recipe and tolerance set that is named exists."""
    config = load_config()

    every = {f"{target}/{row}" for target, one in config.targets.items() for row in one.rows}
    assert every - set(config.rows) == {"coreml/palette_w8", "coreml/palette_w6", "coreml/palette_w4"}
    assert set(config.rows) <= every
    assert config.model == "mobileclip_s1"


def test_every_tolerance_has_a_reason() -> None:
    """A bound without a reason cannot be questioned."""
    sets = [one for target in load_config().targets.values() for one in target.tolerances.values()]

    bounds = [bound for one in sets for bound in (*one.trained, *(one.seeded or ()))]

    assert bounds
    assert all(len(bound.why) > 10 for bound in bounds)
    assert all(one.tie_why for one in sets)


def test_three_mistakes_are_all_shown(tmp_path: Path) -> None:
    """One run of the tool shows every mistake, with breadcrumb and nearest key."""
    path = tmp_path / "mine.yaml"
    path.write_text("modle: x\nthreads: many\nrows:\n  tflite/int8: {requird: false}\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    text = str(caught.value)
    assert len(caught.value.mistakes) == 3
    assert "modle: unknown key; did you mean 'model'?" in text
    assert "threads: expected a whole number, found 'many'" in text
    assert "rows.tflite/int8.requird: unknown key; did you mean 'required'?" in text


def test_unknown_row_offers_the_nearest(tmp_path: Path) -> None:
    """A row that does not exist is a mistake with an offer."""
    path = tmp_path / "mine.yaml"
    path.write_text("rows:\n  onnx/fp23: {}\n")

    with pytest.raises(ConfigError, match="rows.onnx/fp23: unknown row 'onnx/fp23'; did you mean 'onnx/fp32'"):
        load_config(path)


@pytest.mark.parametrize("text", ["a: [1,", "\tb: c", "just words", "- a\n- b\n", "\x00\xff"])
def test_what_is_not_a_yaml_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """YAML that is not YAML, or not a mapping, names the file."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ConfigError, match="broken.yaml"):
        read_yaml(path)


def test_settings_reach_their_place_by_short_and_full_path() -> None:
    """--set takes onnx.fp32.options.opset and the full path alike, and changes nothing else."""
    short = load_config(settings=["onnx.fp32.options.opset=17", "limits.minutes=5"])
    full = load_config(settings=["targets.onnx.rows.fp32.options.opset=17"])

    assert short.row("onnx/fp32").options["opset"] == full.row("onnx/fp32").options["opset"] == 17
    assert short.limits.minutes == 5.0
    assert "opset" not in short.row("onnx/fp32_dynamic").options


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("onnx.fp32", "expected key=value"),
        ("onxx.fp32.options.opset=17", "there is no 'onxx'"),
        ("limits.minuts=3", "limits.minuts: unknown key; did you mean 'minutes'"),
        ("threads=two", "threads: expected a whole number"),
    ],
)
def test_wrong_settings_say_what_is_wrong(setting: str, message: str) -> None:
    """Each kind of wrong --set has its own words."""
    with pytest.raises(ConfigError, match=message):
        load_config(settings=[setting])


@pytest.mark.parametrize("sets", ["true", "{1: [], two: []}", "[fp32]", "7"])
def test_tolerances_of_another_kind_are_a_mistake_like_others(tmp_path: Path, sets: str) -> None:
    """A third party's target whose sets of bounds are no mapping of names ends in mistakes, not in a traceback."""
    path = tmp_path / "mine.yaml"
    rows = "{fp32: {stage: to_onnx, parent: pytorch, precision: fp32, file_name: x.onnx, tolerances: fp32}}"
    path.write_text(f"extra: onnx\ntolerances: {sets}\nrows: {rows}\n")

    with pytest.raises(ConfigError, match=r"targets\.mine"):
        load_config(extra_targets={"mine": path})


def test_models_are_found_by_id_and_alias() -> None:
    """open_clip's own spelling finds the model too."""
    models = load_models()

    assert find_model("MobileCLIP-S1", models) is find_model("mobileclip_s1", models)
    with pytest.raises(UsageError, match="did you mean 'mobileclip_s1'"):
        find_model("mobilclip_s1", models)


def test_nearest_does_not_mind_capitals() -> None:
    """Of names that are written with capitals, the one that differs least is offered."""
    assert nearest("vit-b-33", ["ViT-B-32", "ViT-L-14", "vit_relpos"]) == "did you mean 'ViT-B-32'?"


def test_nearest_lists_all_when_none_is_near() -> None:
    """A name that resembles nothing gets the whole list."""
    assert nearest("zzz", ["onnx", "tflite"]) == "known: onnx, tflite"
