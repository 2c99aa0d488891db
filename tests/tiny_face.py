"""Writes a tiny face detector and its bundle, so that unit tests need no trained weights.

`python tests/tiny_face.py FOLDER` writes the bundle to a folder. The network calls bright squares
faces: a cell's score rises with the mean brightness of its pixels, its box is `SIDE` cells wide and
high around the cell's centre, and its five landmarks lie at `POINTS`, in cells from that centre.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SIDE = 2.0
# Right eye, left eye, nose, right and left mouth corner, as the picture shows them.
POINTS = ((-0.5, -0.5), (0.5, -0.5), (0.0, 0.0), (-0.25, 0.5), (0.25, 0.5))
# score = sigmoid((mean brightness - MIDDLE) / SOFT)
MIDDLE, SOFT = 200.0, 8.0


def score(brightness: float) -> float:
    """What the network gives a cell whose pixels have this mean."""
    return float(1 / (1 + np.exp(-(brightness - MIDDLE) / SOFT)))


def facts(**changes: Any) -> dict[str, Any]:
    """bundle.json of the tiny detector without its files, with top-level fields replaced."""
    return {
        "name": "tiny-face",
        "task": "face",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "input": {"color": "bgr", "layout": "NHWC", "dtype": "uint8", "scale": 1, "offset": 0},
        "strides": list(STRIDES),
        "landmarks": 5,
        "threshold": 0.5,
        "nms_iou": 0.3,
        "size": 320,
        "smallest": 16,
        "metrics": {"n": 0},
        "data": ["made by hand"],
    } | changes


def network(
    *,
    batch: str | int = "batch",
    sides: tuple[str | int, str | int] = ("height", "width"),
    channels: int = 3,
    rest: Any = None,
    drift: float = 0.0,
    strides: tuple[int, ...] = STRIDES,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """ONNX: uint8 [batch, height, width, 3] -> `stride8` and so on, float32 [batch, 15, h, w].

    rest: the channels after the score, 14 numbers; None for the box and landmarks above.
    drift: added to the logits, as a badly quantized network does.
    """
    if rest is None:
        rest = [np.log(SIDE / 2)] * 4 + [value for point in POINTS for value in point]
    constants: dict[str, Any] = {
        "soft": np.float32(1 / SOFT),
        "middle": np.float32(-MIDDLE / SOFT + drift),
        "ones": np.array([1, len(rest), 1, 1], np.int64),
        "rest": np.asarray(rest, np.float32).reshape(1, -1, 1, 1),
        "zero": np.float32(0),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes"], ["gray"], axes=[1]),
    ]
    outputs = []
    for s in strides:
        nodes += [
            helper.make_node(
                "AveragePool", ["gray"], [f"mean{s}"], kernel_shape=[s, s], strides=[s, s]
            ),
            helper.make_node("Mul", [f"mean{s}", "soft"], [f"scaled{s}"]),
            helper.make_node("Add", [f"scaled{s}", "middle"], [f"logit{s}"]),
            helper.make_node("Mul", [f"logit{s}", "zero"], [f"blank{s}"]),
            helper.make_node("Tile", [f"blank{s}", "ones"], [f"blanks{s}"]),
            helper.make_node("Add", [f"blanks{s}", "rest"], [f"rest{s}"]),
            helper.make_node("Concat", [f"logit{s}", f"rest{s}"], [f"stride{s}"], axis=1),
        ]
        shape = [batch, 1 + len(rest), f"h{s}", f"w{s}"]
        outputs.append(helper.make_tensor_value_info(f"stride{s}", TensorProto.FLOAT, shape))
    graph = helper.make_graph(
        nodes,
        "tiny-face",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, *sides, channels])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_bundle(
    folder: Path, *, fp32: bytes | None = None, int8: bytes | None = None, **changes: Any
) -> Path:
    """Write model.onnx, perhaps model.int8.onnx, and bundle.json; returns the folder.

    fp32, int8: networks; None for the one above, and for none. changes: top-level fields of
    bundle.json to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = facts(**changes)
    files = {"model.onnx": fp32 or network(metadata={"ferlite_bundle": json.dumps(about)})}
    if int8:
        files["model.int8.onnx"] = int8
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    text = json.dumps({"files": sums} | about, indent=2)
    (folder / "bundle.json").write_text(text, encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(write_bundle(Path(sys.argv[1])))
