"""From a real export to a version that somebody uses: proven, published, run by the lines of its own model card."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import mcconvert

TOWER = ["--target", "onnx", "--quant", "fp32", "--tower", "image"]


@pytest.fixture(scope="module")
def cache(shared_cache: Path) -> Path:
    return shared_cache


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The image tower of nano, exported and published, every file run once more on the way."""
    base = tmp_path_factory.mktemp("published")
    exported = mcconvert("--model", "nano", *TOWER, "--out", base / "artifacts", cache=cache)
    assert exported.code == 0, exported.err
    folder = base / "artifacts" / "mobileclip_nano"
    ran = mcconvert("publish", base / "store", "--from", folder, "--verify", cache=cache)
    assert ran.code == 0, ran.err
    return base / "store" / "mobileclip_nano" / "v1"


def test_a_published_version_proves_itself(version: Path, cache: Path) -> None:
    """Whoever gets the folder can run everything again, and hold every byte against its statement."""
    verified = mcconvert("verify", version, cache=cache)
    checked = mcconvert("verify", version, "--provenance", cache=cache)

    assert verified.code == 0, verified.out
    assert checked.code == 0, checked.out


def test_single_calls_were_timed(version: Path) -> None:
    """A static file has a latency, one that took several samples a call has none; parity is bound to the bytes."""
    entries = {one["step_id"]: one for one in json.loads((version / "manifest.json").read_bytes())["artifacts"]}

    assert 0 < entries["image/onnx/fp32"]["parity"]["latency_ms"] < 1000
    assert entries["image/onnx/fp32_dynamic"]["parity"]["latency_ms"] is None
    for entry in entries.values():
        assert entry["parity"]["candidate_sha256"] == entry["sha256"]


def test_the_cards_own_lines_give_the_references_embedding(version: Path, tmp_path: Path) -> None:
    """The Python code runs as it is printed, on a picture that is not square, and gives what PyTorch gives."""
    import torch
    from PIL import Image
    from skimage import data

    from converter.models.preprocessing import normalise, prepare
    from converter.publishing.manifest import read_manifest

    page = (version / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    picture = Image.fromarray(data.coffee())
    picture.save(tmp_path / "cat.png")
    script = (
        code.replace("cat.jpg", str(tmp_path / "cat.png")) + f"np.save({str(tmp_path / 'e.npy')!r}, image_embedding)"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=version, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    pre = read_manifest(version).model.preprocessing
    pixels = normalise(prepare([picture], pre), pre.mean, pre.std)
    expected = torch.jit.load(version / "reference" / "image.pt")(torch.from_numpy(pixels)).detach().numpy()
    assert picture.width != picture.height
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), expected, atol=1e-5)


def test_one_changed_byte_of_an_export_is_not_published(version: Path, cache: Path, tmp_path: Path) -> None:
    """Even when the manifest was made to fit it."""
    folder = version.parents[2] / "artifacts" / "mobileclip_nano"
    file = folder / "onnx" / "image_fp32.onnx"
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    ran = mcconvert("publish", tmp_path / "store", "--from", folder, cache=cache)

    file.write_bytes(whole)
    assert ran.code == 7
    assert "onnx/image_fp32.onnx: sha256" in ran.err
