"""TorchScript -> a file for PyTorch's lite interpreter (`.ptl`), the small runtime inside PyTorch Mobile.

    before: a TorchScript module
    after:  bytecode and constants that `torch.jit.mobile` and the Android and iOS libraries load

Rules:

1. Where torch was built with XNNPACK, `optimize_for_mobile` packs convolutions and linear layers for it. Such a file
   runs only where XNNPACK is built in, as it is in the mobile libraries.
2. Where it was not (the published Linux builds), the module is written as it came. The notes say which of the two.
3. Paths of the tracing machine's Python lines are dropped from the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import ConversionError
from converter.records import Artifact, Recipe
from converter.torchscript_file import deprecation_known, load_module, strip_source_positions

FORMAT = "torchscript_lite"
ACCEPTS = ("torchscript",)
REQUIRES = ("torch",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the file for the lite interpreter is made."""

    optimize_for_mobile: bool = True
    """Pack for XNNPACK where this torch can; turn it off to get the same bytes from every build of torch."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.ptl` into `out_dir`.

    Raises:
        ConversionError: a recipe was given, or the parent does not load.
    """
    if recipe is not None and recipe.precision != "fp32":
        message = f"recipe '{recipe.name}' asks for {recipe.precision}, but this stage writes float32 only"
        raise ConversionError(message)
    module, note = _optimized(load_module(parent.path), wanted=options.optimize_for_mobile)
    path = out_dir / f"{parent.tower}.ptl"
    with deprecation_known():
        module._save_for_lite_interpreter(str(path))
    strip_source_positions(path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="torchscript",
        tower=parent.tower,
        precision="fp32",
        inputs=parent.inputs,
        outputs=parent.outputs,
        notes=(*parent.notes, note),
    )


def _optimized(module: Any, *, wanted: bool) -> tuple[Any, str]:
    """The module to write, and what was done to it (rules 1 and 2)."""
    import torch
    import torch.backends.xnnpack

    xnnpack: Any = torch.backends.xnnpack
    if not wanted:
        return module, "optimize_for_mobile not asked for"
    if not xnnpack.enabled:
        return module, f"optimize_for_mobile not applied: torch {torch.__version__} was built without XNNPACK"
    from torch.utils.mobile_optimizer import optimize_for_mobile

    with deprecation_known():
        return optimize_for_mobile(module), "optimize_for_mobile applied: needs a runtime with XNNPACK"
