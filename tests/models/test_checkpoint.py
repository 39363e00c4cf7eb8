"""Checkpoints load whole and strictly, run no code, and are told what is wrong with them."""

from __future__ import annotations

import dataclasses
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from converter.errors import WeightsError
from converter.models.building import signature
from converter.models.checkpoint import load_weights, logit_scale, read_state_dict
from converter.models.layout_rules import to_theirs
from converter.models.layouts import APPLE
from converter.records import ModelSpec, Weights
from tests.tiny import tiny_clip

type State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """The state of a toy model with weights of its own."""
    return dict(tiny_clip(seed=3).state_dict())


def weights_at(path: Path) -> Weights:
    """Weights as a user gives them."""
    return Weights(kind="file", path=str(path), sha256="", trained=True)


def load(path: Path, spec: ModelSpec, known: tuple[ModelSpec, ...] = ()) -> Any:
    """A toy model with other weights, into which those at `path` are loaded."""
    model = tiny_clip(seed=4)
    load_weights(model, weights_at(path), spec, known)
    return model


def holds(model: Any, state: State) -> bool:
    """Whether the model has exactly these values."""
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_safetensors_load(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """Every tensor arrives; a model with its first weights would show."""
    save_file(state, tmp_path / "w.safetensors")

    assert holds(load(tmp_path / "w.safetensors", spec), state)
    assert not holds(tiny_clip(seed=4), state)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pickled_checkpoints_load(
    spec: ModelSpec, tmp_path: Path, state: State, suffix: str, wrapper: str | None, prefix: str
) -> None:
    """Bare, wrapped by a training script, and named by DataParallel."""
    named = {f"{prefix}{name}": value for name, value in state.items()}
    torch.save({wrapper: named, "epoch": 9} if wrapper else named, tmp_path / f"w{suffix}")

    assert holds(load(tmp_path / f"w{suffix}", spec), state)


def test_half_precision_is_widened(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """The model stays float32 and holds the rounded values."""
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    torch.save(halves, tmp_path / "w.pt")

    model = load(tmp_path / "w.pt", spec)

    assert model.logit_scale.dtype == torch.float32
    assert holds(model, {name: value.to(state[name].dtype) for name, value in halves.items()})


class Code:
    """A pickle that runs a shell command where it is loaded carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, "torch"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, protocol: int | str) -> None:
    """In a bare pickle and in torch's own archive; the message says that it was not run."""
    marker = tmp_path / "was_run"
    content = {"a": torch.zeros(2), "b": Code(marker)}
    if protocol == "torch":
        torch.save(content, tmp_path / "w.pt")
    else:
        (tmp_path / "w.pt").write_bytes(pickle.dumps(Code(marker), protocol=int(protocol)))

    with pytest.raises(WeightsError, match="w.pt") as refusal:
        read_state_dict(tmp_path / "w.pt")

    assert not marker.exists()
    if protocol != 0:
        assert "contains code" in str(refusal.value)
        assert "not run" in str(refusal.value)


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    """Its class would have to be run; the message names it."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")

    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "w.pt")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    """By its contents, whatever it is called."""
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    module.save(str(tmp_path / "w.pt"))

    with pytest.raises(WeightsError, match="TorchScript archive"):
        read_state_dict(tmp_path / "w.pt")


class Nested(torch.nn.Module):
    """A module whose state is what it is given, so that it can be saved as TorchScript."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for name, tensor in state.items():
            if "." not in name:
                self.register_buffer(name, tensor)
        for head in dict.fromkeys(name.partition(".")[0] for name in state if "." in name):
            below = {
                name.removeprefix(f"{head}."): value for name, value in state.items() if name.startswith(f"{head}.")
            }
            self.add_module(head, Nested(below))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        return x


class OnLoading(torch.nn.Module):
    """A module that runs a program of its own when its archive is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_final = torch.nn.LayerNorm(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        return self.ln_final(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        """What `__setstate__` gets."""
        return self.ln_final.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        """The program."""
        self.training = state[1]


def test_openais_archive_loads(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """TorchScript with OpenAI's names, in float16, with three settings among the weights."""
    halves = {name.removeprefix("text."): half(value) for name, value in state.items()}
    settings = {name: torch.tensor(64) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.jit.script(Nested(halves | settings)).save(str(tmp_path / "w.pt"))

    model = load(tmp_path / "w.pt", spec)

    assert model.text.token_embedding.weight.dtype == torch.float32
    assert holds(model, {name: half(value).to(value.dtype) for name, value in state.items()})


def half(value: torch.Tensor) -> torch.Tensor:
    """In float16, where it has a fraction."""
    return value.half() if value.is_floating_point() else value


def test_an_archive_with_a_program_for_loading_is_refused_before(tmp_path: Path, monkeypatch: Any) -> None:
    """OpenAI's have none; nothing of it is read."""
    torch.jit.script(OnLoading()).save(str(tmp_path / "w.pt"))
    monkeypatch.setattr(torch.jit, "load", None)

    with pytest.raises(WeightsError, match="TorchScript archive"):
        read_state_dict(tmp_path / "w.pt")


def test_apples_layout_loads(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """The same tensors under the names of Apple's package, whose head has no bias."""
    plain = state | {"visual.trunk.head.fc.bias": torch.zeros_like(state["visual.trunk.head.fc.bias"])}
    theirs = to_theirs(APPLE[0], plain)
    torch.save(theirs, tmp_path / "w.pt")

    assert not theirs.keys() & state.keys() - {"logit_scale"}
    assert holds(load(tmp_path / "w.pt", spec), plain)


def test_a_broken_checkpoint_in_apples_layout_is_explained(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """What is missing, and whose names the file has."""
    plain = state | {"visual.trunk.head.fc.bias": torch.zeros_like(state["visual.trunk.head.fc.bias"])}
    theirs = to_theirs(APPLE[0], plain)
    del theirs["text_encoder.final_layer_norm.weight"]
    torch.save(theirs, tmp_path / "w.pt")

    with pytest.raises(
        WeightsError, match=r"1 missing \(text\.ln_final\.weight\).* names are those of Apple's package"
    ):
        load(tmp_path / "w.pt", spec)


def test_apples_file_of_another_model_says_which(specs: Mapping[str, ModelSpec], tmp_path: Path) -> None:
    """S2 in Apple's layout is told from S1 as in open_clip's."""
    content = {name: torch.zeros(shape, dtype=torch.uint8) for name, shape in signature(specs["mobileclip_s2"])}
    torch.save(to_theirs(APPLE[0], content), tmp_path / "w.pt")
    known = tuple(specs[name] for name in ("mobileclip_s1", "mobileclip_s2"))

    with pytest.raises(WeightsError, match="It looks like MobileCLIP-S2; use --model mobileclip_s2"):
        load(tmp_path / "w.pt", specs["mobileclip_s1"], known)


class ImageHalf(torch.nn.Module):
    """A model that has an image tower and no text tower."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = tiny_clip(seed=4).visual


def test_an_image_tower_takes_its_half_of_a_clip(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """The text tower's tensors are left out."""
    save_file(state, tmp_path / "w.safetensors")
    model = ImageHalf()

    load_weights(model, weights_at(tmp_path / "w.safetensors"), spec, ())

    assert holds(model, state)


def test_an_image_tower_takes_timms_names(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """A checkpoint of the trunk alone, with a classifier that the model has not."""
    trunk = {name.removeprefix("visual.trunk."): value for name, value in state.items() if name.startswith("visual.")}
    save_file(trunk | {"classifier.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    model = ImageHalf()

    load_weights(model, weights_at(tmp_path / "w.safetensors"), spec, ())

    assert holds(model, state)


def test_an_image_tower_with_a_missing_tensor_is_refused(spec: ModelSpec, tmp_path: Path, state: State) -> None:
    """Twin: leaving out is for what the model has not."""
    name = "visual.trunk.head.fc.weight"
    save_file({key: value for key, value in state.items() if key != name}, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match="1 missing"):
        load_weights(ImageHalf(), weights_at(tmp_path / "w.safetensors"), spec, ())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, state: State, suffix: str, share: float) -> None:
    """Wherever it was cut; the message gives its size and says to copy it again."""
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(WeightsError, match=r"bytes\) is not a whole .* checkpoint.*download it again"):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_a_foreign_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """A web page, a text, an archive of something else."""
    path = tmp_path / f"w{suffix}"
    for content in (b"<!DOCTYPE html><html></html>" * 50, b"hello", b"\x00" * 5000):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is not a whole"):
            read_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")

    with pytest.raises(WeightsError, match="is not a whole"):
        read_state_dict(path)


def test_a_git_lfs_pointer_is_recognized(tmp_path: Path) -> None:
    """It is what a clone without git-lfs leaves."""
    (tmp_path / "w.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4c44\nsize 3\n")

    with pytest.raises(WeightsError, match="git lfs pull"):
        read_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"a": 3}, [1, 2], {1: torch.zeros(1)}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    """A tensor, nothing, numbers, a list, nameless tensors."""
    torch.save(content, tmp_path / "w.pt")

    with pytest.raises(WeightsError, match="expected a state dict"):
        read_state_dict(tmp_path / "w.pt")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """Also where a folder has its name."""
    with pytest.raises(WeightsError, match="no file"):
        read_state_dict(tmp_path)


def test_missing_extra_and_reshaped_tensors_are_counted_and_named(
    spec: ModelSpec, tmp_path: Path, state: State
) -> None:
    """The first few of each kind, and nothing is loaded."""
    changed = {name: value for name, value in state.items() if not name.startswith("text.transformer")}
    changed |= {"head.weight": torch.zeros(2), "logit_scale": torch.zeros(7)}
    save_file(changed, tmp_path / "w.safetensors")
    model = tiny_clip(seed=4)

    with pytest.raises(WeightsError) as refusal:
        load_weights(model, weights_at(tmp_path / "w.safetensors"), spec, ())

    assert "24 missing (text.transformer.resblocks.0" in str(refusal.value)
    assert ", ...)" in str(refusal.value)
    assert "1 unknown (head.weight)" in str(refusal.value)
    assert "1 of another shape (logit_scale is (7,) instead of ())" in str(refusal.value)
    assert holds(model, dict(tiny_clip(seed=4).state_dict()))


@pytest.mark.parametrize(
    ("other", "titles"),
    [
        ("mobileclip2_s0", "MobileCLIP2-S0; use --model mobileclip2_s0"),
        ("mobileclip_b", "MobileCLIP2-B or MobileCLIP-B; use"),
    ],
)
def test_the_message_says_which_model_it_looks_like(
    specs: Mapping[str, ModelSpec], tmp_path: Path, other: str, titles: str
) -> None:
    """S0, whose tensors S1 all has too, is still told from S1; models of equal shapes are all named."""
    content = {name: torch.zeros(shape, dtype=torch.uint8) for name, shape in signature(specs[other])}
    save_file(content, tmp_path / "w.safetensors")
    known = tuple(specs[name] for name in ("mobileclip_s1", "mobileclip2_s0", "mobileclip2_b", "mobileclip_b"))

    with pytest.raises(WeightsError, match=f"It looks like {titles}"):
        load(tmp_path / "w.safetensors", specs["mobileclip_s1"], known)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("image_encoder.model.patch_embed.0.rbr_skip.weight", "names are those of Apple's package mobileclip"),
        ("image_encoder.model.patch_embed.0.reparam_conv.weight", "reparameterized already"),
        ("visual.trunk.stem.0.reparam_conv.weight", "reparameterized already"),
        ("bert.embeddings.weight", "looks like no model known here"),
    ],
)
def test_other_layouts_are_recognized(spec: ModelSpec, tmp_path: Path, name: str, hint: str) -> None:
    """Apple's names, a reparameterized model, and a stranger."""
    save_file({name: torch.zeros(2)}, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match=hint):
        load(tmp_path / "w.safetensors", spec, (spec,))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_inf_are_refused(spec: ModelSpec, tmp_path: Path, state: State, value: float) -> None:
    """One bad number in one tensor is enough, and the tensor is named."""
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["text.token_embedding.weight"][7, 3] = value
    save_file(damaged, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match=r"1 tensors with NaN or Inf \(text\.token_embedding\.weight\)"):
        load(tmp_path / "w.safetensors", spec)


def test_seeded_weights_have_no_file(spec: ModelSpec) -> None:
    """Mixing the two up is a mistake in the program, not of the user."""
    seeded = dataclasses.replace(weights_at(Path("x")), kind="seeded", path=None, seed=0)

    with pytest.raises(ValueError, match="no file"):
        load_weights(tiny_clip(), seeded, spec, ())


def test_the_logit_scale_is_the_factor_itself() -> None:
    """Not its logarithm, as models store it."""
    clip = tiny_clip()
    with torch.no_grad():
        clip.logit_scale.fill_(4.6051702)

    assert logit_scale(clip) == pytest.approx(100.0, rel=1e-5)
