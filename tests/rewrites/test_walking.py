from __future__ import annotations

import torch
from torch import nn

from converter.rewrites.walking import holds, input_shapes, replace_modules


def _tree() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 4)))


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def test_replaces_at_every_depth_and_names_the_path() -> None:
    """Modules are found wherever they are, and the replacement is told where."""
    seen = []

    def replacement(path: str, module: nn.Module) -> nn.Module | None:
        if not _is_linear(module):
            return None
        seen.append(path)
        return nn.Identity()

    tree = replace_modules(_tree(), replacement)

    assert seen == ["0", "1.1"]
    assert not holds(tree, _is_linear)


def test_the_root_can_be_replaced() -> None:
    """A tower that is itself of the kind comes back as another one."""
    root = replace_modules(nn.ReLU(), lambda _, module: nn.Identity() if isinstance(module, nn.ReLU) else None)

    assert isinstance(root, nn.Identity)


def test_shapes_are_those_of_a_run_and_leave_no_hook() -> None:
    """Shapes come from one run; afterwards the tree is as it was."""
    tree = _tree()

    shapes = input_shapes(tree, torch.zeros(5, 2), _is_linear)

    assert shapes == {"0": (5, 2), "1.1": (5, 3)}
    assert not any(module._forward_pre_hooks for module in tree.modules())
