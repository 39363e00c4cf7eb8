"""Which weights a run uses: a file of yours, this package's, the hub's, or seeded ones when nothing else can be had.

Only finds, checks and names them; `converter.models.checkpoint` reads them. Torch is not imported, and huggingface_hub
only when the network is really asked, because every run comes through here, also one that has nothing to do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from converter.errors import WeightsError
from converter.models import hub
from converter.models.memory import file_sha256, forget_failure, recent_failure, remember_failure, user_cache
from converter.records import ModelSpec, Weights

KEYWORDS = ("auto", "hub", "seeded")
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
SEED = 0
SEEDED_VERSION = 2
"""Goes up when `converter.models.seeded` draws other values for the same seed."""

BUNDLED = Path(__file__).parent / "bundled"
"""Where the weights lie that come with this package."""
SAME_WEIGHTS = (
    ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    ("model.safetensors", "pytorch_model.bin"),
)
"""A repository of the hub may hold its weights in both; the first is read."""
TRAINER_STATE = ("optimizer", "scheduler", "scaler", "training_args", "rng_state")
"""How files begin in which Hugging Face's Trainer keeps its own state beside the weights."""


def resolve(
    spec: ModelSpec, request: str, *, cache_dir: Path | None = None, now: Callable[[], float] = time.time
) -> Weights:
    """The weights that `request` stands for: `auto`, `hub`, `seeded`, or the path of a checkpoint or its folder.

    `auto` takes what the hub's cache holds, else downloads, else falls back to seeded weights and says so in `notice`.
    A download that failed within the last 15 minutes is not tried again by `auto`; `hub` always tries. Both take the
    file that comes with this package, where the model has one.

    Raises:
        WeightsError: there is no such file, it is not the only one, it cannot be downloaded, or its hash is wrong.
    """
    memory = cache_dir or user_cache()
    match request:
        case "seeded":
            return _seeded(spec, "as asked for")
        case "hub":
            return _at_hand(spec, memory) or _download(spec, memory, now)
        case "auto":
            return _at_hand(spec, memory) or _download_or_seeded(spec, memory, now)
        case _:
            return _from_path(Path(request).expanduser(), memory)


def _seeded(spec: ModelSpec, why: str) -> Weights:
    identity = f"seeded/{SEED}/{spec.id}/{SEEDED_VERSION}"
    trained = "--weights FILE, or --weights hub" if spec.hub_repo or spec.bundled else "--weights FILE"
    notice = (
        f"{spec.title}: SEEDED weights, {why}: the files below are not trained and will not be published. They prove "
        f"the conversion, and give meaningless embeddings. Trained ones: {trained}."
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return Weights(kind="seeded", sha256=digest, seed=SEED, trained=False, notice=notice)


def _at_hand(spec: ModelSpec, memory: Path) -> Weights | None:
    """The weights that need no network: this package's own, or the hub's cache."""
    if spec.bundled:
        return _bundled(spec, memory)
    found = hub.cached(spec.hub_repo, spec.hub_file, spec.revision) if spec.hub_repo else None
    return _checked(spec, found, found.expected_sha256, memory) if found else None


def _bundled(spec: ModelSpec, memory: Path) -> Weights:
    path = BUNDLED / spec.bundled
    if not path.is_file():
        message = (
            f"{path} is not there, although configs/models/{spec.id}.yaml says that the weights of {spec.title} come "
            "with mcconvert; install it again, or use --weights seeded"
        )
        raise WeightsError(message)
    digest = file_sha256(path, memory)
    if spec.sha256 and digest != spec.sha256:
        message = (
            f"{path} has sha256 {digest}, but configs/models/{spec.id}.yaml says {spec.sha256}; the file was changed: "
            "install mcconvert again, or give a file that you trust with --weights FILE"
        )
        raise WeightsError(message)
    return Weights(kind="bundled", path=str(path), sha256=digest, trained=True)


def _download(spec: ModelSpec, memory: Path, now: Callable[[], float]) -> Weights:
    if not spec.hub_repo:
        message = (
            f"no repository on the hub is known for {spec.title}; give its checkpoint with --weights FILE, or use "
            "--weights seeded for a run on untrained weights"
        )
        raise WeightsError(message)
    try:
        found = hub.download(spec.hub_repo, spec.hub_file, spec.revision)
    except WeightsError as error:
        remember_failure(memory, spec.hub_repo, str(error), now())
        raise WeightsError(_advice(spec, str(error))) from error
    forget_failure(memory, spec.hub_repo)
    return _checked(spec, found, found.expected_sha256, memory)


def _download_or_seeded(spec: ModelSpec, memory: Path, now: Callable[[], float]) -> Weights:
    if not spec.hub_repo:
        return _seeded(spec, "because no repository on the hub is known for it")
    failure = recent_failure(memory, spec.hub_repo, now())
    if failure:
        return _seeded(spec, f"because the hub failed a short while ago ({failure})")
    try:
        found = hub.download(spec.hub_repo, spec.hub_file, spec.revision)
    except WeightsError as error:
        remember_failure(memory, spec.hub_repo, str(error), now())
        return _seeded(spec, f"because the hub could not be used ({error})")
    forget_failure(memory, spec.hub_repo)
    return _checked(spec, found, found.expected_sha256, memory)


def _checked(spec: ModelSpec, found: hub.HubFile, hub_sha256: str | None, memory: Path) -> Weights:
    digest = file_sha256(found.path, memory)
    source = f"configs/models/{spec.id}.yaml" if spec.sha256 else "the hub"
    expected = spec.sha256 or hub_sha256
    if expected and digest != expected:
        message = (
            f"{found.path} has sha256 {digest}, but {source} says {expected}; delete {found.path.resolve()} and run "
            "again, or give a file that you trust with --weights FILE"
        )
        raise WeightsError(message)
    return Weights(kind="hub", path=str(found.path), sha256=digest, revision=found.commit, trained=True)


def _advice(spec: ModelSpec, failure: str) -> str:
    return (
        f"the weights of {spec.title} could not be fetched from {spec.hub_repo} ({failure}); check the network, or "
        f"copy {spec.hub_file} here by hand and give it with --weights FILE, or use --weights seeded for a run on "
        "untrained weights"
    )


def _from_path(path: Path, memory: Path) -> Weights:
    file = _checkpoint_in(path) if path.is_dir() else path
    if not file.is_file():
        message = f"no weights at {path}; expected {', '.join(KEYWORDS)}, or the path of a checkpoint or of its folder"
        raise WeightsError(message)
    if file.suffix.lower() not in CHECKPOINT_SUFFIXES:
        message = f"{file} is not named like a checkpoint; expected a file that ends in {_suffixes()}"
        raise WeightsError(message)
    file = file.resolve()
    return Weights(kind="file", path=str(file), sha256=file_sha256(file, memory), trained=True)


def _checkpoint_in(folder: Path) -> Path:
    files = {
        path.name: path
        for path in folder.iterdir()
        if path.suffix.lower() in CHECKPOINT_SUFFIXES and not path.name.startswith(TRAINER_STATE)
    }
    for first, second in SAME_WEIGHTS:
        if first in files:
            files.pop(second, None)
    if len(files) != 1:
        seen = f"{len(files)} checkpoints ({', '.join(sorted(files))})" if files else "no checkpoint"
        message = f"{folder} holds {seen}; expected one file that ends in {_suffixes()}; give the file itself instead"
        raise WeightsError(message)
    return next(iter(files.values()))


def _suffixes() -> str:
    return " or ".join(CHECKPOINT_SUFFIXES)
