"""What a run tells of itself: all that was asked for and read, and nothing of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.build import Material
from converter.pipeline.run import RunReport
from converter.session import Request, prepare
from converter.session_provenance import build_materials, build_parameters, new_invocation, without_path

ROW = {"targets": ("onnx",), "quants": ("fp32",), "weights": "seeded"}
NOTHING_RAN = RunReport(results=(), entries={}, peak_rss_bytes=0)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder whose name must not leave the machine."""
    (tmp_path / "secret-folder").mkdir()
    return tmp_path / "secret-folder"


def test_what_was_asked_for_is_told(tmp_path: Path) -> None:
    """The request, with what stood for what was left open."""
    told = build_parameters(prepare(Request(model="nano", towers=("image",), out=tmp_path, **ROW)))  # type: ignore[arg-type]

    assert {name: told[name] for name in ("model", "weights", "targets", "quants", "towers", "input", "pipeline")} == {
        "model": "mobileclip_nano", "weights": "seeded", "targets": ["onnx"], "quants": ["fp32"], "towers": ["image"],
        "input": "tensor", "pipeline": "export-all",
    }  # fmt: skip
    assert told["images"] == told["calibrationImages"] == "built-in"


def test_files_of_the_users_are_named_without_their_place(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, images, recipes, pipelines and settings that are paths: at most the file's own name."""
    recipe = private / "mine.yaml"
    recipe.write_text("summary: mine\nprecision: int8\nweight_bits: 8\n")
    pipeline = private / "pipeline.yaml"
    pipeline.write_text("rows: {onnx/fp32: {required: true}}\n")
    monkeypatch.chdir(private.parent)
    request = Request(
        model="nano", weights="seeded", targets=("onnx",), quants=(str(recipe),), config=pipeline, images=private,
        settings=(f"onnx.int8.recipe={recipe}", "onnx.fp32.options.opset=17", "onnx.fp16.parent=onnx/fp32"),
        out=private / "out",
    )  # fmt: skip

    prepared = prepare(request)
    told, materials = build_parameters(prepared), list(build_materials(prepared, NOTHING_RAN))

    assert "secret-folder" not in str((told, materials))
    assert told["quants"] == ["mine"]
    assert told["settings"] == [
        "onnx.int8.recipe=mine.yaml",
        "onnx.fp32.options.opset=17",
        "onnx.fp16.parent=onnx/fp32",
    ]
    assert told["images"] == "own"
    assert {"configs/recipes/mine.yaml", "configs/pipelines/pipeline.yaml"} <= {one.name for one in materials}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("weights=/home/me/x.pt", "weights=x.pt"),
        ("weights=~/x.pt", "weights=x.pt"),
        ("weights=../me/x.pt", "weights=x.pt"),
        ("a.b={path: '/home/me/x.pt', n: 1}", "a.b={path: 'x.pt', n: 1}"),
        ("a.b=[/home/me/x.pt,~me/y.pt]", "a.b=[x.pt,y.pt]"),
        ("onnx.fp16.parent=onnx/fp32", "onnx.fp16.parent=onnx/fp32"),
        ("limits.minutes=0.3", "limits.minutes=0.3"),
        ("nothing", "nothing"),
    ],
)
def test_paths_in_settings_lose_their_place(setting: str, told: str) -> None:
    """Wherever in the value they stand; names of rows with a slash are none."""
    assert without_path(setting) == told


def test_a_recipe_that_a_row_names_is_told_too(private: Path) -> None:
    """No --quant names it: what was read of it counts."""
    recipe = private / "mine.yaml"
    recipe.write_text("summary: mine\nprecision: int8\nweight_bits: 8\n")
    request = Request(
        model="nano", weights="seeded", targets=("onnx",), quants=("int8",), out=private / "out",
        settings=(f"onnx.int8.recipe={recipe}",),
    )  # fmt: skip

    found = {one.name: one for one in build_materials(prepare(request), NOTHING_RAN)}

    assert isinstance(found["recipes/mine"], Material)
    assert len(found["recipes/mine"].digest["sha256"]) == 64


def test_weights_are_told_by_kind_and_hash(tmp_path: Path) -> None:
    """Seeded ones with their seed, and that they are not trained."""
    prepared = prepare(Request(model="nano", out=tmp_path, **ROW))  # type: ignore[arg-type]

    (weights,) = [one for one in build_materials(prepared, NOTHING_RAN) if one.name == "weights"]

    assert weights.digest == {"sha256": prepared.weights.sha256}
    assert weights.facts == {"kind": "seeded", "trained": False, "seed": 0}


def test_an_invocations_name_is_of_no_machine() -> None:
    """A random UUID, another each time; version 1 would hold the network card's address."""
    first, second = new_invocation(), new_invocation()

    assert first != second
    assert first.startswith("urn:uuid:")
    assert first.split("-")[2].startswith("4")
