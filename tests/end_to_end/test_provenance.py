"""A real export says where its files come from: documents that are whole, private, and that notice any change."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from converter.files import hash_path
from converter.publishing import on_disk
from converter.publishing.checking import check_folder
from converter.publishing.signing import Keys, make_keys, read_private_key, sign
from tests.end_to_end.conftest import Ran, mcconvert

ROW = ("--model", "nano", "--tower", "image", "--target", "onnx", "--quant", "fp32")
SMALL = ("manifest.json", "provenance.json", "SHA256SUMS", "provenance.dsse.json", "sbom.cdx.json")
WRITTEN = ("provenance.json", "SHA256SUMS", "sbom.cdx.json")
HEAVY = ("torch", "onnx", "onnxruntime", "cyclonedx", "cryptography", "sigstore", "jsonschema", "packaging")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Ran, Path]:
    """One row of the small trained model, and its folder. Tests change copies of it only."""
    out = tmp_path_factory.mktemp("provenance")
    return mcconvert(*ROW, "--out", out, cache=cache), out / "mobileclip_nano"


@pytest.fixture
def folder(made: tuple[Ran, Path], tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made[1], tmp_path / "out" / "mobileclip_nano"))


@pytest.fixture
def signed(folder: Path, tmp_path: Path) -> tuple[Path, Keys]:
    """A signed copy, and what its reader trusts."""
    private, public = make_keys(tmp_path / "key")
    sign(folder, read_private_key(private.read_bytes(), "key"))
    return folder, Keys(key=public)


def statement(folder: Path) -> Any:
    return json.loads((folder / "provenance.json").read_bytes())


def origins(folder: Path) -> dict[str, tuple[str, str]]:
    """How each file came, and by which invocation."""
    told = {one["name"]: one.get("annotations", {}) for one in statement(folder)["subject"]}
    return {name: (one.get("origin", ""), one.get("invocationId", "")) for name, one in told.items()}


def test_an_export_tells_what_it_made_and_from_what(made: tuple[Ran, Path], cache: Path) -> None:
    """Every file is a subject; request, commit, configs, weights and data are named by hash; the check passes."""
    ran, folder = made
    manifest, stated = json.loads((folder / "manifest.json").read_bytes()), statement(folder)
    definition = stated["predicate"]["buildDefinition"]
    materials = {one["name"]: one for one in definition["resolvedDependencies"]}

    checked = mcconvert("verify", folder, "--provenance", "--json", cache=cache)

    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    beside = {name for name in files if name.startswith(("logs/", "."))} | {
        "provenance.json",
        "SHA256SUMS",
        "report.html",
    }
    invocation = stated["predicate"]["runDetails"]["metadata"]["invocationId"]
    assert (ran.code, checked.code, json.loads(checked.out)["findings"]) == (0, 0, [])
    assert {one["name"] for one in stated["subject"]} == files - beside
    assert origins(folder)["onnx/image_fp32.onnx"] == ("built", invocation)
    assert definition["externalParameters"]["model"] == "mobileclip_nano"
    assert definition["externalParameters"]["targets"] == ["onnx"]
    assert {"package", "configs/targets/onnx.yaml", "configs/models/mobileclip_nano.yaml"} <= set(materials)
    assert {"configs/pipelines/export-all.yaml", "samples/image", "calibration/image"} <= set(materials)
    assert materials["weights"]["digest"]["sha256"] == manifest["model"]["weights"]["sha256"]


def test_the_statement_has_the_published_shape(made: tuple[Ran, Path]) -> None:
    """in-toto's and SLSA's fields as the schema in the package says; one of another type does not pass."""
    schema = json.loads((Path(on_disk.__file__).with_name("provenance.schema.json")).read_bytes())
    stated = statement(made[1])
    validator = jsonschema.Draft202012Validator(schema)

    assert list(validator.iter_errors(stated)) == []
    assert list(validator.iter_errors(stated | {"predicateType": "https://slsa.dev/provenance/v0.2"}))


def test_plain_tools_check_the_sums(made: tuple[Ran, Path]) -> None:
    """`sha256sum -c SHA256SUMS`, in a folder that knows nothing of us."""
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made[1], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "onnx/image_fp32.onnx: OK" in done.stdout


def test_plain_tools_check_the_signature(signed: tuple[Path, Keys], tmp_path: Path) -> None:
    """The commands that docs/provenance.md gives, as they stand there: they pass, and fail on any change."""
    folder, keys = signed
    (commands,) = re.findall(
        r"```sh\n(.*?)```", (Path(__file__).parents[2] / "docs" / "provenance.md").read_text(), re.S
    )
    (tmp_path / "check.sh").write_text(f"set -euo pipefail\n{commands}")
    environment = os.environ | {"SCRATCH": str(tmp_path), "PUBLIC_KEY": str(keys.key)}

    def check() -> int:
        command = ["bash", str(tmp_path / "check.sh")]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode

    whole, codes = check(), []
    for name in ("provenance.json", "provenance.dsse.json", "onnx/image_fp32.onnx"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data.replace(b"a", b"b", 1))
        codes.append(check())
        (folder / name).write_bytes(data)

    assert whole == 0
    assert 0 not in codes


def test_documents_say_nothing_of_the_machine(made: tuple[Ran, Path]) -> None:
    """No path, no name of a user, none of the machine."""
    folder = made[1]
    names = {str(folder.parent), str(Path.home()), str(Path(sys.prefix)), str(Path.cwd()), "/tmp", "/home/"}
    names |= {socket.gethostname(), os.environ.get("USER") or "no user", os.environ.get("LOGNAME") or "no user"} - {
        "root"
    }

    for name in WRITTEN:
        text = (folder / name).read_text()
        assert not [one for one in names if re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", text)], name


def test_a_warm_run_changes_nothing_and_loads_nothing_heavy(folder: Path, cache: Path) -> None:
    """The documents tell who built the files: a run that builds none leaves them, and a signature over them."""
    before = {name: (folder / name).read_bytes() for name in WRITTEN}
    code = (
        "import atexit, sys; from converter.cli import main; "
        f"atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules])); main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *ROW, "--out", str(folder.parent)], capture_output=True, text=True, check=False,
        env=os.environ | {"MCCONVERT_CACHE": str(cache)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert {name: (folder / name).read_bytes() for name in WRITTEN} == before


@pytest.mark.parametrize("what", ["SHA256SUMS", "provenance.json", "all", "all cut off"])
def test_a_warm_run_mends_what_a_killed_one_left(folder: Path, cache: Path, what: str) -> None:
    """Any document missing or cut off: the check says to run again, and running again makes it whole."""
    for one in WRITTEN if what.startswith("all") else (what,):
        whole = (folder / one).read_bytes()
        (folder / one).write_bytes(whole[: len(whole) // 2]) if "cut" in what else (folder / one).unlink()
    broken = check_folder(folder, Keys())

    ran = mcconvert(*ROW, "--out", folder.parent, cache=cache)

    assert any("run the same export again" in one.advice for one in broken)
    assert ran.code == 0, ran.err
    assert check_folder(folder, Keys()) == []


def test_kept_rows_are_not_claimed(folder: Path, cache: Path) -> None:
    """Another row later: each file names the run that built it, and both runs are told of."""
    first = statement(folder)["predicate"]["runDetails"]["metadata"]["invocationId"]

    ran = mcconvert(*ROW[:-1], "fp16", "--out", folder.parent, cache=cache)

    details = statement(folder)["predicate"]["runDetails"]
    second, found = details["metadata"]["invocationId"], origins(folder)
    (earlier,) = [one for one in details["byproducts"] if one["name"] == "earlier build"]
    told = earlier["annotations"]["predicate"]
    assert ran.code == 0, ran.err
    assert first != second
    assert {how for name, how in found.items() if "fp32" in name} == {("built", first)}
    assert {how for name, how in found.items() if "fp16" in name} == {("built", second)}
    assert found["reference/image.pt"] == ("built", first)
    assert told["runDetails"]["metadata"]["invocationId"] == earlier["uri"] == first
    assert told["buildDefinition"]["externalParameters"]["quants"] == ["fp32"]
    assert check_folder(folder, Keys()) == []


def test_files_of_the_cache_are_not_claimed(made: tuple[Ran, Path], cache: Path, tmp_path: Path) -> None:
    """Another folder, the same cache: nothing was built there, and the statement says so."""
    ran = mcconvert(*ROW, "--out", tmp_path, cache=cache)

    found = origins(tmp_path / "mobileclip_nano")
    assert ran.code == 0, ran.err
    assert {how for name, (how, _) in found.items() if "/" in name} == {"cache"}


def test_a_run_that_states_anew_removes_the_signature_and_says_so(signed: tuple[Path, Keys], cache: Path) -> None:
    """It was over another statement; whoever wants the new one signed signs it."""
    folder, keys = signed
    (folder / "sbom.cdx.json").unlink()

    ran = mcconvert(*ROW, "--out", folder.parent, cache=cache)

    (finding,) = check_folder(folder, keys)
    assert ran.code == 0, ran.err
    assert "the signature was removed" in ran.err
    assert (finding.name, check_folder(folder, Keys())) == ("provenance.dsse.json", [])


def test_any_changed_byte_is_found(signed: tuple[Path, Keys], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of SHA256SUMS, and bytes spread over every document and every artifact."""
    folder, keys = signed
    artifacts = [one["name"] for one in statement(folder)["subject"] if one["name"] not in SMALL]

    missed = [*_missed(folder, artifacts, 5, keys)]
    _remember_artifacts(folder, artifacts, monkeypatch)
    missed += _missed(folder, ["SHA256SUMS"], 10_000, keys) + _missed(folder, SMALL, 150, keys)

    assert missed == []
    assert check_folder(folder, keys) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_changed_byte_is_found(signed: tuple[Path, Keys], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Every single byte of a document."""
    folder, keys = signed
    artifacts = [one["name"] for one in statement(folder)["subject"] if one["name"] not in SMALL]
    _remember_artifacts(folder, artifacts, monkeypatch)

    assert _missed(folder, [name], (folder / name).stat().st_size, keys) == []
    assert check_folder(folder, keys) == []


def _missed(folder: Path, names: Iterable[str], count: int, keys: Keys) -> list[tuple[str, int]]:
    """Where one bit may be turned, at `count` places spread over each file, without a finding."""
    missed = []
    for name in names:
        size = (folder / name).stat().st_size
        with (folder / name).open("r+b", buffering=0) as stream:
            for place in sorted({index * (size - 1) // max(1, count - 1) for index in range(min(count, size))}):
                stream.seek(place)
                (old,) = stream.read(1)
                os.pwrite(stream.fileno(), bytes([old ^ (1 << place % 8)]), place)
                if not check_folder(folder, keys):
                    missed.append((name, place))
                os.pwrite(stream.fileno(), bytes([old]), place)
    return missed


def _remember_artifacts(folder: Path, artifacts: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash the large files once: only documents change from here on."""
    known = {folder / name: hash_path(folder / name) for name in artifacts}
    monkeypatch.setattr(on_disk, "hash_path", lambda path: known.get(path) or hash_path(path))
