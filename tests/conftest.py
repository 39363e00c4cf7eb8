"""Fixtures that several rooms share: the toy model's towers as the pipeline hands them to the stages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from converter.records import TOWERS, Artifact, Recipe, TensorSpec, Tower
from converter.torchscript_file import deprecation_known
from tests.tiny import TINY_EMBED_DIM, TINY_IMAGE_SIZE, tiny_clip

hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.load_profile(
    "repeatable"
)  # the same examples everywhere; --hypothesis-seed=random looks for others

CONTEXT_LENGTH = 77
END_TOKEN = 49407
SAMPLES = 8


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests run side by side file by file, those of the one whole export together: what a group shares is made once."""
    for item in items:
        shares_export = "exported" in getattr(item, "fixturenames", ())
        file = str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group("whole-export" if shares_export else file))


@pytest.fixture(scope="session")
def shared_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a test run share; what is in it, whoever needs it first makes, under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def shared_cache(shared_base: Path) -> Path:
    """The cache of every export of the bundled model by a test that asks for no cold one: each step is made once."""
    return shared_base / "cache"


@pytest.fixture(scope="session")
def tiny_parents(tmp_path_factory: pytest.TempPathFactory) -> dict[Tower, Artifact]:
    """Both towers of the toy model as "pytorch" artifacts: a traced file each, and the scripted one beside it."""
    clip = tiny_clip()
    return {tower: save_tower(clip, tower, tmp_path_factory.mktemp(f"{tower}-reference")) for tower in TOWERS}


@pytest.fixture(scope="session")
def tiny_inputs() -> dict[Tower, dict[str, np.ndarray[Any, Any]]]:
    """Eight seeded samples a tower, stacked: images in [0, 1] and rows of tokens that end at different places."""
    generator = np.random.default_rng(7)
    image = generator.random((SAMPLES, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE), dtype=np.float32)
    tokens = np.zeros((SAMPLES, CONTEXT_LENGTH), np.int32)
    for row, length in enumerate(generator.integers(1, CONTEXT_LENGTH - 2, SAMPLES)):
        tokens[row, 0] = END_TOKEN - 1
        tokens[row, 1 : length + 1] = generator.integers(1, END_TOKEN - 1, length)
        tokens[row, length + 1] = END_TOKEN
    return {"image": {"image": image}, "text": {"tokens": tokens}}


@pytest.fixture(scope="session")
def tiny_coreml(
    tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Tower, str], Artifact]:
    """Both towers as Core ML packages, in float32 and float16, by (tower, precision). Tests must not change them."""
    from converter.stages import to_coreml

    made = {}
    half = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
    for precision, recipe in (("fp32", None), ("fp16", half)):
        folder = tmp_path_factory.mktemp(precision)
        for tower in TOWERS:
            made[tower, precision] = to_coreml.convert(tiny_parents[tower], to_coreml.Options(), recipe, folder)
    return made


def save_tower(clip: Any, tower: Tower, folder: Path) -> Artifact:
    """Trace one tower of `clip` into `folder/tower.pt`, and script it beside that where scripting works."""
    import torch

    from converter.rewrites.tower import rewrite_tower

    module = rewrite_tower(clip, tower)
    with deprecation_known():
        torch.jit.trace(module, example_input(tower), check_trace=False).save(str(folder / "tower.pt"))
        try:
            torch.jit.script(module).save(str(folder / "tower.scripted.pt"))
        except Exception:  # torch.jit.script has no error class of its own; the stage's test covers the missing file
            (folder / "tower.scripted.pt").unlink(missing_ok=True)
    return Artifact(
        path=str(folder / "tower.pt"),
        format="pytorch",
        target="pytorch",
        tower=tower,
        precision="fp32",
        inputs=(_input_spec(tower),),
        outputs=(TensorSpec(name="embedding", shape=(1, TINY_EMBED_DIM), dtype="float32", layout="NC"),),
    )


def example_input(tower: Tower) -> Any:
    """One sample of the right shape and dtype to trace with."""
    import torch

    generator = torch.Generator().manual_seed(3)
    if tower == "image":
        return torch.rand(1, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE, generator=generator)
    tokens = torch.randint(1, END_TOKEN - 1, (1, CONTEXT_LENGTH), generator=generator, dtype=torch.int32)
    tokens[0, -1] = END_TOKEN
    return tokens


def run_each(runner: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The runner's embeddings of stacked samples, one sample a call."""
    count = len(next(iter(arrays.values())))
    rows = [runner.infer({name: values[i : i + 1] for name, values in arrays.items()}) for i in range(count)]
    return np.concatenate([row["embedding"] for row in rows])


def _input_spec(tower: Tower) -> TensorSpec:
    if tower == "text":
        return TensorSpec(name="tokens", shape=(1, CONTEXT_LENGTH), dtype="int32", layout="NL")
    shape = (1, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE)
    return TensorSpec(name="image", shape=shape, dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
