"""What strangers may hand over: nothing of it is run, leads out of its folder, or grows without bound."""

from __future__ import annotations

import ast
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from converter.arrays import read_arrays
from converter.config import load_config, read_model, read_yaml
from converter.errors import ConfigError, ConversionError, McconvertError, UsageError, WeightsError
from converter.files import inside
from converter.models.calibration_sources import calibration_images
from converter.models.checkpoint import read_state_dict
from converter.models.tokenizer_file import encode
from converter.yaml_text import MOST_VALUES, load_yaml
from tests.fuzz.mutators import gadgets
from tests.fuzz.seeds import write_tokenizer

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.unsafe_load", "yaml.full_load",
    "marshal.loads", "shelve.open", "extractall", "joblib.load", "dill.load",
}  # fmt: skip


def _calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _unsafe(source: str) -> list[str]:
    """Calls that run what they read, or hand a string to a shell."""
    return [f"{name} in line {call.lineno}" for name, call in _calls(source) if _is_unsafe(name, call)]


def _is_unsafe(name: str, call: ast.Call) -> bool:
    given = {one.arg: ast.unparse(one.value) for one in call.keywords}
    if name in FORBIDDEN or name.endswith(".extractall") or given.get("shell", "False") != "False":
        return True
    if name == "torch.load":
        return given.get("weights_only") != "True"
    if name == "yaml.load":
        return given.get("Loader") != "_LOADER"
    return name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False"


@pytest.mark.parametrize("room", ["converter", "scripts"])
def test_no_source_runs_what_it_reads(room: str) -> None:
    """No unpickling, no eval, no shell, no YAML but the safe loader's."""
    found = {str(path): _unsafe(path.read_text()) for path in (ROOT / room).rglob("*.py")}

    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "yaml.load(x)", "yaml.load(x, Loader=yaml.Loader)", "pickle.load(f)", "eval('1')", "os.system('ls')",
        "subprocess.run('ls', shell=True)", "torch.load(x)", "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)", "tar.extractall(x)",
    ],
)  # fmt: skip
def test_the_search_for_it_finds_it(source: str) -> None:
    """Each of these would be seen."""
    assert _unsafe(source)


@pytest.mark.parametrize("number", range(len(gadgets(""))))
@pytest.mark.parametrize("form", ["bare", "zip", "renamed"])
def test_no_pickle_is_run(tmp_path: Path, number: int, form: str) -> None:
    """As a legacy file, inside a zip of torch.save, and behind another ending; the canary never appears."""
    canary, data = tmp_path / "canary", gadgets(str(tmp_path / "canary"))[number]
    path = tmp_path / ("w.safetensors" if form == "renamed" else "w.pt")
    path.write_bytes(_as_checkpoint(data, tmp_path) if form == "zip" else data)

    with pytest.raises(WeightsError):
        read_state_dict(path)

    assert not canary.exists()


def _as_checkpoint(data: bytes, folder: Path) -> bytes:
    """A whole file of torch.save whose pickle is another."""
    torch.save({"a": torch.zeros(2)}, folder / "whole.pt")
    buffer = io.BytesIO()
    with zipfile.ZipFile(folder / "whole.pt") as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, data if member.filename.endswith("data.pkl") else old.read(member))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_no_pickle_in_arrays_is_run(tmp_path: Path, kind: str) -> None:
    """Arrays of objects are refused."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "canary"), "w")

    path = tmp_path / f"x.{kind}"
    array = np.array([Bomb()], dtype=object)
    np.save(path, array, allow_pickle=True) if kind == "npy" else np.savez(path, array)

    with pytest.raises(UsageError, match="cannot be read as arrays"):
        list(calibration_images(path))

    assert not (tmp_path / "canary").exists()


def test_a_checkpoint_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    """100 kB of packed zeros that say they are 100 MB: torch.save packs nothing."""
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(100_000_000))

    with pytest.raises(WeightsError, match="says that it unpacks to 100,000,000"):
        read_state_dict(tmp_path / "w.pt")


def test_the_old_tar_format_is_refused(tmp_path: Path) -> None:
    """Torch read it once, and unpacked it."""
    import tarfile

    with tarfile.open(tmp_path / "w.pt", "w") as archive:
        for name in ("storages", "tensors", "pickle", "../../x"):
            archive.addfile(tarfile.TarInfo(name))

    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "w.pt")


def test_aliases_cannot_make_a_billion_values() -> None:
    """Nine lines that stand for a billion leaves end in a refusal, at once; as many plain values are read."""
    laughs = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))

    with pytest.raises(ValueError, match="aliases make more than"):
        load_yaml(laughs)
    assert len(load_yaml(f"[{', '.join('1' * (MOST_VALUES // 2))}]")) == MOST_VALUES // 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [*a]", "holds itself"), ("[" * 100_000, "nested more than"), ("- " * 1000, "nested more than"),
        ("!!python/object/apply:os.system ['true']", "constructor"), ("!!timestamp 2026-99-99", "month"),
        ("a: " + "x" * 2**20, "bytes"),
    ],
)  # fmt: skip
def test_yaml_that_is_no_configuration_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """With the file's name, and why."""
    (tmp_path / "x.yaml").write_text(text)

    with pytest.raises(ConfigError, match=why) as caught:
        read_yaml(tmp_path / "x.yaml")

    assert "x.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "link/x", ".", "", "a\0b"])
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    """Absolute, upwards, through a link, or no path at all; a plain one is found."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "link").symlink_to(tmp_path)

    assert inside(tmp_path / "base", name) is None
    assert inside(tmp_path / "base", "a/b") == (tmp_path / "base" / "a" / "b").resolve()


@pytest.mark.parametrize("name", ["../x", "/x", ".hidden", "a/b", "a\0"])
@pytest.mark.parametrize("room", ["targets", "recipes"])
def test_targets_and_recipes_have_plain_names(tmp_path: Path, room: str, name: str) -> None:
    """They become folders, logs and files."""
    import yaml

    body = {"title": "t", "summary": "s", "extra": "e", "tolerances": {}, "rows": {}}
    recipe = {"summary": "s", "precision": "int8", "weight_bits": 8, "name": "x"}
    overlay = {room: {name: body if room == "targets" else recipe}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(read_yaml(_pipeline()) | overlay))

    with pytest.raises(ConfigError, match="names files"):
        load_config(tmp_path / "p.yaml")


def _pipeline() -> Path:
    return ROOT / "configs" / "pipelines" / "export-all.yaml"


@pytest.mark.parametrize(
    ("key", "value"), [("bundled", "../../x"), ("hub_file", "../../x"), ("hub_file", "/x"), ("revision", "../../x")]
)
def test_a_model_names_no_file_elsewhere(tmp_path: Path, key: str, value: str) -> None:
    """Neither of this package nor of the hub's cache."""
    import yaml

    whole = read_yaml(ROOT / "configs" / "models" / "mobileclip_nano.yaml")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(whole | {key: value}))

    with pytest.raises(ConfigError, match=f"models.m.{key}"):
        read_model(tmp_path / "m.yaml")


def test_an_onnx_file_whose_graph_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    """It parses, but says nothing of its operators' version."""
    import onnx

    from converter.pipeline.given_file import open_given

    shape = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 8, 8]), onnx.helper.make_tensor_value_info("y", 1, None)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [shape[0]], [shape[1]])
    model = onnx.helper.make_model(graph)
    del model.opset_import[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())

    with pytest.raises((ConversionError, McconvertError), match="m.onnx|given.onnx"):
        open_given(tmp_path / "m.onnx", tmp_path / "copy", 8)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    """Numpy hands its bytes out as they are."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("names", b"no array")

    with pytest.raises(ConversionError, match="'names' is no array"):
        read_arrays(tmp_path / "x.npz", str)


def test_a_tokenizer_whose_library_panics_is_refused(tmp_path: Path) -> None:
    """Its template names a token that it has not."""
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["post_processor"]["special_tokens"] = {}
    path.write_text(json.dumps(whole))

    with pytest.raises(ConversionError, match="not a tokenizer file"):
        encode(path, ["ab"])
