"""Layers as products, the stem, and channels evened out: on the toy towers' real TFLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.quantization.ranges import watch
from converter.quantization.smoothing import smooth, smoothable
from converter.quantization.tflite_layers import find_layers, hessians, matrix_of, product_of, rows_of, stem_of
from converter.records import TOWERS, Artifact, Tower
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph
from tests.converted import channels_last, patchwork, tflite_of

pytest.importorskip("onnx2tf", reason="needs the extra mcconvert[tflite]")

Files = dict[Tower, Path]
Inputs = dict[Tower, dict[str, np.ndarray[Any, Any]]]


@pytest.fixture(scope="module")
def files(tiny_parents: dict[Tower, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Both towers as float32 TFLite files."""
    return {
        tower: Path(tflite_of(parent, tmp_path_factory.mktemp(tower)).path) for tower, parent in tiny_parents.items()
    }


@pytest.fixture(scope="module")
def samples(tiny_inputs: Inputs) -> dict[Tower, list[dict[str, np.ndarray[Any, Any]]]]:
    """Four samples a tower, as the files take them."""
    both = {"image": channels_last(patchwork(4, seed=3)), "text": tiny_inputs["text"]}
    return {
        tower: [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(4)]
        for tower, inputs in both.items()
    }


def _tensors(path: Path, sample: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array(value) for name, value in watch(path, 1, None)(sample)}


@pytest.mark.parametrize("tower", TOWERS)
def test_rows_times_matrix_is_what_the_layer_computes(tower: Tower, files: Files, samples: Any) -> None:
    """For every layer, patches and padding included; rows that are left out are simply not there."""
    graph = Graph(read_model(files[tower]))
    values = _tensors(files[tower], samples[tower][0])
    layers = find_layers(graph)
    assert len(layers) > 5
    for layer in layers:
        name = graph.name(layer.output).decode()
        computed = values[name].reshape(-1, values[name].shape[-1])
        rows = rows_of(graph, layer, values[graph.name(layer.source).decode()], sample=1)
        bias = graph.constant(layer.bias) if layer.bias >= 0 else 0.0
        step = -(-len(computed) // 512)

        product = rows @ matrix_of(graph, layer).T + bias
        if layer.op.builtinOptions.fusedActivationFunction == graph.schema.ActivationFunctionType.RELU:
            product = np.maximum(product, 0)

        np.testing.assert_allclose(product, computed[1 % step :: step], atol=2e-3, err_msg=layer.name)


def test_hessians_add_up_over_samples(files: Files, samples: Any) -> None:
    """The products of all rows; layers that read the same tensor share one."""
    graph = Graph(read_model(files["text"]))
    layers = find_layers(graph)
    run = watch(files["text"], 1, {graph.name(layer.source).decode() for layer in layers})
    found = hessians(graph, layers, (run(sample) for sample in samples["text"]))
    first = layers[3]
    rows = [
        rows_of(graph, first, _tensors(files["text"], sample)[graph.name(first.source).decode()], number)
        for number, sample in enumerate(samples["text"])
    ]

    np.testing.assert_allclose(found[product_of(graph, first)], sum(one.T @ one for one in rows), rtol=1e-3, atol=1e-3)
    assert set(found) == {product_of(graph, layer) for layer in layers}
    assert len(found) < len(layers)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_stem_comes_before_the_first_branch_and_is_small(tower: Tower, files: Files) -> None:
    """A text tower has none. Here the image tower's stem is much of the arithmetic, so that little of it is taken."""
    graph = Graph(read_model(files[tower]))
    stem = stem_of(graph)

    assert stem == find_layers(graph)[: len(stem)]
    assert tower == "image" or not stem
    assert all("stem" in layer.name for layer in stem)


@pytest.mark.parametrize("tower", TOWERS)
def test_smoothing_leaves_the_model_as_it_is(tower: Tower, files: Files, samples: Any, tmp_path: Path) -> None:
    """In float32 it computes the same; what layers read has become more even from channel to channel."""
    graph = Graph(read_model(files[tower]))
    groups = smoothable(graph, find_layers(graph))
    names = {source: graph.name(source).decode() for source in groups}
    run = watch(files[tower], 1, set(names.values()))
    smooth(graph, groups, (run(sample) for sample in samples[tower]), alpha=1.0)
    write_model(graph.model, tmp_path / "smooth.tflite")

    assert groups
    for sample in samples[tower]:
        before, after = _tensors(files[tower], sample), _tensors(tmp_path / "smooth.tflite", sample)
        np.testing.assert_allclose(after["embedding"], before["embedding"], atol=1e-4)
    peaks = {name: _peaks(files[tower], samples[tower], name) for name in names.values()}
    for name, seen in peaks.items():
        evened = _peaks(tmp_path / "smooth.tflite", samples[tower], name)
        assert np.log(evened).std() < 0.2 * np.log(seen).std(), name


def _peaks(path: Path, samples: Any, name: str) -> np.ndarray[Any, Any]:
    values = [np.abs(_tensors(path, sample)[name]) for sample in samples]
    return np.max([value.reshape(-1, value.shape[-1]).max(axis=0) for value in values], axis=0)


def test_scaling_one_side_alone_would_be_noticed(files: Files, samples: Any, tmp_path: Path) -> None:
    """The twin: a layer whose weights were not scaled back changes the embedding."""
    graph = Graph(read_model(files["image"]))
    groups = smoothable(graph, find_layers(graph))
    source, layers = next(iter(groups.items()))
    kept = graph.constant(layers[0].weights)
    assert kept is not None
    kept = kept.copy()
    run = watch(files["image"], 1, {graph.name(source).decode()})
    smooth(graph, {source: layers}, (run(sample) for sample in samples["image"]), alpha=1.0)
    graph.store(layers[0].weights, kept)
    write_model(graph.model, tmp_path / "wrong.tflite")

    before = _tensors(files["image"], samples["image"][0])["embedding"]
    after = _tensors(tmp_path / "wrong.tflite", samples["image"][0])["embedding"]
    assert np.abs(after - before).max() > 1e-3
