"""`mcconvert quantize`: what it refuses before anything runs, and one real search on the small trained model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import run

BUDGET = ("--budget", "sqnr_db>=20")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '-b' / '--budget'"),
        (["--budget", "top-k>0.9"], "is neither a bound nor an objective"),
        (["--budget", "topk>=0.9"], "unknown metric 'topk'; did you mean 'top_k'?"),
        (["--budget", "absent.yaml"], "absent.yaml: No such file"),
        ([*BUDGET, "--target", "tflight"], "unknown target 'tflight'; did you mean 'tflite'?"),
        ([*BUDGET, "--recipe", "static_w8a9"], "unknown recipe 'static_w8a9'; did you mean 'static_w8a8'?"),
        ([*BUDGET, "--recipe", "absent.yaml"], "absent.yaml: no such file"),
        ([*BUDGET, "--recipe", "fp16"], "there is no layer to leave in float"),
        ([*BUDGET, "--target", "torchscript"], "torchscript cannot follow recipe 'static_w8a8'"),
        ([*BUDGET, "--write", "r.yaml"], "each tower gets a recipe of its own"),
        ([*BUDGET, "--tower", "image", "--write", "r.json"], "ends in .yaml"),
        ([*BUDGET, "--tower", "image", "--write", "r.yaml", "--name", "r"], "give one"),
        ([*BUDGET, "--model", "nan0"], "unknown model 'nan0'"),
    ],
)
def test_mistakes_get_one_clear_message(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Exit code 2, the nearest name, no traceback, nothing begun."""
    code, _, err = run("quantize", *arguments, out=tmp_path)

    assert code == 2, err
    assert words in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "artifacts").exists()


def test_help_loads_nothing_heavy() -> None:
    """Whoever asks what there is does not wait for numpy."""
    heavy = ("torch", "numpy", "onnx", "onnxruntime", "ai_edge_litert", "PIL")
    code = f"""import sys, click.testing
from converter.cli import cli
assert click.testing.CliRunner().invoke(cli, ["quantize", "--help"]).exit_code == 0
print([name for name in {heavy} if name in sys.modules])"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_budget_gives_a_recipe_that_needs_no_search(tmp_path: Path) -> None:
    """Searched, written, judged; the written file then makes the same row without any search."""
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")
    model = ("--model", "nano", "--tower", "image", "--out", str(tmp_path / "out"))
    code, out, err = run("quantize", *model, "--only", "trunk.stem", "--only", "trunk.head", "--no-techniques",
                         "--budget", "centred_cosine_mean>=0.99", "--json", out=tmp_path)  # fmt: skip
    (ended,) = json.loads(out)
    recipe = Path(ended["file"])

    assert code == 0, err
    assert recipe.name == "image_mixed_static_w8a8.yaml"
    assert recipe.with_suffix(".png").exists()
    assert ended["found"]["chosen"]["figures"]["centred_cosine_mean"] >= 0.99

    _, out, err = run(*model, "--target", "tflite", "--quant", str(recipe), "--json", out=tmp_path)
    rows = {one["step_id"]: one for one in json.loads(out)}
    assert rows["image/tflite/image_mixed_static_w8a8"]["action"] == "reuse", err


@pytest.mark.slow
def test_a_budget_that_nothing_meets_ends_with_6(tmp_path: Path) -> None:
    """The best found is named, with by how much it misses."""
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra mcconvert[tflite]")
    code, out, err = run("quantize", "--model", "nano", "--tower", "image", "--out", str(tmp_path / "out"), "--only",
                         "trunk.head", "--no-techniques", "--budget", "sqnr_db>=150", out=tmp_path)  # fmt: skip

    assert code == 6, err
    assert "no recipe meets the budget. Best found:" in " ".join(out.split())
    assert "missed by" in out
    assert not list((tmp_path / "out").rglob("*.yaml"))
