"""Check a Core ML package on a machine that cannot execute it.

1. It parses, is an ML Program, and its specification version belongs to the system that it was made for.
2. It declares the artifact's inputs and outputs, and the program inside has the same.
3. Every weight is finite, and equal to a weight of the parent once that is rounded to the same type.
4. No weight of the parent is missing.
5. It has as many convolutions, products, norms, softmaxes and activations as the parent's graph.
6. Evaluated with PyTorch's kernels, it computes what the parent computes, and no value that it keeps in float16 is
   too large for that.

None of this is execution by Core ML. What only a Mac or a phone can tell: that Core ML compiles the program, what its
float16 arithmetic does, and where it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import PRECISION_KEY, TARGET_KEY, TARGETS, TOWER_KEY
from converter.errors import ConversionError
from converter.records import Artifact, StructureCheck, TensorSpec
from converter.runtimes.coreml_counts import count_problems
from converter.runtimes.coreml_evaluation import evaluate
from converter.runtimes.coreml_program import Program, read_program
from converter.runtimes.coreml_weights import Array, Match, match_weights, unused_parents
from converter.torchscript_file import deprecation_known, load_module

SAMPLES = 2
"""Inputs that the program is evaluated on."""
SQUARES = 8
"""Coloured squares along each side of such an input."""
EVALUATION_LIMIT = 2e-5
"""Largest difference of a unit-length embedding. Both sides hold the same weights and compute in float32. On
MobileCLIP-S1 with seeded weights they differed by at most 4.2e-6; one exact GELU of 50 replaced by its tanh form gave
3e-4, two linears with exchanged weights 3e-2."""
SHOWN = 5
"""Problems of one kind that are listed before the rest is counted."""


def check_package(artifact: Artifact, parent: Artifact) -> StructureCheck:
    """All six checks of the package at `artifact.path` against the TorchScript file at `parent.path`.

    Raises:
        ConversionError: the parent does not load. What is wrong with the package is a problem in the result.
    """
    module = _frozen(parent)
    try:
        program = read_program(Path(artifact.path))
    except ConversionError as error:
        return StructureCheck(ops=0, tensors=0, max_abs=0.0, problems=(str(error),))
    tensors = _constants_of(module)
    parents = {name: tensor.numpy() for name, tensor in tensors.items()}
    matches = match_weights(_float_constants(program), parents)
    interface = tuple(_interface_problems(program, artifact))
    problems = [
        *_version_problems(program, artifact),
        *interface,
        *_weight_problems(program, matches, parents),
        *count_problems(program, module.graph),
    ]
    if not interface:  # otherwise there is no telling what to feed it
        _round_like(program, matches, tensors)
        problems += _evaluation_problems(program, module, artifact)
    return StructureCheck(
        ops=len(program.operations),
        tensors=sum(match.parent is not None for match in matches),
        max_abs=max((match.max_abs for match in matches), default=0.0),
        problems=tuple(problems),
    )


def _frozen(parent: Artifact) -> Any:
    """The parent with every weight that it uses as a constant of one graph."""
    import torch

    module = load_module(parent.path)
    with deprecation_known():
        return torch.jit.freeze(module, optimize_numerics=False)


def _constants_of(module: Any) -> dict[str, Any]:
    """Float tensors of the frozen graph, by name; they share their memory with it."""
    import torch

    found = {}
    for node in module.graph.findAllNodes("prim::Constant"):
        value = node.output().toIValue()
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            found[node.output().debugName()] = value.detach()
    return found


def _float_constants(program: Program) -> dict[str, Array]:
    """Float constants of more than one value, wherever the file keeps them; single values are not weights."""
    return {
        name: value
        for name, value in program.constants.items()
        if isinstance(value, np.ndarray) and value.size > 1 and np.issubdtype(value.dtype, np.floating)
    }


def _version_problems(program: Program, artifact: Artifact) -> Iterator[str]:
    """Check 1, with what the package says of itself."""
    said = {key: program.metadata.get(key, "nothing") for key in (TOWER_KEY, PRECISION_KEY)}
    expected = {TOWER_KEY: artifact.tower, PRECISION_KEY: artifact.precision}
    for key in said:
        if said[key] != expected[key]:
            yield f"metadata {key} says {said[key]}, expected {expected[key]}"
    target = program.metadata.get(TARGET_KEY, "nothing")
    seen = (program.specification_version, program.opset)
    if TARGETS.get(target) != seen:
        yield f"specification {seen[0]} with {seen[1]} does not belong to deployment target {target}: {TARGETS}"


def _interface_problems(program: Program, artifact: Artifact) -> Iterator[str]:
    """Check 2."""
    sides = (
        ("input", artifact.inputs, program.declared_inputs, program.inputs),
        ("output", artifact.outputs, program.declared_outputs, program.outputs),
    )
    for kind, expected, declared, inside in sides:
        wanted, seen = [_words(spec) for spec in expected], [_words(spec) for spec in declared]
        if wanted != seen:
            yield f"{kind}s are declared as {', '.join(seen)}; expected {', '.join(wanted)}"
        names = tuple(spec.name for spec in declared)
        if names != inside:
            yield f"{kind}s are declared as {', '.join(names)}, the program's are {', '.join(inside)}"


def _words(spec: TensorSpec) -> str:
    kind = f" {spec.layout}" if spec.layout.endswith("image") else ""
    return f"{spec.name} {spec.dtype}{list(spec.shape)}{kind}"


def _weight_problems(program: Program, matches: tuple[Match, ...], parents: Mapping[str, Array]) -> Iterator[str]:
    """Checks 3 and 4."""
    constants = _float_constants(program)
    yield from _listed(f"weight {name} is not finite" for name, values in constants.items() if not _finite(values))
    yield from _listed(
        f"weight {one.constant} differs from the parent's {one.parent} in {one.differing} of"
        f" {constants[one.constant].size} values, by up to {one.max_abs:g}"
        for one in matches
        if one.differing
    )
    # a linear without bias gets one of zeros
    yield from _listed(
        f"weight {one.constant} {list(constants[one.constant].shape)} is like no tensor of the parent"
        for one in matches
        if one.parent is None and np.any(constants[one.constant])
    )
    missing = unused_parents(matches, parents)
    yield from _listed(f"the parent's {name} {list(parents[name].shape)} is not in the file" for name in missing)


def _finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def _listed(problems: Iterator[str]) -> Iterator[str]:
    """The first few, and how many more."""
    every = list(problems)
    yield from every[:SHOWN]
    if len(every) > SHOWN:
        yield f"... and {len(every) - SHOWN} more like this"


def _round_like(program: Program, matches: tuple[Match, ...], tensors: Mapping[str, Any]) -> None:
    """Round the parent's weights in place as the file's are, so that both sides of check 6 hold the same."""
    for match in matches:
        value = program.constants[match.constant]
        if match.parent is not None and isinstance(value, np.ndarray) and value.dtype == np.float16:
            tensors[match.parent].copy_(tensors[match.parent].half().float())


def _evaluation_problems(program: Program, module: Any, artifact: Artifact) -> Iterator[str]:
    """Check 6."""
    rows = []
    for sample in range(SAMPLES):
        arrays = {spec.name: _example(spec, sample, program) for spec in artifact.inputs}
        try:
            ours, theirs = evaluate(program, arrays), _run_parent(module, arrays)
        except (ConversionError, RuntimeError) as error:
            yield f"evaluated with PyTorch: {error}"
            return
        yield from _listed(
            f"{name} overflows float16 on sample {sample}; name its operation in keep_float32"
            for name in ours.overflowing
        )
        rows.append((_joined(list(ours.outputs.values())), theirs))
    yield from _differences(rows)


def _example(spec: TensorSpec, sample: int, program: Program) -> Array:
    """A seeded input: coloured squares under noise, or tokens whose last one, the largest id, ends the text."""
    generator = np.random.default_rng(sample)
    shape = tuple(int(size) for size in spec.shape)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return _picture(generator, shape, *(spec.value_range or (0.0, 1.0))).astype(spec.dtype)
    if spec.dtype == "uint8":
        return np.rint(_picture(generator, shape, 0.0, 255.0)).astype(np.uint8)
    vocabulary = max((value.shape[0] for value in _tables(program)), default=2)
    tokens = generator.integers(1, vocabulary - 1, shape).astype(spec.dtype)
    tokens[..., shape[-1] // (sample + 2) :] = 0
    tokens[..., shape[-1] // (sample + 2)] = vocabulary - 1
    return tokens


def _picture(generator: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Large even areas as photographs have; pure noise drives activations to where photographs never do."""
    coarse = generator.random((*shape[:-2], SQUARES, SQUARES))
    rows, columns = (np.arange(size) * SQUARES // size for size in shape[-2:])
    fine = generator.random(shape)
    return low + (high - low) * (0.9 * coarse[..., rows[:, None], columns] + 0.1 * fine)


def _tables(program: Program) -> Iterator[Array]:
    for operation in program.operations:
        if operation.kind == "gather":
            table = program.constants.get(operation.inputs["x"][0])
            if isinstance(table, np.ndarray):
                yield table


def _run_parent(module: Any, arrays: Mapping[str, Array]) -> Array:
    import torch

    with torch.no_grad():
        returned = module(*(torch.from_numpy(array) for array in arrays.values()))
    values = returned if isinstance(returned, tuple | list) else (returned,)
    return _joined([value.numpy() for value in values])


def _joined(values: list[Array]) -> Array:
    return np.concatenate([value.reshape(-1) for value in values])


def _differences(rows: list[tuple[Array, Array]]) -> Iterator[str]:
    spread = max(float(np.abs(theirs - rows[0][1]).max()) for _, theirs in rows)
    if not spread > EVALUATION_LIMIT:
        yield f"evaluated with PyTorch: the parent cannot tell two inputs apart (they differ by {spread:g})"
    for sample, (ours, theirs) in enumerate(rows):
        if ours.shape != theirs.shape:
            yield f"evaluated with PyTorch: {ours.size} values on sample {sample}, the parent gives {theirs.size}"
            continue
        worst = float(np.abs(ours - theirs).max())
        if not worst <= EVALUATION_LIMIT:
            yield f"evaluated with PyTorch: {worst:g} from the parent on sample {sample}, bound {EVALUATION_LIMIT:g}"
