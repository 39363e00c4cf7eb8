"""Evaluate a reloaded Core ML program with PyTorch's kernels, operation by operation, in float32.

This is not Core ML: no compiler, no Neural Engine, no float16 arithmetic. It follows the program as the file holds it,
so a wrong stride, axis, order or connection shows on every machine, which counts and weights alone would not tell.
The operations are those of Apple's MIL specification, opsets CoreML6 to CoreML8, that CLIP towers convert to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.errors import ConversionError
from converter.runtimes.coreml_program import Constant, Operation, Program
from converter.runtimes.coreml_windows import window_kernels

if TYPE_CHECKING:
    import torch

    Arguments = Mapping[str, Any]
    Kernel = Callable[[Arguments], torch.Tensor | tuple[torch.Tensor, ...]]


FLOAT16_MAX = 65504.0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a program computes from one set of inputs."""

    outputs: Mapping[str, np.ndarray[Any, Any]]
    overflowing: tuple[str, ...]
    """Values that the program keeps in float16 although they do not fit into it: infinite on a device."""


def evaluate(program: Program, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Evaluation:
    """Run the program once on named inputs.

    Raises:
        ConversionError: an operation is unknown here, refers to a value that does not exist, or does not compute.
    """
    import torch

    kernels = _kernels()
    values: dict[str, Any] = {name: _value(constant) for name, constant in program.constants.items()}
    values |= {name: _input(array) for name, array in arrays.items()}
    overflowing: list[str] = []
    with torch.no_grad():
        for operation in program.operations:
            results = _run(operation, values, kernels)
            overflowing += _overflowing(operation, results)
            values |= results
    absent = [name for name in program.outputs if name not in values]
    if absent:
        message = f"the program returns {', '.join(absent)}, which no operation computes"
        raise ConversionError(message)
    outputs = {name: values[name].numpy() for name in program.outputs}
    return Evaluation(outputs=outputs, overflowing=tuple(overflowing))


def _input(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """The program sees an image's pixels as floats."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.float() if tensor.dtype == torch.uint8 else tensor


def _value(constant: Constant) -> Any:
    import torch

    if not isinstance(constant, np.ndarray):
        return constant
    return _float32(torch.from_numpy(np.array(constant)))


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _run(operation: Operation, values: Mapping[str, Any], kernels: Mapping[str, Kernel]) -> dict[str, Any]:
    where = f"operation {operation.kind} ({', '.join(operation.outputs)})"
    if operation.kind not in kernels:
        message = f"{where} cannot be evaluated; known are {', '.join(sorted(kernels))}"
        raise ConversionError(message)
    try:
        arguments = {key: _argument(names, values) for key, names in operation.inputs.items()}
        result = kernels[operation.kind](arguments)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        message = f"{where} does not compute: {type(error).__name__}: {error}"
        raise ConversionError(message) from error
    results = result if isinstance(result, tuple) else (result,)
    return dict(zip(operation.outputs, (_float32(one) for one in results), strict=True))


def _overflowing(operation: Operation, results: Mapping[str, Any]) -> list[str]:
    kept = (name for name, kind in zip(operation.outputs, operation.types, strict=True) if kind == "FLOAT16")
    return [name for name in kept if not float(results[name].abs().max()) <= FLOAT16_MAX]


def _argument(names: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    found = [values[name] for name in names]
    return found[0] if len(found) == 1 else found


def _kernels() -> dict[str, Kernel]:
    return {**_elementwise(), **_reductions(), **_moves(), **_layers(), **window_kernels()}


def _elementwise() -> dict[str, Kernel]:
    import torch
    from torch.nn import functional

    unary = {
        "abs": torch.abs, "exp": torch.exp, "erf": torch.erf, "relu": torch.relu, "sigmoid": torch.sigmoid,
        "silu": functional.silu, "sqrt": torch.sqrt, "square": torch.square, "tanh": torch.tanh,
        "relu6": functional.relu6, "softplus": functional.softplus, "sin": torch.sin, "cos": torch.cos,
    }  # fmt: skip
    binary = {
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "real_div": torch.true_divide, "pow": torch.pow,
        "maximum": torch.maximum, "minimum": torch.minimum, "equal": torch.eq, "not_equal": torch.ne,
        "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt, "less_equal": torch.le,
    }  # fmt: skip
    return {
        **{name: _unary(function) for name, function in unary.items()},
        **{name: _binary(function) for name, function in binary.items()},
        "cast": _cast,
        "clip": lambda a: a["x"].clamp(a["alpha"].item(), a["beta"].item()),
        "leaky_relu": lambda a: functional.leaky_relu(a["x"], float(a["alpha"])),
        "linear_activation": lambda a: a["alpha"] * a["x"] + a["beta"],
        "prelu": lambda a: functional.prelu(a["x"], a["alpha"]),
        "sigmoid_hard": lambda a: (a["alpha"] * a["x"] + a["beta"]).clamp(0.0, 1.0),
        "thresholded_relu": lambda a: torch.where(a["x"] >= a["alpha"], a["x"], 0.0),
        "log": lambda a: torch.log(a["x"] + a["epsilon"]),
        "inverse": lambda a: 1.0 / (a["x"] + a["epsilon"]),
        "rsqrt": lambda a: torch.rsqrt(a["x"] + a["epsilon"]),
        "select": lambda a: torch.where(a["cond"], a["a"], a["b"]),
    }


def _unary(function: Callable[[Any], Any]) -> Kernel:
    return lambda a: function(a["x"])


def _binary(function: Callable[[Any, Any], Any]) -> Kernel:
    return lambda a: function(a["x"], a["y"])


def _cast(a: Arguments) -> torch.Tensor:
    """Float types are all float32 here. A narrow whole number wraps as on a device: token 49407 is no int16."""
    import torch

    kind = a["dtype"]
    if kind.startswith("fp"):
        return a["x"].float()
    narrow = {"bool": torch.bool, "int8": torch.int8, "uint8": torch.uint8, "int16": torch.int16}
    if kind in narrow:
        return a["x"].to(narrow[kind])
    return a["x"].int() & 0xFFFF if kind == "uint16" else a["x"].int()


def _reductions() -> dict[str, Kernel]:
    def reduction(function: Callable[..., Any]) -> Kernel:
        return lambda a: function(a["x"], dim=a["axes"].tolist(), keepdim=bool(a["keep_dims"]))

    import torch

    return {
        "reduce_mean": reduction(torch.mean),
        "reduce_sum": reduction(torch.sum),
        "reduce_max": reduction(torch.amax),
        "reduce_min": reduction(torch.amin),
        "reduce_l2_norm": reduction(torch.linalg.vector_norm),
    }


def _moves() -> dict[str, Kernel]:
    import torch

    return {
        "reshape": lambda a: a["x"].reshape(a["shape"].tolist()),
        "transpose": lambda a: a["x"].permute(a["perm"].tolist()),
        "squeeze": lambda a: a["x"].squeeze(tuple(a["axes"].tolist())),
        "expand_dims": _expand_dims,
        "concat": lambda a: torch.cat(a["values"], dim=int(a["axis"])),
        "stack": lambda a: torch.stack(a["values"], dim=int(a["axis"])),
        "split": _split,
        "tile": lambda a: a["x"].tile(a["reps"].tolist()),
        "gather": lambda a: _gather(a["x"], a["indices"].long(), int(a["axis"])),
        "slice_by_index": _slice,
    }


def _split(a: Arguments) -> tuple[torch.Tensor, ...]:
    import torch

    axis = int(a["axis"])
    if "split_sizes" in a:
        return tuple(torch.split(a["x"], a["split_sizes"].tolist(), dim=axis))
    return tuple(torch.tensor_split(a["x"], int(a["num_splits"]), dim=axis))


def _expand_dims(a: Arguments) -> torch.Tensor:
    x = a["x"]
    for axis in sorted(a["axes"].tolist()):
        x = x.unsqueeze(axis)
    return x


def _gather(x: torch.Tensor, indices: torch.Tensor, axis: int) -> torch.Tensor:
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _slice(a: Arguments) -> torch.Tensor:
    x = a["x"]
    axes = range(x.ndim)
    begin_mask, end_mask, dropped = (_flags(a, key, x.ndim) for key in ("begin_mask", "end_mask", "squeeze_mask"))
    steps = a["stride"].tolist() if "stride" in a else [1] * x.ndim
    first, last = a["begin"].tolist(), a["end"].tolist()
    index = tuple(
        first[i]
        if dropped[i]
        else slice(None if begin_mask[i] else first[i], None if end_mask[i] else last[i], steps[i])
        for i in axes
    )
    return x[index]


def _flags(a: Arguments, key: str, count: int) -> list[bool]:
    return a[key].tolist() if key in a else [False] * count


def _layers() -> dict[str, Kernel]:
    import torch
    from torch.nn import functional

    return {
        "linear": lambda a: functional.linear(a["x"], a["weight"], a.get("bias")),
        "matmul": _matmul,
        "softmax": lambda a: torch.softmax(a["x"], dim=int(a["axis"])),
        "gelu": _gelu,
        "batch_norm": lambda a: functional.batch_norm(
            a["x"], a["mean"], a["variance"], a.get("gamma"), a.get("beta"), eps=float(a["epsilon"])
        ),
        "layer_norm": lambda a: functional.layer_norm(
            a["x"], [a["x"].shape[i] for i in a["axes"].tolist()], a.get("gamma"), a.get("beta"), float(a["epsilon"])
        ),
        "scaled_dot_product_attention": lambda a: functional.scaled_dot_product_attention(
            a["query"], a["key"], a["value"], a.get("attn_mask")
        ),
    }


def _matmul(a: Arguments) -> torch.Tensor:
    x = a["x"].transpose(-1, -2) if a.get("transpose_x") else a["x"]
    y = a["y"].transpose(-1, -2) if a.get("transpose_y") else a["y"]
    return x @ y


def _gelu(a: Arguments) -> torch.Tensor:
    from torch.nn import functional

    modes = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    return functional.gelu(a["x"], approximate=modes[a.get("mode", "EXACT")])
