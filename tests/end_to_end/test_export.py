"""The main job on the real MobileCLIP-S1, both towers, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from converter.files import hash_path
from converter.manifest import Manifest
from converter.pipeline.verify import VerifySettings, verify
from converter.publishing.checking import check_folder
from converter.publishing.manifest import SCHEMA, read_manifest, schema
from converter.publishing.signing import Keys
from tests.end_to_end.conftest import Exported, linked, mcconvert, own_bytes

SCHEMA_FILE = Path(__file__).parents[2] / "converter" / "publishing" / SCHEMA


@pytest.fixture(scope="module")
def manifest(exported: Exported) -> Manifest:
    return read_manifest(exported.folder)


def test_every_required_row_passes_and_the_last_line_names_the_others(exported: Exported, manifest: Manifest) -> None:
    """Exit 0, a table, and a closing line that counts required rows and names what did not pass."""
    last = exported.ran.out.strip().splitlines()[-1]
    required = [entry for entry in manifest.artifacts if entry.required]
    count = len(required) + len(manifest.references)
    excused = [entry.step_id for entry in manifest.artifacts if entry.status != "PASSED"]

    assert exported.ran.code == 0, exported.ran.err
    assert last.startswith(f"{count} of {count} required rows PASSED")
    assert all(name in last for name in excused)
    assert all(entry.status == "PASSED" for entry in required)


def test_both_towers_in_every_format_and_precision(manifest: Manifest) -> None:
    """The manifest lists every kind of file that the main job promises."""
    kinds = {(entry.tower, entry.target, entry.precision) for entry in manifest.artifacts}

    wanted = [
        ("torchscript", "fp32"), ("onnx", "fp32"), ("onnx", "fp16"), ("tflite", "fp32"), ("tflite", "fp16"),
        ("tflite", "int8"), ("onnx", "int8"), ("coreml", "fp32"), ("coreml", "fp16"), ("coreml", "int8"),
    ]  # fmt: skip
    assert kinds == {(tower, *kind) for tower in ("image", "text") for kind in wanted}


def test_the_manifest_fits_its_schema_and_the_schema_its_records(exported: Exported) -> None:
    """The schema in the package is the records' own, and the manifest fits it."""
    data = json.loads((exported.folder / "manifest.json").read_bytes())

    assert SCHEMA_FILE.read_bytes() == schema(), "run 'make schema'"
    jsonschema.validate(data, json.loads(SCHEMA_FILE.read_bytes()))


def test_no_two_towers_share_a_file(manifest: Manifest) -> None:
    """The text tower's files are its own: other bytes, other inputs."""
    hashes = [entry.sha256 for entry in manifest.artifacts]

    assert len(set(hashes)) == len(hashes)
    assert {entry.tower: entry.inputs[0].name for entry in manifest.artifacts} == {"image": "image", "text": "tokens"}


def test_every_listed_file_is_there_with_its_hash(exported: Exported, manifest: Manifest) -> None:
    """Paths are relative to the manifest, hashes and sizes are those of the files."""
    for entry in manifest.artifacts:
        assert hash_path(exported.folder / entry.path) == (entry.sha256, entry.size_bytes)


def test_untrained_weights_are_said_everywhere(exported: Exported, manifest: Manifest) -> None:
    """The console and the manifest both say that these files are not trained."""
    assert "NOT TRAINED" in exported.ran.err
    assert "NOT TRAINED" in exported.ran.out
    assert manifest.model.trained is False
    assert manifest.model.weights.kind == "seeded"


def test_reference_is_awake(manifest: Manifest) -> None:
    """Seeded embeddings differ between inputs: spread at least 0.2, else parity would prove nothing."""
    spreads = {entry.tower: entry.parity.outputs[0].spread for entry in manifest.artifacts if entry.parity.outputs}

    assert min(spreads.values()) >= 0.2
    assert set(spreads) == {"image", "text"}


def test_core_ml_files_are_executed_and_the_report_says_by_what(manifest: Manifest) -> None:
    """By Core ML on a Mac, by the reference interpreter elsewhere; their structure is read in both cases."""
    reports = [entry.parity for entry in manifest.artifacts if entry.target == "coreml"]
    by = "Core ML on macOS" if sys.platform == "darwin" else "mcconvert reference interpreter"

    for report in reports:
        assert report is not None
        assert report.outputs
        assert report.ranking
        assert report.stress
        assert report.executed_by.startswith(by)
        assert report.structure
        assert report.structure.tensors > 100
        assert sys.platform == "darwin" or report.values_executed > 1e8
    assert len(reports) == 8


def test_a_second_run_reuses_all_and_imports_nothing_heavy(exported: Exported) -> None:
    """Nothing changed: every step is reused, and neither torch nor a converter is imported."""
    code = (
        "import sys; from converter.cli import cli;"
        f"cli(['--weights','seeded','--out',{str(exported.out)!r},'--json'], standalone_mode=False)"
    )
    check = (
        "import atexit,sys; atexit.register(lambda: print('HEAVY', [m for m in ('torch','tensorflow','onnx',"
        "'onnxruntime','coremltools','open_clip','timm','onnx2tf') if m in sys.modules], file=sys.stderr));"
    )
    done = subprocess.run(
        [sys.executable, "-c", check + code], capture_output=True, text=True, check=False, timeout=120,
        env={"MCCONVERT_CACHE": str(exported.cache), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip

    assert {result["action"] for result in json.loads(done.stdout)} == {"reuse"}
    assert "HEAVY []" in done.stderr


def test_a_changed_tolerance_judges_again_without_converting(exported: Exported, tmp_path: Path) -> None:
    """A bound that nothing can meet fails the row at once: nothing is converted, nothing is run."""
    setting = "targets.onnx.tolerances.fp32.trained=[{metric: max_abs, limit: 0.0, why: nothing can meet this}]"

    ran = mcconvert(
        "--weights", "seeded", "--target", "onnx", "--quant", "fp32", "--tower", "image", "--set", setting,
        "--out", tmp_path, "--json", cache=exported.cache,
    )  # fmt: skip

    results = {result["step_id"]: result for result in json.loads(ran.out)}
    assert ran.code == 6
    assert results["image/onnx/fp32"]["status"] == "FAILED"
    assert "max_abs" in results["image/onnx/fp32"]["failures"][0]
    assert {result["action"] for result in results.values()} == {"reuse"}
    mcconvert("--weights", "seeded", "--out", exported.out, cache=exported.cache)


def test_a_changed_recipe_reruns_only_what_depends_on_it(exported: Exported) -> None:
    """The plan names the rows of each tower that use the recipe, and why."""
    ran = mcconvert(
        "plan", "--weights", "seeded", "--set", "recipes.static_w8a8.samples=16", "--out", exported.out, "--json",
        cache=exported.cache,
    )  # fmt: skip

    plan = json.loads(ran.out)
    changed = {f"{tower}/{target}/int8" for tower in ("image", "text") for target in ("onnx", "tflite", "coreml")}
    assert {one["step"]["id"] for one in plan if one["action"] != "reuse"} == changed
    assert all("recipe" in one["reason"] for one in plan if one["action"] == "run")


def test_verify_judges_the_files_on_disk_alone(exported: Exported, tmp_path: Path) -> None:
    """A copy of the folder, without cache or configuration, is judged again to the same verdicts.

    A file of each format and kind of the image tower, and the text tower's float32 TFLite: interpreting all Core ML
    programs again takes minutes.
    """
    wanted = {
        "image/torchscript/fp32_lite", "image/onnx/fp32_dynamic", "image/onnx/int8", "image/tflite/fp16",
        "image/tflite/int8", "image/coreml/fp16", "text/tflite/fp32",
    }  # fmt: skip
    copy = linked(exported.folder, tmp_path / "copy")
    listed = json.loads(own_bytes(copy / "manifest.json"))
    listed["artifacts"] = [one for one in listed["artifacts"] if one["step_id"] in wanted]
    (copy / "manifest.json").write_text(json.dumps(listed))

    ran = mcconvert("verify", copy, "--jobs", "2", "--json", cache=tmp_path / "none")

    before = {entry.step_id: entry.status for entry in read_manifest(copy).artifacts}
    assert ran.code == 0, ran.err
    assert {one["step_id"]: one["status"] for one in json.loads(ran.out)} == before
    assert before.keys() == wanted


def test_one_flipped_byte_in_any_file_is_named(exported: Exported, manifest: Manifest, tmp_path: Path) -> None:
    """Every single file of the export: one byte changed, and verification fails with that file's name."""
    import dataclasses

    copy = linked(exported.folder, tmp_path / "copy")
    for entry in manifest.artifacts:
        only = dataclasses.replace(manifest, artifacts=(entry,))
        file = copy / entry.path
        victim = file if file.is_file() else next(one for one in sorted(file.rglob("*")) if one.is_file())
        data = own_bytes(victim)
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)

        (result,) = verify(copy, only, VerifySettings(hashes_only=True))

        assert (result.status, result.required, result.exit_code) == ("FAILED", True, 6)
        assert entry.path in result.failures[0]


def test_every_file_of_the_export_is_told_of(exported: Exported, tmp_path: Path) -> None:
    """The statement, the sums and the SBOM fit every file in every format; one byte inside a package does not pass."""
    copy = linked(exported.folder, tmp_path / "copy")
    whole = check_folder(copy, Keys())
    victim = sorted((copy / "coreml").glob("*.mlpackage/Data/**/weight.bin"))[0]
    data = own_bytes(victim)
    data[-1] ^= 1
    victim.write_bytes(data)

    assert whole == []
    assert [one.name for one in check_folder(copy, Keys())] == [str(victim.relative_to(copy))]


def test_verify_command_fails_on_a_flipped_byte(exported: Exported, tmp_path: Path) -> None:
    """The command ends with 6 and names the file; the untouched twin passes."""
    copy = linked(exported.folder, tmp_path / "copy")
    whole = mcconvert("verify", copy, "--hashes-only", cache=tmp_path / "none")
    victim = copy / "onnx" / "text_fp32.onnx"
    data = own_bytes(victim)
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)

    broken = mcconvert("verify", copy, "--hashes-only", cache=tmp_path / "none")

    assert whole.code == 0
    assert broken.code == 6
    assert "onnx/text_fp32.onnx was changed" in broken.out


def test_the_command_of_the_help_writes_both_int8_towers(exported: Exported, tmp_path: Path) -> None:
    """`mcconvert --target tflite --quant int8` writes three files a tower, and all of them pass."""
    ran = mcconvert(
        "--weights", "seeded", "--target", "tflite", "--quant", "int8", "--out", tmp_path, cache=exported.cache
    )

    names = {path.name for path in (tmp_path / "mobileclip_s1" / "tflite").iterdir()}
    kinds = ("", "_dynamic", "_weights")
    assert names == {f"{tower}_int8{kind}.tflite" for tower in ("image", "text") for kind in kinds}
    assert ran.code == 0, ran.out


def test_a_partial_run_keeps_the_other_entries(exported: Exported, manifest: Manifest) -> None:
    """Exporting one row again does not forget the rest of the manifest."""
    mcconvert("--weights", "seeded", "--target", "onnx", "--tower", "text", "--out", exported.out, cache=exported.cache)

    assert {one.step_id for one in read_manifest(exported.folder).artifacts} == {
        one.step_id for one in manifest.artifacts
    }
