"""PyTorch -> TorchScript: one file that libtorch runs without Python.

    before: traced module with parameters, submodules and training switches
    after:  one flat graph whose weights are constants

Rules:

1. `trace` takes the parent's trace, `script` the scripted twin that lies beside it.
2. Freezing inlines submodules and turns parameters into constants. It is done without torch's numeric folding: the
   rewrites have folded what can be folded, and so the file stays bit-equal to its parent.
3. `torch.jit.optimize_for_inference` is not used: it bakes operators of this machine's oneDNN into the file, which
   then loads on no other kind of processor.
4. Paths of the tracing machine's Python lines are dropped from the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converter.errors import ConversionError
from converter.records import Artifact, Recipe
from converter.torchscript_file import deprecation_known, load_module, strip_source_positions

FORMAT = "torchscript"
ACCEPTS = ("pytorch",)
REQUIRES = ("torch",)

SCRIPTED_NAME = "tower.scripted.pt"
"""Name of the scripted twin in the folder of the traced parent."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the TorchScript file is made."""

    method: Literal["trace", "script"] = "trace"
    """Record one run of the module, or compile its source. A script keeps control flow; these towers have none."""
    freeze: bool = True
    """Make the weights constants of one flat graph. Without it the parameters stay visible by name."""


def unsupported(recipe: Recipe) -> str:
    """Why TorchScript files are float32 (docs/targets/torchscript.md); empty for a recipe that asks for no more."""
    if recipe.precision == "fp32":
        return ""
    return (
        "torch quantizes linear layers of a trace alone, by an interface that it is about to remove, and neither "
        "convolutions nor the embedding; take ONNX, TFLite or Core ML"
    )


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.pt` into `out_dir`.

    Raises:
        ConversionError: a recipe was given, the parent does not load, or the module does not script.
    """
    _refuse_recipe(recipe)
    module = load_module(_source(parent, options.method))
    if options.freeze:
        module = _freeze(module)
    path = out_dir / f"{parent.tower}.pt"
    module.save(str(path))
    strip_source_positions(path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="torchscript",
        tower=parent.tower,
        precision="fp32",
        inputs=parent.inputs,
        outputs=parent.outputs,
        notes=_notes(options),
    )


def _refuse_recipe(recipe: Recipe | None) -> None:
    if recipe is not None and recipe.precision != "fp32":
        message = (
            f"recipe '{recipe.name}' asks for {recipe.precision}, but this stage writes float32 only; "
            "remove the recipe from the target's row"
        )
        raise ConversionError(message)


def _source(parent: Artifact, method: str) -> Path:
    """Rule 1."""
    traced = Path(parent.path)
    if method == "trace":
        return traced
    scripted = traced.with_name(SCRIPTED_NAME)
    if not scripted.is_file():
        message = (
            f"{scripted}: no such file, so the {parent.tower} tower does not script "
            "(torch.jit.script refused it when the reference was made); use method: trace"
        )
        raise ConversionError(message)
    return scripted


def _freeze(module: Any) -> Any:
    """Rule 2."""
    import torch

    with deprecation_known():
        return torch.jit.freeze(module, optimize_numerics=False)


def _notes(options: Options) -> tuple[str, ...]:
    made = "traced (torch.jit.trace)" if options.method == "trace" else "scripted (torch.jit.script)"
    frozen = "frozen, weights are constants" if options.freeze else "not frozen, parameters keep their names"
    return (made, frozen, "source positions removed")
