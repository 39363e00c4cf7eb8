"""The model card: what the hub reads, what a reader must not overlook, and what the files really take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from converter.manifest import Waiver
from converter.publishing.card import card
from tests.publishing.provable import make_provable, with_entry


def test_the_hub_reads_the_front_matter(tmp_path: Path) -> None:
    """Licence, task, tags and the model that the files were made from."""
    data = ModelCard(card(make_provable(tmp_path))).data.to_dict()

    assert data["license"] == "apple-amlr"
    assert data["license_link"].startswith("https://")
    assert data["pipeline_tag"] == "zero-shot-image-classification"
    assert {"mobileclip", "onnx", "coreml"} <= set(data["tags"])
    assert data["base_model"] == "apple/MobileCLIP-S1-OpenCLIP"


def test_files_of_own_weights_name_no_base_model(tmp_path: Path) -> None:
    """Only weights of the hub were the hub's."""
    manifest = make_provable(tmp_path, trained=False)

    assert "base_model" not in ModelCard(card(manifest)).data.to_dict()


def test_waivers_and_untrained_weights_are_warned_of(tmp_path: Path) -> None:
    """In boxes above everything else; without them there is no box."""
    manifest = make_provable(tmp_path, trained=False)
    waived = dataclasses.replace(manifest, waivers=(Waiver(name="untrained-weights", what="know nothing"),))

    page = card(waived)

    assert "**The weights are not trained.**" in page
    assert "> - `untrained-weights`: know nothing" in page
    assert page.index("[!WARNING]") < page.index("## Files")
    assert "[!WARNING]" not in card(make_provable(tmp_path))


def test_every_file_has_its_row_and_every_format_its_code(tmp_path: Path) -> None:
    """Figures, names and shapes are those of the manifest."""
    manifest = make_provable(tmp_path)
    report = manifest.artifacts[1].parity
    assert report is not None and report.ranking is not None
    timed = dataclasses.replace(report, latency_ms=12.34)
    page = card(dataclasses.replace(manifest, artifacts=with_entry(manifest, manifest.artifacts[1].path, parity=timed)))

    for entry in manifest.artifacts:
        assert f"| `{entry.path}` |" in page
    assert "| 12.3 | a runtime 1.0 |" in page
    assert f"{report.ranking.top_k:.3f} [" in page
    assert 'session.run(None, {"image": image})' in page
    assert 'forResource: "image_fp32", withExtension: "mlmodelc"' in page
    assert "// values: an MLMultiArray [1, 3, 256, 256], float32" in page
    assert "Kotlin" not in page


@pytest.mark.parametrize("inside", [True, False])
def test_preprocessing_is_said_in_words(tmp_path: Path, inside: bool) -> None:
    """Who normalises: the app or the file."""
    manifest = make_provable(tmp_path)
    pre = dataclasses.replace(manifest.model.preprocessing, inside_graph=inside, mean=(0.5, 0.25, 0.125))
    page = card(dataclasses.replace(manifest, model=dataclasses.replace(manifest.model, preprocessing=pre)))

    assert "Resize the shortest side to 256 pixels (bilinear), crop the centre 256 x 256" in page
    assert ("hand over the uint8 RGB values as they are" in page) == inside
    assert ("subtract the mean (0.5, 0.25, 0.125)" in page) != inside
