"""The frozen records of `manifest.json`: what is said of an exported model and of each of its files.

Beside `converter.records`, whose rules hold here too. Reading, writing and merging are left to `publishing.manifest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from converter.records import (
    Artifact,
    ParityReport,
    Precision,
    Preprocessing,
    Recipe,
    Status,
    TensorSpec,
    Tolerance,
    Tower,
    Weights,
)


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer of the text tower, in the format of Hugging Face's `tokenizers`; path relative to the manifest.

    `captions` is how many captions it was seen to cut into the same tokens as the reference's own tokenizer.
    """

    path: str
    sha256: str
    size_bytes: int
    context_length: int
    start_token: int
    end_token: int
    pad_token: int
    captions: int


@dataclass(frozen=True, kw_only=True)
class ManifestModel:
    """The model part of a manifest: all that a user of the files needs beside the files."""

    id: str
    family: str
    source: str
    license: str
    license_url: str
    embed_dim: int
    context_length: int
    logit_scale: float | None
    trained: bool
    normalized: bool
    weights: Weights
    preprocessing: Preprocessing
    tokenizer: TokenizerFile | None = None


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One published file: path relative to the manifest, with its verdict."""

    step_id: str
    target: str
    tower: Tower
    precision: Precision
    format: str
    path: str
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipe: Recipe | None
    parent_sha256: str
    status: Status
    required: bool
    not_required_because: str
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    tolerances: tuple[Tolerance, ...]
    tie_margin: float
    size_ratio: float | None
    parity: ParityReport | None
    parity_with_parent: ParityReport | None
    tool_versions: Mapping[str, str]

    def artifact(self) -> Artifact:
        """The file as an artifact, its path still relative to the manifest."""
        return Artifact(
            path=self.path, format=self.format, target=self.target, tower=self.tower, precision=self.precision,
            inputs=self.inputs, outputs=self.outputs, sha256=self.sha256, size_bytes=self.size_bytes,
            parent_sha256=self.parent_sha256, notes=self.notes,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """A file beside the manifest."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ManifestReference:
    """What a tower's files are judged against, kept beside them so that they can be judged again anywhere.

    `samples` holds the inputs, `embeddings` the unmodified PyTorch model's outputs, `module` the rewritten tower. Both
    end with the stress samples, whose names begin with `stress/`; `sample_set` counts the others.
    """

    tower: Tower
    sample_set: str
    samples: FileRef
    embeddings: FileRef
    module: Artifact


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A refusal of `mcconvert publish` that its user waived by `--allow`, and what that let through."""

    name: str
    what: str


@dataclass(frozen=True, kw_only=True)
class MissingFile:
    """A row that was asked for and gave no file: its step ended in an error, or waited for one that did."""

    step_id: str
    status: Status
    required: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of `manifest.json`. `waivers` are there in a published one only, `missing` in one of an export only."""

    schema_version: int
    created_by: str
    model: ManifestModel
    references: tuple[ManifestReference, ...]
    artifacts: tuple[ManifestEntry, ...]
    environment: Mapping[str, str]
    waivers: tuple[Waiver, ...] = ()
    missing: tuple[MissingFile, ...] = ()
