"""Checkpoints into models: read without running any code in them, match strictly, explain what does not match.

A checkpoint may have its names from open_clip, from Apple's package or from OpenAI (see `layouts`), or, for an image
tower alone, from timm. Its numbers are cast to the model's float32.
"""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import WeightsError
from converter.models.apple_vit import as_apple_computes
from converter.models.building import Signature, signature
from converter.models.layout_rules import Layout, to_ours, to_theirs
from converter.models.layouts import APPLE, recognize
from converter.models.timm import from_checkpoint_names
from converter.models.token_rows import expand
from converter.records import ModelSpec, Weights

if TYPE_CHECKING:
    import torch
    from torch import nn

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the state."""
PARALLEL_PREFIX = "module."
"""What DataParallel puts before every name."""
IMAGE_PREFIX, TEXT_PREFIX = "visual.", "text."
"""How the names of the two towers start."""
PROGRAM_BYTES = 64 * 2**20
"""More than the text of any program that TorchScript writes."""
SHOWN = 3
"""How many names of a kind a message lists."""
LIKENESS = 0.5
"""Share of tensors in common from which a checkpoint is said to look like a model."""


def load_weights(model: nn.Module, weights: Weights, spec: ModelSpec, known: Sequence[ModelSpec]) -> None:
    """Load `weights` into `model`, every tensor or none.

    `known` are the models to name when the checkpoint is another one's. Weights of Apple's own also get the settings
    that Apple trained them with, where open_clip's differ (`apple_vit`).

    Raises:
        WeightsError: the file is no checkpoint, or not this model's, or holds NaN or Inf.
        ValueError: the weights are seeded, hence no file; `converter.models.seeded` makes those.
    """
    if weights.path is None:
        message = f"{weights.kind} weights have no file to load"
        raise ValueError(message)
    path = Path(weights.path)
    state = read_state_dict(path)
    layout = recognize(state)
    ours = state if layout is None else to_ours(layout, state)
    expected = model.state_dict()
    fitted = _as_expected(ours, expected)
    mismatch = _mismatch(_shapes(fitted), _shapes(expected))
    if mismatch:
        described = f"{spec.title} ({len(expected)} tensors): {'; '.join(mismatch)}"
        hint = f"{_whose(layout)}{_hint(frozenset(_shapes(ours).items()), spec, known)}"
        message = f"{path} is not a checkpoint of {described}. {hint}"
        raise WeightsError(message)
    _refuse_nonfinite(path, fitted)
    model.load_state_dict(fitted, strict=True)
    if layout in APPLE:
        as_apple_computes(model)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors in a .safetensors, .pt, .pth or .bin file, without wrappers and the prefix "module.".

    Raises:
        WeightsError: the file is truncated, of another format, or has code in it (which is not run). TorchScript is
            code; OpenAI's archives are read all the same, for their tensors.
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
        return expand({name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state.items()})
    return expand(state)


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

    _refuse_bomb(path)
    if _is_torchscript(path):
        return _read_torchscript(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _head(path).startswith((b"PK", b"\x80")):
            raise WeightsError(_unreadable(path, "PyTorch", "it does not begin like one")) from error
        raise WeightsError(_has_code(path, str(error))) from error
    except Exception as error:  # torch.load raises whatever a broken file makes it trip over
        raise WeightsError(_unreadable(path, "PyTorch", str(error))) from error


def _refuse_bomb(path: Path) -> None:
    """torch.save packs nothing, so what unpacks to more than the file has is no checkpoint, or its members overlap.

    TorchScript packs the text of its program: `PROGRAM_BYTES` more are let through.
    """
    unpacked, size = sum(member.file_size for member in _members(path)), path.stat().st_size
    if unpacked > size + PROGRAM_BYTES:
        message = (
            f"{path} has {size:,} bytes and says that it unpacks to {unpacked:,}; torch.save stores tensors as they "
            "are: save it again with torch.save, or use a .safetensors file"
        )
        raise WeightsError(message)


def _is_torchscript(path: Path) -> bool:
    return any(member.filename.endswith("/constants.pkl") for member in _members(path))


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """What a zip archive lists; nothing where the file is none, or its list is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _read_torchscript(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of OpenAI's own files.

    torch.jit.load reads with an unpickler of its own, which knows tensors and TorchScript's classes but no Python. The
    program is parsed and not run: what would run on loading, a `__setstate__`, is refused before.
    """
    import torch

    state: Mapping[str, torch.Tensor] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not _runs_on_loading(path):
                state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except Exception as error:  # as for torch.load
        raise WeightsError(_unreadable(path, "TorchScript", str(error))) from error
    if recognize(state) is None:
        message = (
            f"{path} is a TorchScript archive, a program with its weights; expected a state dict, or OpenAI's archive "
            "of a CLIP; give the checkpoint that it was made from"
        )
        raise WeightsError(message)
    return state


def _runs_on_loading(path: Path) -> bool:
    """Whether there is a program for loading; seen by the reader that would load it, so that both see the same members.

    What begins as no archive is taken to have one: torch.jit.load would read another format in it.
    """
    import torch

    if not _head(path).startswith(b"PK"):
        return True
    reader = torch._C.PyTorchFileReader(str(path))
    sources = [name for name in reader.get_all_records() if name.endswith(".py")]
    return any(b"__setstate__" in reader.get_record(name) for name in sources)


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


def _as_expected(ours: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The state as the model names it: one built by another package has its names, an image tower alone has no text."""
    wanted = recognize(expected)
    if wanted is not None:
        return to_theirs(wanted, ours)
    if any(name.startswith(TEXT_PREFIX) for name in expected):
        return ours
    if any(name.startswith(IMAGE_PREFIX) for name in ours):
        return {name: tensor for name, tensor in ours.items() if name.startswith(IMAGE_PREFIX) or name in expected}
    return {name: ours[theirs] for theirs, name in from_checkpoint_names(ours, expected).items()}


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _mismatch(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps the one from being the other, in words; nothing where they are equal."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    reshaped = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    return [*_count(missing, "missing"), *_count(extra, "unknown"), *_count(reshaped, "of another shape")]


def _count(names: Sequence[str], what: str) -> Iterator[str]:
    if names:
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        yield f"{len(names)} {what} ({shown})"


def _whose(layout: Layout | None) -> str:
    return "" if layout is None else f"Its names are those of {layout.owner}, here as open_clip has them. "


def _hint(found: Signature, spec: ModelSpec, known: Sequence[ModelSpec]) -> str:
    if any("reparam" in name for name, _ in found):
        return "It was reparameterized already; give the checkpoint from before that"
    alike = _looks_like(found, known)
    if not alike:
        source = f"take {spec.hub_file} from {spec.hub_repo}" if spec.hub_repo else "give other weights"
        return f"It looks like no model known here; {source}"
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
