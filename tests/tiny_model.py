"""Writes a tiny emotion network and its bundle, so that unit tests need no trained weights.

`python tests/tiny_model.py FOLDER` writes the bundle to a folder. The weights are random but
fixed: the answers mean nothing, yet they depend on the picture and are the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
SIZE = 16
FILTERS = 8


def facts(labels: Sequence[str] = LABELS, **changes: Any) -> dict[str, Any]:
    """bundle.json of the tiny network without its files, with top-level fields replaced."""
    return {
        "name": "tiny",
        "task": "emotion",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "input": {
            "width": SIZE,
            "height": SIZE,
            "color": "gray",
            "layout": "NHWC",
            "dtype": "float32",
            "scale": 1 / 64,
            "offset": -2.0,
        },
        "labels": list(labels),
        "output": "logits",
        "temperature": 1.5,
        "uncertain_below": 0.4,
        "crop": {"haar": {"scale": 1.1, "dx": 0.0, "dy": 0.04, "rotate": False}},
        "metrics": {"protocol": "majority", "n": 0, "accuracy": 0.0, "macro_f1": 0.0},
        "data": ["fixed random weights"],
    } | changes


def network(
    *,
    labels: int = len(LABELS),
    batch: str | int = "n",
    int8: bool = False,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """ONNX: [n, 16, 16, 1] float32 -> convolution, ReLU, average, dense -> [n, labels] logits.

    int8: the convolution's weights are stored as int8 behind a DequantizeLinear.
    """
    draw = np.random.default_rng(7)
    kernel = draw.normal(0, 1, (FILTERS, 1, 3, 3)).astype(np.float32)
    dense = draw.normal(0, 1, (FILTERS, labels)).astype(np.float32)
    nodes = [helper.make_node("Transpose", ["face"], ["planes"], perm=[0, 3, 1, 2])]
    constants = {"dense": dense, "bias": np.zeros(labels, np.float32)}
    if int8:
        step = np.float32(np.abs(kernel).max() / 127)
        constants |= {"kernel_q": np.round(kernel / step).astype(np.int8), "step": step}
        nodes.append(helper.make_node("DequantizeLinear", ["kernel_q", "step"], ["kernel"]))
    else:
        constants["kernel"] = kernel
    nodes += [
        helper.make_node("Conv", ["planes", "kernel"], ["edges"], strides=[2, 2]),
        helper.make_node("Relu", ["edges"], ["kept"]),
        helper.make_node("GlobalAveragePool", ["kept"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "dense", "bias"], ["logits"]),
    ]
    return _model(
        nodes,
        ("face", [batch, SIZE, SIZE, 1]),
        ("logits", [batch, labels]),
        constants,
        metadata,
    )


def negation() -> bytes:
    """The smallest useful network, y = -x for one number: `session._PROBE` is these bytes."""
    return _model([helper.make_node("Neg", ["x"], ["y"])], ("x", [1]), ("y", [1]), {}, None)


def _model(
    nodes: list[onnx.NodeProto],
    source: tuple[str, list[str | int]],
    result: tuple[str, list[str | int]],
    constants: dict[str, Any],
    metadata: dict[str, str] | None,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
        [helper.make_tensor_value_info(result[0], TensorProto.FLOAT, result[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_bundle(folder: Path, *, int8: bool = True, **changes: Any) -> Path:
    """Write model.onnx, model.int8.onnx and bundle.json; returns the folder.

    changes: top-level fields of bundle.json to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = facts(**changes)
    metadata = {"ferlite_bundle": json.dumps(about)}
    files = {"model.onnx": network(labels=len(about["labels"]), metadata=metadata)}
    if int8:
        files["model.int8.onnx"] = network(labels=len(about["labels"]), int8=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    about = {"files": sums} | about
    (folder / "bundle.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(write_bundle(Path(sys.argv[1])))
