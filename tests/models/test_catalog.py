"""Every name finds its model or says why not, and nothing about preprocessing is guessed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from converter.errors import UsageError
from converter.models import catalog, described
from converter.records import ModelSpec

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)


def test_ids_and_aliases_need_no_torch() -> None:
    """Asking for a model with a YAML costs nothing."""
    code = (
        "import sys; from converter.models import catalog; catalog.find('ViT-B/32'); catalog.listing('clip');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'open_clip')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert catalog.find("MobileCLIP-S1").id == "mobileclip_s1"


def test_any_model_of_open_clip_has_a_spec() -> None:
    """Repository, size, mean and text length are those of open_clip's tables."""
    spec = catalog.find("open_clip:PE-Core-T-16-384")

    assert (spec.id, spec.source) == ("open_clip_PE-Core-T-16-384", "open_clip:PE-Core-T-16-384@meta")
    assert (spec.hub_repo, spec.hub_file) == ("timm/PE-Core-T-16-384", "open_clip_model.safetensors")
    assert (spec.preprocessing.size, spec.preprocessing.resize, spec.preprocessing.mean) == (384, "squash", (0.5,) * 3)
    assert (spec.towers, spec.context_length) == (("image", "text"), 32)
    assert set(spec.parameters) == {"image", "text"}


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32", "open_clip:ViT-B-32@openai", "open_clip:ViT-B-32-quickgelu"])
def test_what_has_a_yaml_is_that_yaml(specs: Mapping[str, ModelSpec], name: str) -> None:
    """The same architecture with the same weights is one model, whose licence is known."""
    assert catalog.find(name) == specs["clip_vit_b_32"]
    assert catalog.find("open_clip:ViT-B-32@laion2b_s34b_b79k").id == "openclip_vit_b_32"
    assert catalog.find("open_clip:ViT-B-32@laion2b_e16").id == "open_clip_ViT-B-32_laion2b_e16"


def test_a_text_tower_that_cannot_be_converted_is_left_out_with_its_reason() -> None:
    """The image tower is offered alone."""
    spec = catalog.find("open_clip:ViT-B-16-SigLIP")

    assert spec.towers == ("image",)
    assert "needs the tokenizer of timm/ViT-B-16-SigLIP" in catalog.why_no_text(spec)
    assert catalog.why_no_text(catalog.find("mobileclip_s1")) == ""


def test_any_image_tower_of_timm_has_a_spec() -> None:
    """The resize is the crop's share, the width that of a forward pass, the licence timm's."""
    spec = catalog.find("timm:mobilenetv3_small_100")

    assert spec.id == "timm_mobilenetv3_small_100.lamb_in1k"
    assert (spec.towers, spec.embed_dim, spec.license) == (("image",), 1024, "apache-2.0")
    assert (spec.preprocessing.size, spec.preprocessing.resize_size) == (224, 256)
    assert spec.hub_repo == "timm/mobilenetv3_small_100.lamb_in1k"
    assert catalog.find("timm:mobilenetv3_small_100.lamb_in1k") == spec
    assert "timm has no text tower" in catalog.why_no_text(spec)


def test_apple_s_implementation_is_the_yaml_with_another_source(specs: Mapping[str, ModelSpec]) -> None:
    """Weights and preprocessing are the same; id and source are not."""
    spec = catalog.find("mobileclip:mobileclip_s1")

    assert (spec.id, spec.source) == ("apple_mobileclip_s1", "mobileclip:mobileclip_s1")
    assert spec.preprocessing == specs["mobileclip_s1"].preprocessing


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobileclip_s11", "did you mean 'mobileclip_s1'.*open_clip:NAME, timm:NAME"),
        ("open-clip:ViT-B-32", "did you mean 'open_clip'"),
        ("timm:", "before the colon"),
        ("timm:resnet188", "timm has no 'resnet188'; did you mean 'resnet18'"),
        ("timm:resnet18.a1_in1", r"no weights 'resnet18.a1_in1'; did you mean 'resnet18.a1_in1k'"),
        ("open_clip:ViT-B-32@opena", "no weights 'opena'.*did you mean 'openai'"),
        ("mobileclip:mobileclip_s9", "Apple's package has no such model"),
        ("open_clip:coca_base", "no weights for it on the hub, hence no preprocessing"),
    ],
)
def test_an_unknown_name_offers_the_nearest(name: str, said: str) -> None:
    """One message of what was seen, what is known, and no word of a configuration."""
    with pytest.raises(UsageError, match=said) as caught:
        catalog.find(name)

    assert "configuration" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sides": (224, 192)}, "224 x 192, not square"),
        ({"interpolation": "random"}, "interpolation is 'random'"),
        ({"resize": None}, "resize is 'None'"),
        ({"mean": None}, "mean and std are None"),
        ({"std": (0.5,)}, "mean and std"),
    ],
)
def test_preprocessing_that_cannot_be_kept_is_refused(changes: dict[str, object], said: str) -> None:
    """A model is refused rather than fed with guesses."""
    given = {
        "sides": (224, 224), "resize": "shortest", "resize_size": 224, "interpolation": "bicubic",
        "mean": OPENAI_MEAN, "std": (0.5, 0.5, 0.5), **changes,
    }  # fmt: skip

    with pytest.raises(UsageError, match=said):
        described._preprocessing("some:model", **given)  # type: ignore[arg-type]


def test_one_channel_is_refused() -> None:
    """Photographs have three."""
    data = {"input_size": (1, 224, 224), "mean": (0.5,), "std": (0.5,), "crop_pct": 1.0, "interpolation": "bicubic"}

    with pytest.raises(UsageError, match="takes 1 channels"):
        described._preprocessing_of_timm(SimpleNamespace(to_dict=lambda: data), "timm:x")


def test_listings_name_what_find_takes() -> None:
    """A word filters, each source lists its own, and a listed name is found."""
    (line,) = catalog.listing("PE-Core-T", "open_clip")
    names = [one.name for one in catalog.listing("resnet18", "timm")]

    assert catalog.find(line.name).hub_repo == line.weights
    assert "timm:resnet18.a1_in1k" in names
    assert [one.name for one in catalog.listing("mobileclip_s1")] == ["mobileclip_s1"]
    with pytest.raises(UsageError, match="did you mean 'timm'"):
        catalog.listing("", "tim")  # type: ignore[arg-type]


def test_what_was_proven_is_read_where_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts by step; nothing for a model that was never proven; a file that says nothing is a mistake."""
    spec = catalog.find("mobileclip_s1")
    monkeypatch.setattr(catalog, "configs_dir", lambda: tmp_path)
    assert catalog.proven(spec) is None
    (tmp_path / "proven.yaml").write_text(
        "mobileclip_s1: {weights: hub, rows: {image/onnx/fp32: PASSED}}\nmobileclip_s2: nothing\n"
    )

    found = catalog.proven(spec)

    assert found is not None
    assert (found.weights, found.rows) == ("hub", {"image/onnx/fp32": "PASSED"})
    assert catalog.proven(catalog.find("mobileclip_b")) is None
    with pytest.raises(UsageError, match="mobileclip_s2: expected weights and rows"):
        catalog.proven(catalog.find("mobileclip_s2"))


def test_folder_names_are_safe() -> None:
    """No separator and no space gets into a folder's name."""
    assert described.folder_name("open_clip_ViT-B/32@a b") == "open_clip_ViT-B_32_a_b"
