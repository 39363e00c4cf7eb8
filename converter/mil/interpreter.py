"""Execute a program with PyTorch's kernels on the CPU, one operation after the other, honouring declared types.

Each result is rounded to the element type that the program declares for it, then held against the declared shape. Sums
inside an operation are taken in float32, as Core ML's CPU backend may and the Neural Engine need not: a device can
differ from this by what float16 accumulation loses. Compressed weights (`constexpr_*`) are decoded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.errors import ConversionError
from converter.mil.constants import Constant
from converter.mil.control import CONTROL
from converter.mil.ops import REFUSED, all_kernels
from converter.mil.program import Operation, Program
from converter.mil.types import type_problems
from converter.mil.values import from_array, honoured

if TYPE_CHECKING:
    import torch

    Values = dict[str, Any]
    Observe = Callable[[Operation, Mapping[str, torch.Tensor]], None]
    Step = tuple[Operation, Mapping[str, torch.Tensor]]

CONSTANT_EXPRESSION = "constexpr_"


class Interpreter:
    """A program made ready to run: its constants as tensors, its compressed weights decoded.

    Raises:
        ConversionError: the program has an operation that is not known here; the message names every such operation. Or
            it declares a result of another type than its operation gives.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        _refuse_unknown(program)
        _refuse_mistyped(program)
        self.constants: Values = {name: _value(name, one) for name, one in program.constants.items()}
        """Constants as tensors or texts, with what `constexpr_*` operations decode from them."""
        self._operations: list[Operation] = []
        for operation in program.operations:
            if operation.kind.startswith(CONSTANT_EXPRESSION):
                self.constants |= compute(operation, self.constants)
            else:
                self._operations.append(operation)
        self._last_use = _last_uses(self._operations, program.outputs)

    def run(
        self, arrays: Mapping[str, np.ndarray[Any, Any]], observe: Observe | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The program's outputs for one set of inputs; `observe` sees each operation with its results.

        Raises:
            ConversionError: an input is missing, or an operation does not compute what the program declares.
        """
        values = self._given(arrays)
        for operation, results in self._steps(values):
            if observe is not None:
                observe(operation, results)
        absent = [name for name in self.program.outputs if name not in values]
        if absent:
            message = f"the program returns {', '.join(absent)}, which no operation computes"
            raise ConversionError(message)
        return {name: values[name].numpy() for name in self.program.outputs}

    def steps(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[Step]:
        """As `run`, but each operation is executed when the next step is asked for, and nothing is kept longer.

        Operations inside of a block come before the one that holds the block.
        """
        yield from self._steps(self._given(arrays))

    def _given(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Values:
        """What is known before the first operation: constants, and inputs as the program declares them."""
        missing = [name for name in self.program.inputs if name not in arrays]
        if missing:
            message = f"input {', '.join(missing)} is missing; given were {', '.join(arrays) or 'none'}"
            raise ConversionError(message)
        values = dict(self.constants)
        for name, kind in zip(self.program.inputs, self.program.input_types, strict=True):
            try:
                values[name] = honoured(from_array(arrays[name]), kind)
            except ValueError as error:
                message = f"input {name}: {error}"
                raise ConversionError(message) from error
        return values

    def _steps(self, values: Values) -> Iterator[Step]:
        """Add results to `values`, and drop each after its last use."""
        import torch

        for index, operation in enumerate(self._operations):
            done: list[Step] = []
            with torch.inference_mode():
                values |= compute(operation, values, _into(done))
            for name in self._last_use.get(index, ()):
                del values[name]
            yield from done


def compute(operation: Operation, values: Mapping[str, Any], observe: Observe | None = None) -> dict[str, Any]:
    """The results of one operation by name, as their declared types hold them.

    Raises:
        ConversionError: an argument does not exist, the kernel refuses, or a result has another shape than declared.
    """
    try:
        arguments = {key: _argument(key, names, values) for key, names in operation.inputs.items()}
        if operation.kind in CONTROL:
            result = CONTROL[operation.kind](operation, arguments, values, observe)
        else:
            result = all_kernels()[operation.kind](arguments)
        results = result if isinstance(result, tuple) else (result,)
        named = {
            name: honoured(one, kind) if hasattr(one, "to") else one
            for name, one, kind in zip(operation.outputs, results, operation.types, strict=True)
        }
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        message = f"{_where(operation)} does not compute: {type(error).__name__}: {error}"
        raise ConversionError(message) from error
    _check_shapes(operation, named)
    if observe is not None:
        observe(operation, {name: one for name, one in named.items() if hasattr(one, "shape")})  # lists are no values
    return named


def _into(done: list[Step]) -> Observe:
    return lambda operation, results: done.append((operation, results))


def _where(operation: Operation) -> str:
    return f"operation {operation.kind} ({', '.join(operation.outputs)})"


def _argument(key: str, names: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    """One value; a list where the parameter is variadic."""
    absent = [name for name in names if name not in values]
    if absent:
        message = f"it reads {', '.join(absent)}, which nothing computes before it"
        raise ValueError(message)
    found = [values[name] for name in names]
    return found if key == "values" or len(found) != 1 else found[0]


def _value(name: str, constant: Constant) -> Any:
    try:
        return from_array(constant) if isinstance(constant, np.ndarray) else constant
    except ValueError as error:
        message = f"constant '{name}': {error}"
        raise ConversionError(message) from error


def _refuse_unknown(program: Program) -> None:
    known = all_kernels().keys() | CONTROL.keys()
    unknown = Counter(one.kind for one in _every(program.operations) if one.kind not in known)
    if unknown:
        kinds = ", ".join(
            f"{kind} ({count}{': ' + REFUSED[kind] if kind in REFUSED else ''})"
            for kind, count in sorted(unknown.items())
        )
        message = (
            f"the program has operations that cannot be executed here: {kinds}; known are {len(known)} operations of "
            f"Apple's MIL specification. Check this file on a Mac"
        )
        raise ConversionError(message)


def _refuse_mistyped(program: Program) -> None:
    wrong = list(type_problems(program))
    if wrong:
        more = f", and {len(wrong) - 1} more like this" if len(wrong) > 1 else ""
        message = f"{wrong[0]}{more}; Core ML loads no such program"
        raise ConversionError(message)


def _every(operations: Iterable[Operation]) -> Iterable[Operation]:
    for operation in operations:
        yield operation
        for block in operation.blocks:
            yield from _every(block.operations)


def _check_shapes(operation: Operation, results: Mapping[str, Any]) -> None:
    for (name, value), declared in zip(results.items(), operation.shapes, strict=True):
        if declared is None or not hasattr(value, "shape"):
            continue
        seen = tuple(value.shape)
        fits = len(seen) == len(declared) and all(
            size in (None, found) for size, found in zip(declared, seen, strict=True)
        )
        if not fits:
            message = f"{_where(operation)} gives {name} {list(seen)}, the program declares {list(declared)}"
            raise ConversionError(message)


def _last_uses(operations: Sequence[Operation], outputs: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """For each operation, the computed values that nothing reads after it."""
    last: dict[str, int] = {}
    for index, operation in enumerate(operations):
        last |= dict.fromkeys(operation.outputs, index)
        for inner in _every([operation]):
            last |= {name: index for names in inner.inputs.values() for name in names if name in last}
            last |= {name: index for block in inner.blocks for name in block.outputs if name in last}
    found: dict[int, tuple[str, ...]] = {}
    for name, index in last.items():
        if name not in outputs:
            found[index] = (*found.get(index, ()), name)
    return found
