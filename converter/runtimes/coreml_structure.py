"""Look into a Core ML package for what its figures cannot tell.

Executing it on samples is blind to one flipped bit of a weight, to an epsilon of 1e-6 for 1e-5, and to what a program
says of itself. So, beside its execution:

1. It parses, is an ML Program, and its specification version belongs to the system that it was made for.
2. It declares the artifact's inputs and outputs, and the program inside has the same.
3. Every weight is finite, and equal to a weight of the parent once that is rounded to the same type; a compressed one
   is what the parent's weight gives when it is compressed once more, number by number. What is quantized on the way is
   unpacked by the same scale.
4. No weight of the parent is missing, and none in the file is left unread.
5. It has as many convolutions, products, norms, softmaxes and activations as the parent's graph.
6. Those, its reductions, transposes and clamps are told the same: strides and pads, axes, modes, epsilons.

What they compute together, in which order and on which of their inputs, is for the execution to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.coreml_package import PRECISION_KEY, TARGET_KEY, TARGETS, TOWER_KEY
from converter.errors import ConversionError
from converter.mil.program import Operation, Program, read_program
from converter.records import Artifact, StructureCheck, TensorSpec
from converter.runtimes.coreml_attributes import attribute_problems
from converter.runtimes.coreml_compressed import code_constants, code_problems, coded_weights, match_coded
from converter.runtimes.coreml_counts import count_problems
from converter.runtimes.coreml_weights import Array, Match, match_weights, unused_parents
from converter.torchscript_file import deprecation_known, load_module

SHOWN = 5
"""Problems of one kind that are listed before the rest is counted."""


def check_package(artifact: Artifact, parent: Artifact) -> StructureCheck:
    """All checks of the package at `artifact.path` against the TorchScript file at `parent.path`.

    Raises:
        ConversionError: the parent does not load. What is wrong with the package is a problem in the result.
    """
    module = _frozen(parent)
    try:
        program = read_program(Path(artifact.path))
    except ConversionError as error:
        return StructureCheck(ops=0, tensors=0, max_abs=0.0, problems=(str(error),))
    parents = _constants_of(module)
    plain, coded = _plain_weights(program), coded_weights(program)
    matches = (*match_weights(plain, parents), *match_coded(program, parents))
    weights = plain | {one.name: one.values for one in coded}
    problems = [
        *_version_problems(program, artifact),
        *_interface_problems(program, artifact),
        *_weight_problems(weights, matches, parents),
        *_listed(code_problems(program)),
        *_unread_problems(program),
        *count_problems(program, module.graph),
        *_listed(attribute_problems(program, module.graph)),
    ]
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


def _constants_of(module: Any) -> dict[str, Array]:
    """Float tensors of the frozen graph, by name."""
    import torch

    found = {}
    for node in module.graph.findAllNodes("prim::Constant"):
        value = node.output().toIValue()
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            found[node.output().debugName()] = value.detach().numpy()
    return found


def _plain_weights(program: Program) -> dict[str, Array]:
    """Float constants of more than one value, wherever the file keeps them; single values are not weights."""
    codes = code_constants(program)
    return {
        name: value
        for name, value in program.constants.items()
        if isinstance(value, np.ndarray) and value.size > 1 and np.issubdtype(value.dtype, np.floating)
        and name not in codes
    }  # fmt: skip


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


def _weight_problems(
    weights: Mapping[str, Array], matches: tuple[Match, ...], parents: Mapping[str, Array]
) -> Iterator[str]:
    """Checks 3 and 4."""
    yield from _listed(f"weight {name} is not finite" for name, values in weights.items() if not _finite(values))
    yield from _listed(
        f"weight {one.constant} differs from the parent's {one.parent} in {one.differing} of"
        f" {weights[one.constant].size} values, by up to {one.max_abs:g}"
        for one in matches
        if one.differing
    )
    # a linear without bias gets one of zeros
    yield from _listed(
        f"weight {one.constant} {list(weights[one.constant].shape)} is like no tensor of the parent"
        for one in matches
        if one.parent is None and np.any(weights[one.constant])
    )
    missing = unused_parents(matches, parents)
    yield from _listed(f"the parent's {name} {list(parents[name].shape)} is not in the file" for name in missing)


def _unread_problems(program: Program) -> Iterator[str]:
    """The other half of check 4: a weight that no operation takes, such as the bias of a linear that lost it."""
    read = {*program.outputs, *_read_names(program.operations)}
    yield from _listed(
        f"weight {name} is in the file, but no operation reads it" for name in program.weights if name not in read
    )


def _read_names(operations: Sequence[Operation]) -> Iterator[str]:
    for operation in operations:
        yield from (name for names in operation.inputs.values() for name in names)
        for block in operation.blocks:
            yield from (*_read_names(block.operations), *block.outputs)


def _finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def _listed(problems: Iterator[str]) -> Iterator[str]:
    """The first few, and how many more."""
    every = list(problems)
    yield from every[:SHOWN]
    if len(every) > SHOWN:
        yield f"... and {len(every) - SHOWN} more like this"
