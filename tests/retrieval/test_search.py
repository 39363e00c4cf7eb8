"""`mcconvert search`: the nearest photographs, by image and by text, with several files side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.publishing.manifest import read_manifest
from converter.retrieval.comparing import contrast, verdict
from converter.retrieved import Answer, Hit, Placed
from tests.inference.conftest import image_reference, text_reference, use
from tests.retrieval.conftest import COUNT, ROWS, search

CLOSE = 1e-4


def names(found: dict[str, Any], answer: int = 0) -> list[str]:
    return [hit["name"] for hit in found["searched"][0]["answers"][answer]["hits"]]


def expected(scenes: Path, query: np.ndarray[Any, Any]) -> list[str]:
    """The five nearest by the unmodified PyTorch model."""
    paths = sorted(path for path in scenes.rglob("*.png"))
    scores = image_reference(paths) @ query
    return [str(paths[place].relative_to(scenes)) for place in np.argsort(-scores)[:5]]


@pytest.mark.parametrize("row", ROWS)
def test_every_format_finds_what_pytorch_finds(four: Path, scenes: Path, tmp_path: Path, row: str) -> None:
    """By image and by text: the same five photographs in the same order, the query itself first and marked."""
    query = scenes / "03.png"
    done, by_image = search("--index", scenes, "--query", query, "--with", f"{four}:{row}", "--index-cache", tmp_path)
    _, by_text = search("--index", scenes, "--query", "a cat", "--with", f"{four}:{row}", "--index-cache", tmp_path)

    assert done.code == 0, done.err
    assert names(by_image) == expected(scenes, image_reference([query])[0])
    assert names(by_text) == expected(scenes, text_reference(["a cat"])[0])
    assert names(by_image) != names(by_text)
    first = by_image["searched"][0]["answers"][0]["hits"][0]
    assert first["is_query"] and abs(first["score"] - 1) < CLOSE
    assert by_text["indexed"][0]["embedded"] == 0


def test_side_by_side_with_one_that_differs(four: Path, scenes: Path, tmp_path: Path) -> None:
    """Files of the same weights agree; the twin, a file fed with other pixels, is told apart and named."""
    import dataclasses

    from tests.inference.conftest import write_toy

    other = Path(shutil.copytree(four, tmp_path / "other"))
    manifest = read_manifest(other)
    pixels = dataclasses.replace(manifest.model.preprocessing, mean=(3.0, 0.0, -3.0))
    write_toy(other, manifest.artifacts, preprocessing=pixels)
    files = ["--with", f"{four}:onnx/fp32", "--with", f"{four}:tflite/fp32", "--with", f"{other}:onnx/fp32"]

    done, found = search("--index", scenes, "--query", scenes / "03.png", *files, "--index-cache", tmp_path / "indexes")

    assert done.code == 0, done.err
    same, differs = found["searched"][0]["contrasts"]
    assert same["shared"] == 5 and same["same_order"] and same["score_difference"] < CLOSE
    assert differs["shared"] < 5 and not differs["tied"] and differs["score_difference"] > CLOSE
    assert found["searched"][0]["verdict"].startswith("they differ")


def test_the_table_shows_ranks_scores_and_the_verdict(four: Path, scenes: Path, tmp_path: Path) -> None:
    """For eyes too; --exclude-query leaves the query's own picture out."""
    files = ["--with", f"{four}:onnx/fp32", "--with", f"{four}:tflite/fp32", "--threads", "1"]
    command = ["search", "--index", scenes, "--query", scenes / "03.png", *files, "--index-cache", tmp_path]

    marked, left_out = use(*command), use(*command, "--exclude-query")

    assert "the query itself" in marked.out and "both find the same five photos, in the same order" in marked.out
    assert "03.png" not in left_out.out.partition("┃ photo")[2]
    assert "embedded" in marked.err


def test_all_is_every_row(four: Path, scenes: Path, tmp_path: Path) -> None:
    """FOLDER:all names each row once."""
    _, found = search("--index", scenes, "--query", "a cat", "--with", f"{four}:all", "--index-cache", tmp_path)

    spaces = [one["space"] for one in found["searched"][0]["answers"]]
    assert sorted(spaces) == sorted(f"toy/{row}" for row in ROWS)


def test_what_looks_like_a_path_and_is_none_is_refused(four: Path, scenes: Path, tmp_path: Path) -> None:
    """With the nearest names; --text takes the same words as they are."""
    asked = ["--index", scenes, "--query", "03.jpg", "--with", f"{four}:onnx/fp32", "--index-cache", tmp_path]

    refused, _ = search(*asked)
    taken, found = search(*asked, "--text")

    assert refused.code == 2 and "there is no such file" in refused.err and "03.png" in refused.err
    assert taken.code == 0 and found["searched"][0]["kind"] == "text"


def test_a_query_that_is_no_picture_is_refused(four: Path, scenes: Path, tmp_path: Path) -> None:
    """A file that is there is taken for a picture."""
    (tmp_path / "notes.txt").write_text("nothing")

    done, _ = search(
        "--index", scenes, "--query", tmp_path / "notes.txt", "--with", f"{four}:onnx/fp32", "--index-cache",
        tmp_path / "indexes",
    )  # fmt: skip

    assert done.code == 2 and "cannot be read as an image" in done.err


def test_a_tie_is_told_from_a_difference() -> None:
    """A photograph left out by no more than the margin is a tie; by more, it is not."""

    def hits(*scored: tuple[str, float]) -> tuple[Hit, ...]:
        return tuple(Hit(photo=0, name=name, rank=i + 1, score=score) for i, (name, score) in enumerate(scored))

    def placed(name: str, *scores: float) -> Placed:
        places = tuple(Hit(photo=0, name=name, rank=0, score=score) for score in scores)
        return Placed(photo=0, name=name, is_query=False, places=places)

    answers = [
        Answer(space="a", hits=hits(("x", 0.9), ("y", 0.5))),
        Answer(space="b", hits=hits(("x", 0.9), ("z", 0.501))),
    ]
    union = [placed("x", 0.9, 0.9), placed("y", 0.5, 0.5), placed("z", 0.4995, 0.501)]

    near, far = contrast(answers, union, 1, 0.002), contrast(answers, union, 1, 0.0001)

    assert near.tied and "but for ties" in verdict(answers, [near])
    assert not far.tied and verdict(answers, [far]) == "they differ: b shares 1 of the 2 photos of a"


def test_without_faiss_one_line_says_what_to_install(
    four: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, before any model is opened."""
    monkeypatch.setitem(sys.modules, "faiss", None)

    done, _ = search("--index", scenes, "--query", "a cat", "--with", f"{four}:onnx/fp32", "--index-cache", tmp_path)

    assert done.code == 3 and "pip install 'mcconvert[search]'" in done.err


def test_forget_removes_only_what_is_ours(four: Path, scenes: Path, tmp_path: Path) -> None:
    """The indexes of that folder of photographs; what somebody put beside them stays."""
    search("--index", scenes, "--with", f"{four}:onnx/fp32", "--index-cache", tmp_path)
    (home,) = tmp_path.iterdir()
    (home / "notes.txt").write_text("mine")

    done = use("search", "--index", scenes, "--index-cache", tmp_path, "--forget")

    assert "1 indexes" in done.out
    assert (home / "notes.txt").exists() and not list(home.rglob("*.sqlite"))


def test_the_command_itself(four: Path, scenes: Path, tmp_path: Path) -> None:
    """Results alone on standard output, in a process that is watched."""
    command = [str(Path(sys.executable).with_name("mcconvert")), "search", "--index", str(scenes), "--query", "a cat"]
    options = ["--with", f"{four}:onnx/fp32", "--index-cache", str(tmp_path), "--json"]

    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=120)

    assert json.loads(done.stdout)["indexed"][0]["photographs"] == COUNT
