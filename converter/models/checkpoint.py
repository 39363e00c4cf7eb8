"""Checkpoints into models: read without running any code in them, match strictly, explain what does not match."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import WeightsError
from converter.models.building import Signature, signature
from converter.records import ModelSpec, Weights

if TYPE_CHECKING:
    import torch
    from torch import nn

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the state."""
PARALLEL_PREFIX = "module."
"""What DataParallel puts before every name."""
APPLE_PREFIX = "image_encoder."
"""How names start in the checkpoints of Apple's own package (github.com/apple/ml-mobileclip)."""
SHOWN = 3
"""How many names of a kind a message lists."""
LIKENESS = 0.5
"""Share of tensors in common from which a checkpoint is said to look like a model."""


def load_weights(model: nn.Module, weights: Weights, spec: ModelSpec, known: Sequence[ModelSpec]) -> None:
    """Load `weights` into `model`, every tensor or none.

    `known` are the models to name when the checkpoint is another one's.

    Raises:
        WeightsError: the file is no checkpoint, or not this model's, or holds NaN or Inf.
        ValueError: the weights are seeded, hence no file; `converter.models.seeded` makes those.
    """
    if weights.path is None:
        message = f"{weights.kind} weights have no file to load"
        raise ValueError(message)
    path = Path(weights.path)
    state = read_state_dict(path)
    _refuse_mismatch(path, state, {name: tuple(value.shape) for name, value in model.state_dict().items()}, spec, known)
    _refuse_nonfinite(path, state)
    model.load_state_dict(state, strict=True)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors in a .safetensors, .pt, .pth or .bin file, without wrappers and the prefix "module.".

    Raises:
        WeightsError: the file is truncated, of another format, TorchScript, or has code in it (which is not run).
    """
    if not path.is_file():
        message = f"no file at {path}; expected a checkpoint"
        raise WeightsError(message)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    state = _unwrap(content)
    if not isinstance(state, Mapping) or not state or not all(map(_is_named_tensor, state.items())):
        message = f"{path} holds {_describe(state)}; expected a state dict, that is named tensors"
        raise WeightsError(message)
    if all(name.startswith(PARALLEL_PREFIX) for name in state):
        return {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state.items()}
    return dict(state)


def logit_scale(model: Any) -> float:
    """By how much cosine similarities are multiplied before the softmax; models store its logarithm."""
    return math.exp(float(model.logit_scale.detach()))


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(_unreadable(path, "safetensors", str(error))) from error


def _read_pickle(path: Path) -> Any:
    import pickle

    import torch

    if _is_torchscript(path):
        message = (
            f"{path} is a TorchScript archive, a program with its weights; expected a state dict; give the checkpoint "
            "that it was made from"
        )
        raise WeightsError(message)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _head(path).startswith((b"PK", b"\x80")):
            raise WeightsError(_unreadable(path, "PyTorch", "it does not begin like one")) from error
        raise WeightsError(_has_code(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise WeightsError(_unreadable(path, "PyTorch", str(error))) from error


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _has_code(path: Path, error: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", error)
    what = f"code or objects ({named[1]})" if named else "code or objects"
    return (
        f"{path} contains {what} besides tensors; it was not run and nothing was loaded; expected tensors only; "
        "use a .safetensors file, or save the state dict alone with torch.save"
    )


def _unreadable(path: Path, kind: str, error: str) -> str:
    size = path.stat().st_size
    why = next(iter(error.splitlines()), "") or "unexpected end"
    if _head(path).startswith(b"version https://git-lfs"):
        why = "it is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
    return (
        f"{path} ({size} bytes) is not a whole {kind} checkpoint: {why}; "
        "copy or download it again and compare its size and sha256"
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(40)


def _unwrap(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return content


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping of {', '.join(map(repr, list(content)[:SHOWN])) or 'nothing'}"
    return f"one object of type {type(content).__name__}"


def _refuse_mismatch(
    path: Path,
    state: Mapping[str, torch.Tensor],
    expected: Mapping[str, tuple[int, ...]],
    spec: ModelSpec,
    known: Sequence[ModelSpec],
) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    reshaped = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if not missing and not extra and not reshaped:
        return
    seen = [*_count(missing, "missing"), *_count(extra, "unknown"), *_count(reshaped, "of another shape")]
    hint = _hint(frozenset(found.items()), spec, known)
    message = f"{path} is not a checkpoint of {spec.title} ({len(expected)} tensors): {'; '.join(seen)}. {hint}"
    raise WeightsError(message)


def _count(names: Sequence[str], what: str) -> Iterator[str]:
    if names:
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        yield f"{len(names)} {what} ({shown})"


def _hint(found: Signature, spec: ModelSpec, known: Sequence[ModelSpec]) -> str:
    if any(name.startswith(APPLE_PREFIX) for name, _ in found):
        return f"Its names are those of Apple's own package; take open_clip's file from {spec.hub_repo}"
    if any("reparam" in name for name, _ in found):
        return "It was reparameterized already; give the checkpoint from before that"
    alike = _looks_like(found, known)
    if not alike:
        return f"It looks like no model known here; take {spec.hub_file} from {spec.hub_repo}"
    choices = " or ".join(f"--model {model.id}" for model in alike)
    return f"It looks like {' or '.join(model.title for model in alike)}; use {choices}, or give other weights"


def _looks_like(found: Signature, known: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The models that share most (name, shape) pairs with the checkpoint: several, where they are built alike."""
    likeness = {model.id: _share(found, signature(model)) for model in known}
    best = max(likeness.values(), default=0.0)
    return [model for model in known if best >= LIKENESS and likeness[model.id] == best]


def _share(first: Signature, second: Signature) -> float:
    return len(first & second) / max(len(first | second), 1)


def _refuse_nonfinite(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        shown = next(_count(broken, "tensors with NaN or Inf"))
        message = f"{path} has {shown}; expected finite numbers; it is damaged, or its training diverged: give another"
        raise WeightsError(message)
