"""Small ML programs for tests: built with coremltools' own builder, saved without any pass, read back and executed.

A program's inputs are arrays by name; their element types become the program's. Core ML's interface knows only float32,
float16 and int32: coremltools puts a cast beside every other input and output, so a bool comes back as float32.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import import_coremltools
from converter.mil.interpreter import Interpreter
from converter.mil.ops import all_kernels
from converter.mil.program import Program, read_program
from converter.mil.values import from_array, honoured

type Array = np.ndarray[Any, Any]
type Build = Callable[..., Any]
"""Takes coremltools' builder, then the inputs by name; gives the result or a tuple of results."""

NEWEST = "iOS18"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation: what it reads, what is constant, what must come out."""

    name: str
    kind: str
    inputs: Mapping[str, Any]
    """Arrays by parameter, or lists of arrays where it is variadic."""
    expected: tuple[Array, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def in_float16(case: Case) -> Case:
    """The same case with every float in float16."""
    return replace(
        case,
        inputs={key: _narrow(value) for key, value in case.inputs.items()},
        constants={key: _narrow(value) for key, value in case.constants.items()},
        expected=tuple(_narrow(one) for one in case.expected),
    )


def one_op(kind: str, inputs: Mapping[str, Array], target: str = NEWEST, **constants: Any) -> list[Array]:
    """What the program of one operation gives, in the operation's order; its other arguments are constants."""
    return executed(lambda mb, **found: getattr(mb, kind)(**found, **constants), inputs, target)


def through_file(cases: Iterable[Case], target: str = NEWEST) -> dict[str, list[Array]]:
    """What one program of all cases gives when it is saved, read back and interpreted: the results of each by name."""
    cases = list(cases)
    flat = {f"{case.name}_{key}_{i}": one for case in cases for key, i, one in _each(case)}
    counts: list[int] = []

    def build(mb: Any, **found: Any) -> Any:
        results = []
        for case in cases:
            given = {key: found[f"{case.name}_{key}_0"] for key in case.inputs}
            given |= {
                key: [found[f"{case.name}_{key}_{i}"] for i in range(len(value))]
                for key, value in case.inputs.items()
                if isinstance(value, list)
            }
            made = getattr(mb, case.kind)(**given, **case.constants)
            made = list(made) if isinstance(made, tuple | list) else [made]
            counts.append(len(made))
            results += [mb.identity(x=one) for one in made]
        return tuple(results)

    results = iter(executed(build, flat, target))
    return {case.name: [next(results) for _ in range(count)] for case, count in zip(cases, counts, strict=True)}


def in_both(cases: Iterable[Case]) -> dict[str, dict[str, list[Array]]]:
    """What `through_file` gives for the cases in float32, and for their float16 twins, by element type."""
    cases = list(cases)
    return {
        "float32": through_file(cases),
        "float16": through_file([in_float16(case) for case in cases], "iOS17"),
    }


def executed(build: Build, inputs: Mapping[str, Array], target: str = NEWEST) -> list[Array]:
    """What the program gives when it is saved, read back and interpreted, in the order that `build` gives."""
    program = reloaded(build, inputs, target)
    found = Interpreter(program).run(inputs)
    return [found[name] for name in program.outputs]


def reloaded(build: Build, inputs: Mapping[str, Array], target: str = NEWEST) -> Program:
    """The program as it stands in its file."""
    with tempfile.TemporaryDirectory() as folder:
        return read_program(saved(build, inputs, Path(folder) / "one.mlpackage", target))


def saved(build: Build, inputs: Mapping[str, Array], package: Path, target: str = NEWEST) -> Path:
    """A package on disk whose program has every operation that `build` made and nothing more."""
    ct = import_coremltools()
    gc.freeze()  # ct.convert collects garbage, and walks all of torch for it: half of its time
    try:
        model = ct.convert(
            _program(build, inputs, getattr(ct.target, target)),
            convert_to="mlprogram",
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            minimum_deployment_target=getattr(ct.target, target),
        )
    finally:
        gc.unfreeze()
    model.save(str(package))
    return package


def inferred(kind: str, target: str = NEWEST, **values: Any) -> list[Array]:
    """What coremltools computes for an operation whose arguments are all constants: an opinion apart from ours.

    Raises:
        AssertionError: coremltools has no such opinion for the operation.
    """
    ct = import_coremltools()
    held: list[Array] = []

    def build(mb: Any) -> Any:
        found = getattr(mb, kind)(**values)
        results = found if isinstance(found, tuple | list) else [found]
        assert all(one.val is not None for one in results), f"coremltools does not compute {kind}"
        held.extend(np.asarray(one.val) for one in results)
        return results[0]

    _program(build, {}, getattr(ct.target, target))
    return held


def computed(operation: str, kind: str, /, **values: Any) -> Array:
    """What a kernel alone gives for arrays, numbers, strings and lists of them, held as elements of MIL type `kind`."""
    result = all_kernels()[operation]({key: _value(one) for key, one in values.items()})
    return honoured(result, kind).numpy()  # type: ignore[arg-type]  # an operation of one result


def agree(found: Array, expected: Array, ulps: float = 0) -> None:
    """Hold that the shapes are equal, and the values but for `ulps` units in the last place of the expected type.

    Below 1 the unit is that of 1: a sum such as 1 - 0.999 has lost its last digits before. NaN agrees with NaN alone,
    an infinity with itself.
    """
    expected = np.asarray(expected)
    assert found.shape == expected.shape, f"{found.shape} instead of {expected.shape}"
    if not ulps or not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))
        return
    unit = ulps * float(np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=unit, atol=unit)


def _narrow(value: Any) -> Any:
    if isinstance(value, list):
        return [_narrow(one) for one in value]
    floating = isinstance(value, float) or (isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating))
    with np.errstate(over="ignore"):
        return np.float16(value) if floating else value


def _each(case: Case) -> Iterable[tuple[str, int, Array]]:
    for key, value in case.inputs.items():
        for i, one in enumerate(value if isinstance(value, list) else [value]):
            yield key, i, one


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return [from_array(one) for one in value]
    return from_array(np.asarray(value))


def _program(build: Build, inputs: Mapping[str, Array], target: Any) -> Any:
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, types
    from coremltools.converters.mil.mil import Program as Written

    declared = {
        name: mb.placeholder(shape=array.shape, dtype=types.numpy_type_to_builtin_type(array.dtype))
        for name, array in inputs.items()
    }
    program = Written()
    with Function(declared, opset_version=target) as function:
        found = build(mb, **function.inputs)
        function.set_outputs(list(found) if isinstance(found, tuple | list) else [found])
        program.add_function("main", function)
    return program
