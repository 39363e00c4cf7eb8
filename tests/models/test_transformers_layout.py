"""A fine-tuned folder of Hugging Face's transformers loads as OpenAI's and LAION's vision transformers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from converter.models.checkpoint import load_weights
from converter.models.layout_rules import to_ours, to_theirs
from converter.models.layouts import TRANSFORMERS, recognize
from converter.records import ModelSpec, Weights

WIDTH, TEXT_WIDTH, LAYERS, SIZE, PATCH, DIM = 64, 32, 2, 64, 32, 16
FUSED_NAMES = 4 * LAYERS
"""Blocks of both towers, each with a weight and a bias that theirs keeps in three."""


@pytest.fixture
def clip() -> Any:
    """An open_clip vision transformer of toy width with random norms, so that no two tensors are alike."""
    from open_clip.model import CustomTextCLIP

    torch.manual_seed(3)
    model = CustomTextCLIP(
        embed_dim=DIM,
        vision_cfg={"layers": LAYERS, "width": WIDTH, "head_width": 32, "patch_size": PATCH, "image_size": SIZE},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": TEXT_WIDTH, "heads": 2, "layers": LAYERS},
        quick_gelu=True,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter))
    return model.eval()


def test_the_table_is_read_both_ways(clip: Any) -> None:
    """Queries, keys and values are parted and joined, projections turned; nothing is lost."""
    state = clip.state_dict()

    theirs = to_theirs(TRANSFORMERS, state)
    back = to_ours(TRANSFORMERS, theirs)

    assert len(theirs) == len(state) + 2 * FUSED_NAMES
    assert theirs["text_model.encoder.layers.1.self_attn.k_proj.weight"].shape == (TEXT_WIDTH, TEXT_WIDTH)
    assert theirs["visual_projection.weight"].shape == (DIM, WIDTH)
    assert back.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.items())


def test_a_folder_of_theirs_loads(clip: Any, spec: ModelSpec, tmp_path: Path) -> None:
    """The layout is recognized by its names; buffers that are no weights are dropped."""
    theirs = {name: tensor.contiguous().clone() for name, tensor in to_theirs(TRANSFORMERS, clip.state_dict()).items()}
    theirs["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(theirs, tmp_path / "model.safetensors")
    wanted = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.zero_()
    weights = Weights(kind="file", path=str(tmp_path / "model.safetensors"), sha256="0" * 64, trained=True)

    load_weights(clip, weights, spec, ())

    assert recognize(theirs) is TRANSFORMERS
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in clip.state_dict().items())


def test_it_is_the_same_model_there(clip: Any) -> None:
    """Both towers give the embeddings that transformers gives from the same weights."""
    transformers = pytest.importorskip("transformers", reason="compares with it: pip install transformers")
    common = {"num_hidden_layers": LAYERS, "hidden_act": "quick_gelu", "projection_dim": DIM}
    text = {"hidden_size": TEXT_WIDTH, "intermediate_size": 4 * TEXT_WIDTH, "num_attention_heads": 2, **common}
    vision = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 2, **common}
    vision |= {"image_size": SIZE, "patch_size": PATCH}
    config = transformers.CLIPConfig(
        text_config=text | {"eos_token_id": 49407, "vocab_size": 49408}, vision_config=vision, projection_dim=DIM
    )
    theirs = transformers.CLIPModel(config).eval()
    theirs.load_state_dict(to_theirs(TRANSFORMERS, clip.state_dict()), strict=True)
    tokens = torch.zeros(3, 77, dtype=torch.int64)
    for row, end in enumerate((2, 9, 76)):
        tokens[row, 0], tokens[row, end] = 49406, 49407
        tokens[row, 1:end] = torch.arange(1, end) * 17
    images = torch.rand(3, 3, SIZE, SIZE)

    with torch.no_grad():
        found = (clip.encode_image(images), clip.encode_text(tokens))
        expected = (theirs.get_image_features(images), theirs.get_text_features(tokens))

    for ours, other in zip(found, expected, strict=True):
        embeddings = getattr(other, "pooler_output", other)
        assert (ours - embeddings).abs().max() < 1e-5
