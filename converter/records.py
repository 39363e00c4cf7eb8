"""The frozen records that cross rooms.

They hold data and no behaviour beyond what can be derived from their own fields. Importing this module must stay
cheap: neither torch nor any converter is imported here. JSON in and out goes through `to_json` and `from_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Tower = Literal["image", "text"]
Precision = Literal["fp32", "fp16", "int8", "int6", "int4"]
Action = Literal["run", "verify", "reuse", "blocked"]
Status = Literal["PASSED", "FAILED", "ERROR", "BLOCKED"]
WeightsKind = Literal["file", "hub", "bundled", "seeded"]
SampleDomain = Literal["photographs", "scenes"]
InputKind = Literal["tensor", "image"]
Interval = tuple[float, float]

TOWERS: tuple[Tower, ...] = ("image", "text")
CAUTION = "caution: "
"""How a note begins that belongs beside the verdict, where it is read."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One named input or output of an artifact. A dimension is a size, or a name when it is dynamic ("batch")."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str
    value_range: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a photograph becomes the image tower's input.

    Resize to `resize_size` pixels (`size` where it is None): the `shortest` side, the `longest` side with a border
    filled up, or `squash` both. Crop the centre square of `size` pixels, scale to [0, 1], subtract `mean`, divide by
    `std` (both per RGB channel). `inside_graph`: the files take uint8 pixels and scale and normalise by themselves;
    resizing and cropping are the app's in any case.
    """

    size: int
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    resize_size: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    crop: Literal["center"] = "center"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: str = "NCHW"
    value_range: tuple[float, float]
    inside_graph: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as its YAML names it, or as its library describes it; nothing here was read from weights.

    Weights lie in `bundled`, a file of this package, or on the hub in `hub_repo`; a model may have neither. `samples`
    says on what kind of images and captions it is judged, `parameters` how many numbers each tower has.
    """

    id: str
    family: str
    title: str
    source: str
    hub_repo: str = ""
    hub_file: str = ""
    revision: str = "main"
    bundled: str = ""
    sha256: str | None = None
    license: str
    license_url: str
    towers: tuple[Tower, ...] = TOWERS
    preprocessing: Preprocessing
    context_length: int = 77
    start_token: int = 49406
    end_token: int = 49407
    pad_token: int = 0
    embed_dim: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    samples: SampleDomain = "photographs"
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights that a run uses. `path` is None for seeded weights, which have a seed instead."""

    kind: WeightsKind
    path: str | None = None
    sha256: str
    revision: str | None = None
    seed: int | None = None
    trained: bool
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How numbers are stored and computed: one vocabulary for all formats (`converter/quantization/recipes.py`).

    `weight_bits` alone: weights are unpacked, arithmetic stays float. With `activation_bits` layers compute in
    integers: by each activation's own range as it comes with `ranges: dynamic` or without a `sample_set`, else by
    ranges fixed on that calibration data (static). `samples` is how many calibration samples are taken, 0 as many
    as it takes until their ranges stand still. `ranges` says how a range is derived from what was seen, `percentile`
    belongs to that choice. `weight_coding` is `linear` (a scale a channel) or `palette` (a table of shared values).

    What makes up for rounding: `smooth` moves that share of the spread between an activation's channels into the
    weights that read it (SmoothQuant's alpha; 0 none), `round_weights` chooses rounded weights by the layer's output on
    calibration data (`gptq`) instead of one by one (`nearest`).

    `float_layers` names layers that stay in float: names such as trunk.0.blocks.1.mlp.fc1, with * and ?. So do, with
    `float_stem`, those before the graph first branches: what rounding does there, every later layer amplifies.
    """

    name: str
    summary: str
    precision: Precision
    weight_bits: int
    activation_bits: int | None = None
    granularity: Literal["tensor", "channel"] = "channel"
    weight_coding: Literal["linear", "palette"] = "linear"
    sample_set: str | None = None
    samples: int = 0
    ranges: Literal["min_max", "percentile", "entropy", "mse", "dynamic"] = "min_max"
    percentile: float = 99.99
    smooth: float = 0.0
    round_weights: Literal["nearest", "gptq"] = "nearest"
    float_stem: bool = False
    float_layers: tuple[str, ...] = ()
    calibration_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """A bound on one metric of a parity report, with the measured reason for it."""

    metric: str
    limit: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one step's process may use before it is stopped."""

    seconds: float = 1800.0
    memory_bytes: int = 12 * 2**30


@dataclass(frozen=True, kw_only=True)
class Step:
    """One conversion: a stage applied to a parent step's artifact. The id is `<tower>/<target>/<row>`."""

    id: str
    stage: str
    tower: Tower
    target: str
    row: str
    precision: Precision
    parent: str | None
    file_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe | None = None
    tolerances: tuple[Tolerance, ...] = ()
    tie_margin: float = 0.0
    size_reference: str | None = None
    requested: bool = True
    required: bool = True
    not_required_because: str = ""
    limits: Limits = Limits()


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What will happen to a step, and why. `key` is None while the parent's bytes are not known yet."""

    step: Step
    key: str | None
    action: Action
    reason: str


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file (or an .mlpackage folder) and what one must know to run it.

    `sha256` of a folder is the hash of its sorted relative paths and their contents. A stage leaves `sha256` and
    `size_bytes` to the pipeline. `notes` says what was applied that the file itself does not tell.
    """

    path: str
    format: str
    target: str
    tower: Tower
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str = ""
    size_bytes: int = 0
    parent_sha256: str = ""
    notes: tuple[str, ...] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """What its notes say of the data that it was made from, for whoever reads the verdict."""
        return tuple(note.removeprefix(CAUTION) for note in self.notes if note.startswith(CAUTION))


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """How far one output lies from the same output of the other side, over the whole sample set.

    `centred_*` and `sqnr_db` are taken after subtracting the reference's mean embedding: what inputs have in common
    says nothing about whether they can be told apart. `spread` is the reference's mean distance from that mean.
    `nonfinite` counts the values that are NaN or infinite, `nonfinite_samples` the samples that they belong to.
    """

    name: str
    shape: tuple[int, ...]
    max_abs: float
    cosine_min: float
    centred_cosine_min: float
    centred_cosine_mean: float
    sqnr_db: float
    spread: float
    worst_index: int
    nonfinite: int
    nonfinite_samples: int = 0
    passed: bool = False


@dataclass(frozen=True, kw_only=True)
class RankingParity:
    """Retrieval over the sample set, each sample a query against all others.

    `top1` is the share of queries whose best match agrees, `top_k` the mean share of the reference's first k that
    the candidate returns too (recall@k), both counting a swap within `tie_margin` of the reference's own scores as
    agreement; `top_k_strict` forgives none but scores that are exactly equal. Each `_interval` says within which
    (low, high) the figure may lie for other queries of the same kind, with 95 % confidence. `groups` counts what the
    queries were drawn from independently: photographs where samples are views of them, else the queries themselves.
    """

    queries: int
    k: int
    top1: float
    top_k: float
    top_k_strict: float
    kendall_tau: float
    score_diff_max: float
    tie_margin: float
    groups: int = 0
    top1_interval: Interval | None = None
    top_k_interval: Interval | None = None
    kendall_tau_interval: Interval | None = None
    passed: bool = False


@dataclass(frozen=True, kw_only=True)
class StressParity:
    """How far the outputs lie apart on inputs that no photograph or caption resembles: black, noise, no words.

    `cosine_min` is taken after subtracting the mean of the reference over the ordinary samples. `worst` names the
    sample of that cosine, or the first one with `nonfinite` values. `left_out` names samples on which the reference
    itself is not finite, so that nothing can be asked of a file.
    """

    samples: int
    max_abs: float
    cosine_min: float
    worst: str
    nonfinite: int
    nonfinite_samples: int = 0
    left_out: tuple[str, ...] = ()
    passed: bool = False


@dataclass(frozen=True, kw_only=True)
class NonfiniteOrigin:
    """The first value on the way to a NaN or infinite output that is not finite though its inputs are.

    `sample` is the one that was looked at, `name` and `kind` are the file's own words for value and operation,
    `module` the PyTorch module where the file knows it. `why_not` says why nothing could be located; it is empty
    otherwise.
    """

    sample: str
    name: str = ""
    kind: str = ""
    module: str = ""
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class StructureCheck:
    """What was found in a file by reading it, beside what executing it shows.

    `tensors` counts the weight tensors that were found in the file and compared with the parent's, `max_abs` is the
    largest difference beyond what the precision rounds away, `problems` what did not hold.
    """

    ops: int
    tensors: int
    max_abs: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """One comparison of a candidate with a reference or a parent on a named sample set.

    `executed_by` says in words what ran the candidate, `values_executed` how many values it computed where the runner
    counts them. `latency_ms` is the median time of one call with one sample while that ran, beside whatever else the
    machine did; None where calls took several samples or nothing like the phone's own code ran. `outputs` and `ranking`
    are about the samples, `stress` about the rows beyond them. `structure` is there for formats that are read as well
    as run. `cautions` say what a passed bound does not prove. `candidate_sha256` is of the very bytes that ran, as
    `Artifact.sha256` is.
    """

    reference: str
    candidate: str
    sample_set: str
    executed_by: str
    outputs: tuple[OutputParity, ...] = ()
    ranking: RankingParity | None = None
    structure: StructureCheck | None = None
    stress: StressParity | None = None
    nonfinite_origin: NonfiniteOrigin | None = None
    values_executed: int = 0
    latency_ms: float | None = None
    cautions: tuple[str, ...] = ()
    candidate_sha256: str = ""
    passed: bool = False


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The end of one step. `failures` names every bound that was missed, with its figures."""

    step_id: str
    status: Status
    action: Action
    reason: str
    requested: bool = True
    required: bool = True
    not_required_because: str = ""
    artifact: Artifact | None = None
    recipe: Recipe | None = None
    vs_reference: ParityReport | None = None
    vs_parent: ParityReport | None = None
    failures: tuple[str, ...] = ()
    size_ratio: float | None = None
    exit_code: int = 0
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the doctor looked at; `advice` is empty when it is well.

    `damaged`: files are not what they were when they were made.
    """

    name: str
    seen: str
    advice: str = ""
    damaged: bool = False


def to_json(record: object) -> bytes:
    """The record as indented, deterministic JSON with a closing newline. Non-finite floats become null."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def from_json[T](data: bytes, kind: type[T]) -> T:
    """Read a record of `kind`.

    Raises:
        msgspec.DecodeError: the data is not JSON, or a field is missing or of the wrong type (the message names it).
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (RecursionError, UnicodeDecodeError) as error:
        message = f"it is nested too deep, or not UTF-8: {error}"
        raise msgspec.DecodeError(message) from error
