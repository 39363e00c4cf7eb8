"""`preprocessing.json` of a bundle, from its manifest."""

from __future__ import annotations

from collections.abc import Sequence

from converter.bundled import SCHEMA_VERSION, ImageFile, Preparation, TextFile
from converter.errors import PublishError
from converter.manifest import ManifestEntry, ManifestModel


def preparation(model: ManifestModel, entries: Sequence[ManifestEntry]) -> Preparation:
    """What the samples of these files must know.

    Raises:
        PublishError: there is a text file, and no tokenizer.
    """
    towers = {entry.tower: entry for entry in entries}
    return Preparation(
        schema_version=SCHEMA_VERSION, model=model.id, trained=model.trained, embed_dim=model.embed_dim,
        logit_scale=model.logit_scale,
        image=_image(model, towers["image"]) if "image" in towers else None,
        text=_text(model, towers["text"]) if "text" in towers else None,
    )  # fmt: skip


def _image(model: ManifestModel, entry: ManifestEntry) -> ImageFile:
    pre, given = model.preprocessing, entry.inputs[0]
    return ImageFile(
        file=entry.path, input=given.name, output=entry.outputs[0].name, dtype=given.dtype, layout=given.layout,
        batch=_batch(entry), size=pre.size, resize=pre.resize, resize_to=pre.resize_size or pre.size,
        interpolation=pre.interpolation, mean=pre.mean, std=pre.std,
    )  # fmt: skip


def _text(model: ManifestModel, entry: ManifestEntry) -> TextFile:
    cut, given = model.tokenizer, entry.inputs[0]
    if cut is None:
        message = f"{entry.path}: the manifest names no tokenizer for it; export the text tower again, or --tower image"
        raise PublishError(message)
    return TextFile(
        file=entry.path, input=given.name, output=entry.outputs[0].name, dtype=given.dtype, batch=_batch(entry),
        tokenizer=cut.path, context_length=cut.context_length, start_token=cut.start_token, end_token=cut.end_token,
        pad_token=cut.pad_token,
    )  # fmt: skip


def _batch(entry: ManifestEntry) -> int | None:
    first = entry.inputs[0].shape[0]
    return first if isinstance(first, int) else None
