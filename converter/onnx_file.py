"""ONNX files: find the model in a file or folder, load it with a clear refusal, write it with its weights.

protobuf cannot hold more than 2 GB, so that larger models are a folder: `model.onnx`, and `model.onnx.data` with the
weights. Stages and the runtime share this; what is done with the model is theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converter.errors import ConversionError

MODEL_NAME = "model.onnx"
DATA_NAME = "model.onnx.data"
PROTOBUF_BYTES = 2**31
GRAPH_SLACK_BYTES = 2**24
"""What nodes and names may take beside the weights; the largest MobileCLIP tower takes 0.3 MB."""


def model_file(path: str | Path) -> Path:
    """The .onnx file itself, whether the artifact is that file or a folder.

    Raises:
        ConversionError: there is no such file.
    """
    file = Path(path) / MODEL_NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        message = f"{file}: no such file; run the step that writes it again"
        raise ConversionError(message)
    return file


def load_model(path: str | Path) -> Any:
    """The model with its weights in memory.

    Raises:
        ConversionError: the file is not there, foreign or cut off.
    """
    import onnx
    from google.protobuf.message import DecodeError

    file = model_file(path)
    try:
        model = onnx.load(file)
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        raise ConversionError(broken(file, error)) from error
    if not model.graph.node or not model.graph.output:
        raise ConversionError(broken(file, "it holds no graph"))
    return model


def save_model(model: Any, path: Path, external_data_bytes: int = PROTOBUF_BYTES - GRAPH_SLACK_BYTES) -> None:
    """Check the model in full and write it: one file, or a folder where its weights reach `external_data_bytes`.

    Raises:
        ConversionError: the model breaks ONNX's rules.
    """
    import onnx

    if weight_bytes(model) < external_data_bytes:
        _check(model, path)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    path.mkdir()
    file = path / MODEL_NAME
    onnx.save(model, file, save_as_external_data=True, location=DATA_NAME, size_threshold=1024)
    _check(str(file), path)


def weight_bytes(model: Any) -> int:
    """Bytes of all weights that are stored raw, which is how exporters store all but tiny ones."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def broken(path: Path, why: object) -> str:
    """The message for a file that cannot be read."""
    reason = " ".join(str(why).split())[:300]
    return f"{path}: not a whole ONNX file of {path.stat().st_size} bytes ({reason}); run the step that writes it again"


def _check(model: Any, path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        message = f"{path}: the graph breaks ONNX's rules: {error}; this is a fault of the stage, please report it"
        raise ConversionError(message) from error
