"""Recurrent layers: one step after the other along the first axis, `(steps, batch, features)`.

In direction "reverse" the last step comes first, and results stand in the order in which they were computed; of a
"bidirectional" layer both halves stand in the order of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from converter.mil.ops import Arguments, Kernel

type Activation = Callable[[torch.Tensor], torch.Tensor]
type States = tuple[torch.Tensor, ...]

HARD_SLOPE, HARD_SHIFT = 0.2, 0.5
"""Of the hard sigmoid: the specification names it without figures; coremltools' tests on Core ML expect these."""


def kernels() -> dict[str, Kernel]:
    """Kernels by operation."""
    return {"rnn": _rnn, "gru": _gru, "lstm": _lstm}


def _rnn(a: Arguments) -> States:
    """MIL `rnn`: `h = activation(W_ih x + W_hh h + bias)`; gives every state or the last, and the last.

    Defaults: bias 0, direction "forward", output_sequence false, activation "tanh".
    """
    activation = _activation(a, "activation", "tanh")

    def step(x: torch.Tensor, states: States) -> States:
        return (activation(x @ a["weight_ih"].T + states[0] @ a["weight_hh"].T + _bias(a, "bias")),)

    every, (last,) = _run(a["x"], (a["initial_h"],), step, reverse=_is_reverse(a))
    return _sequence(a, every), last


def _gru(a: Arguments) -> States:
    """MIL `gru`, gates in the order reset, output, update: `h = (1 - z) * o + z * h`.

    `r` and `z` are `recurrent_activation(W x + R h + bias)`, and `o` is `activation(W x + R (r * h) + bias)`, or with
    `reset_after` `activation(W x + input_bias + r * (R h + bias))`. Defaults: biases 0, direction "forward",
    output_sequence and reset_after false, recurrent_activation "sigmoid", activation "tanh".
    """
    gate, activation = _activation(a, "recurrent_activation", "sigmoid"), _activation(a, "activation", "tanh")
    size = a["weight_hh"].shape[1]
    hidden = a["weight_hh"].split(size)
    bias, input_bias = (_split_bias(a, key, size, 3) for key in ("bias", "input_bias"))

    def step(x: torch.Tensor, states: States) -> States:
        (h,) = states
        of_input = [one + shift for one, shift in zip((x @ a["weight_ih"].T).split(size, -1), input_bias, strict=True)]
        r = gate(of_input[0] + h @ hidden[0].T + bias[0])
        z = gate(of_input[2] + h @ hidden[2].T + bias[2])
        after = bool(a.get("reset_after", False))
        of_state = r * (h @ hidden[1].T + bias[1]) if after else (r * h) @ hidden[1].T + bias[1]
        return ((1.0 - z) * activation(of_input[1] + of_state) + z * h,)

    every, (last,) = _run(a["x"], (a["initial_h"],), step, reverse=_is_reverse(a))
    return _sequence(a, every), last


def _lstm(a: Arguments) -> States:
    """MIL `lstm`, gates in the order input, forget, output, cell: `c = f * c + i * z`, `h = o * activation(c)`.

    `i`, `f` and `o` are `recurrent_activation`, `z` is `cell_activation` of `W x + R h + bias`. Peepholes add `p * c`,
    of the new cell for `o`; `clip` bounds the cell. Gives every state or the last, the last state, the last cell; of a
    bidirectional layer forward and backward side by side. Defaults: bias and peephole 0, direction "forward",
    output_sequence false, recurrent_activation "sigmoid", the others "tanh", no clip.
    """
    import torch

    if a.get("direction", "forward") != "bidirectional":
        every, (h, c) = _run(a["x"], (a["initial_h"], a["initial_c"]), _lstm_step(a, ""), reverse=_is_reverse(a))
        return _sequence(a, every), h, c
    starts = [start.chunk(2, dim=-1) for start in (a["initial_h"], a["initial_c"])]
    ahead, (h, c) = _run(a["x"], (starts[0][0], starts[1][0]), _lstm_step(a, ""), reverse=False)
    back, (h_back, c_back) = _run(a["x"], (starts[0][1], starts[1][1]), _lstm_step(a, "_back"), reverse=True)
    states = torch.cat([h, h_back], -1)
    every = torch.cat([ahead, back.flip(0)], -1) if bool(a.get("output_sequence", False)) else states.unsqueeze(0)
    return every, states, torch.cat([c, c_back], -1)


def _lstm_step(a: Arguments, side: str) -> Callable[[torch.Tensor, States], States]:
    """One step with the weights of one side: "" is forward, "_back" backward."""
    gate, inner, outer = (
        _activation(a, key, default)
        for key, default in (("recurrent_activation", "sigmoid"), ("cell_activation", "tanh"), ("activation", "tanh"))
    )
    weight, hidden = a[f"weight_ih{side}"], a[f"weight_hh{side}"]
    size = hidden.shape[1]
    peephole = _split_bias(a, f"peephole{side}", size, 3)
    bias = _bias(a, f"bias{side}")

    def step(x: torch.Tensor, states: States) -> States:
        h, c = states
        i, f, o, z = (x @ weight.T + h @ hidden.T + bias).split(size, -1)
        c = gate(f + peephole[1] * c) * c + gate(i + peephole[0] * c) * inner(z)
        c = c if a.get("clip") is None else c.clamp(-float(a["clip"]), float(a["clip"]))
        return gate(o + peephole[2] * c) * outer(c), c

    return step


def _run(
    x: torch.Tensor, states: States, step: Callable[[torch.Tensor, States], States], *, reverse: bool
) -> tuple[torch.Tensor, States]:
    """The first state after every step, in the order of computing, and all states after the last."""
    import torch

    every = []
    for one in x.flip(0) if reverse else x:
        states = step(one, states)
        every.append(states[0])
    return torch.stack(every), states


def _sequence(a: Arguments, every: torch.Tensor) -> torch.Tensor:
    return every if bool(a.get("output_sequence", False)) else every[-1:]


def _is_reverse(a: Arguments) -> bool:
    direction = a.get("direction", "forward")
    if direction not in ("forward", "reverse"):
        message = f"direction {direction}; known are forward and reverse, and bidirectional for lstm"
        raise ValueError(message)
    return bool(direction == "reverse")


def _bias(a: Arguments, key: str) -> Any:
    return 0.0 if a.get(key) is None else a[key]


def _split_bias(a: Arguments, key: str, size: int, count: int) -> tuple[Any, ...]:
    return (0.0,) * count if a.get(key) is None else a[key].split(size)


def _activation(a: Arguments, key: str, default: str) -> Activation:
    name = a.get(key, default).lower()
    known = _activations()
    if name not in known:
        message = f"activation {name}; known are {', '.join(known)}"
        raise ValueError(message)
    return known[name]


def _activations() -> Mapping[str, Activation]:
    """By their names in MIL. The scaled tanh has no figures there: its scales are 1, as in coremltools' tests."""
    import torch

    def hard(x: torch.Tensor) -> torch.Tensor:
        return (HARD_SLOPE * x + HARD_SHIFT).clamp(0.0, 1.0)

    return {
        "tanh": torch.tanh, "scaled_tanh": torch.tanh, "sigmoid": torch.sigmoid, "hard_sigmoid": hard,
        "sigmoid_hard": hard, "relu": torch.relu, "linear": lambda x: x,
    }  # fmt: skip
