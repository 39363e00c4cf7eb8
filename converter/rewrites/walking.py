"""Walking through a module tree: replace modules, and find the shapes that they see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Replacement = Callable[[str, nn.Module], nn.Module | None]
Shape = tuple[int, ...]


def replace_modules(root: nn.Module, replacement: Replacement) -> nn.Module:
    """Replace every module below `root`, and `root` itself, for which `replacement(path, module)` gives another one.

    What was put in place is not searched again.
    """
    new = replacement("", root)
    if new is not None:
        return new
    _replace_children(root, "", replacement)
    return root


def holds(root: nn.Module, kind: Callable[[nn.Module], bool]) -> bool:
    """Whether any module of the tree, `root` included, is of this kind."""
    return any(kind(module) for module in root.modules())


def input_shapes(root: nn.Module, example: torch.Tensor, kind: Callable[[nn.Module], bool]) -> dict[str, Shape]:
    """Shape of the first argument of every module of this kind, by its path, from one run of `root` on `example`."""
    shapes: dict[str, Shape] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            shapes[path] = tuple(arguments[0].shape)

        return hook

    handles = [module.register_forward_pre_hook(note(path)) for path, module in root.named_modules() if kind(module)]
    try:
        with torch.no_grad():
            root(example)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _replace_children(parent: nn.Module, prefix: str, replacement: Replacement) -> None:
    for name, child in list(parent.named_children()):
        path = f"{prefix}.{name}" if prefix else name
        new = replacement(path, child)
        if new is None:
            _replace_children(child, path, replacement)
        else:
            setattr(parent, name, new)
