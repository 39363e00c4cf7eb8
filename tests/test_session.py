"""What the user asks for reaches the model, the steps' keys and the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.errors import ConfigError
from converter.session import Prepared, Request, plan, prepare


def _prepared(out: Path, **request: object) -> Prepared:
    return prepare(Request(weights="seeded", out=out, targets=("onnx",), quants=("fp32",), **request))  # type: ignore[arg-type]


def test_pixels_in_are_asked_for_by_option_or_by_key(tmp_path: Path) -> None:
    """The graph's input is described, the statistics stay those of the model."""
    plain = _prepared(tmp_path).spec.preprocessing
    option = _prepared(tmp_path, input="image").spec.preprocessing
    key = _prepared(tmp_path, settings=("input=image",)).spec.preprocessing

    assert (plain.inside_graph, plain.value_range) == (False, (0.0, 1.0))
    assert (option.inside_graph, option.value_range) == (True, (0.0, 255.0))
    assert (option.mean, option.std, option.size) == (plain.mean, plain.std, plain.size)
    assert key == option


def test_pixels_in_have_a_folder_and_keys_of_their_own(tmp_path: Path) -> None:
    """Neither kind of file ever takes the other's place."""
    plain, pixels = _prepared(tmp_path), _prepared(tmp_path, input="image")

    assert plain.workspace.folder == tmp_path / "mobileclip_s1"
    assert pixels.workspace.folder == tmp_path / "mobileclip_s1_pixels"
    assert plan(plain)[0].key != plan(pixels)[0].key


def test_another_kind_of_input_is_refused(tmp_path: Path) -> None:
    """With the nearest one."""
    with pytest.raises(ConfigError, match="input: 'images' is not one of tensor, image; did you mean 'image'"):
        _prepared(tmp_path, settings=("input=images",))
