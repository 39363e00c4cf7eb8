"""Artifacts opened for use: photographs and tokens fed as the manifest says each file takes them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.config import load_models
from converter.errors import ConversionError, ParityError
from converter.inference import Compute, EmbedImages, EmbedTexts, RuntimeOf, Space, Vectors, unit
from converter.inference.choosing import Choice
from converter.inference.devices import open_on
from converter.manifest import ManifestModel
from converter.models.preprocessing import normalise
from converter.parity.compare import embed
from converter.records import Artifact, ModelSpec, Tower
from converter.runtimes import Runner

Array = npt.NDArray[Any]


def open_files(choice: Choice, runtime_of: RuntimeOf, compute: Compute, stack: ExitStack) -> Space:
    """Open the chosen files; they stay open as long as `stack`.

    Raises:
        ConversionError: a file cannot be loaded.
        UsageError: the device that was asked for is not there.
    """
    images: EmbedImages | None = None
    texts: EmbedTexts | None = None
    executed_by: dict[Tower, str] = {}
    for entry in choice.entries:
        artifact = replace(entry.artifact(), path=str((choice.folder / entry.path).resolve()))
        runner = stack.enter_context(open_on(runtime_of(entry.format), artifact, compute))
        executed_by[entry.tower] = runner.executed_by
        if entry.tower == "image":
            images = _image_tower(runner, artifact, choice.manifest.model, compute.batch)
        else:
            texts = _text_tower(runner, artifact, compute.batch)
    model = choice.manifest.model
    return Space(
        name=choice.name, model=model, spec=spec_of(model), images=images, texts=texts, executed_by=executed_by,
        image_sha256=next((entry.sha256 for entry in choice.entries if entry.tower == "image"), ""),
        tie_margin=max(entry.tie_margin for entry in choice.entries),
    )  # fmt: skip


def spec_of(model: ManifestModel) -> ModelSpec:
    """What a manifest says of its model, as the tokenizer takes it; the known model of that id fills in the rest."""
    known = load_models().get(model.id)
    facts: dict[str, Any] = {
        "source": model.source, "preprocessing": model.preprocessing, "context_length": model.context_length,
        "embed_dim": model.embed_dim,
    }  # fmt: skip
    if model.tokenizer is not None:
        cut = model.tokenizer
        facts |= {"start_token": cut.start_token, "end_token": cut.end_token, "pad_token": cut.pad_token}
    if known is not None and known.source == model.source:
        return replace(known, **facts)
    return ModelSpec(
        id=model.id, family=model.family, title=model.id, license=model.license, license_url=model.license_url, **facts
    )


def _image_tower(runner: Runner, artifact: Artifact, model: ManifestModel, batch: int) -> EmbedImages:
    (spec,) = artifact.inputs

    def run(pixels: npt.NDArray[np.uint8]) -> Vectors:
        if spec.dtype == "uint8":
            return _run(runner, artifact, pixels.transpose(0, 3, 1, 2), batch)
        return _run(runner, artifact, normalise(pixels, model.preprocessing.mean, model.preprocessing.std), batch)

    return run


def _text_tower(runner: Runner, artifact: Artifact, batch: int) -> EmbedTexts:
    return lambda tokens: _run(runner, artifact, tokens, batch)


def _run(runner: Runner, artifact: Artifact, rows: Array, batch: int) -> Vectors:
    """Images come as NCHW; `embed` lays them out and cuts them into the batches that the file takes."""
    name, output = artifact.inputs[0].name, artifact.outputs[0].name
    try:
        outputs = embed(runner, {name: rows}, specs=artifact.inputs, dynamic_batch=batch)
    except ParityError as error:
        message = f"{artifact.path}: {error}"
        raise ConversionError(message) from error
    return unit(outputs[output])
