"""From trained Keras weights to a model folder that the runtime loads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ferlite.errors import ModelError
from ferlite.training.bundle import FP32, INT8, WEIGHTS, write_bundle
from ferlite.training.classifier import (
    Classifier,
    aligned,
    load_keras,
    open_classifier,
    read_run,
    softmax,
)
from ferlite.training.data import EmotionData
from ferlite.training.history import read_history
from ferlite.training.metrics import Scores, certainty, fit_temperature, uncertain_below

OPSET = 17  # later ones make tf2onnx 1.17 add nodes or fail
PARITY_IMAGES = 512
PARITY = 1e-4
MAX_FOLDED = 1 << 14  # weights of a 1x1 convolution that takes up the pool before it
# From benchmarks/crop_geometry.py on FER+ training pictures; docs/crop-geometry.md has the spread.
CROP = {
    "haar": {"scale": 1.021, "dx": 0.0, "dy": 0.0, "rotate": False},
    "yunet": {"scale": 0.994, "dx": 0.004, "dy": 0.019, "rotate": False},
}
_PROVENANCE = {
    "majority": (
        "FER+ annotations (Barsoum et al., ICMI 2016; MIT licence) of the FER2013 pictures",
        "FER2013 (Goodfellow et al., 2013): photographs gathered by web search for a Kaggle "
        "competition, for research; the photographers keep their rights",
    ),
    "fer2013": (
        "FER2013 (Goodfellow et al., 2013): photographs gathered by web search for a Kaggle "
        "competition, for research; the photographers keep their rights",
    ),
}
# What training leaves behind if a converter is careless; none of it belongs in a shipped network.
_TRAINING_ONLY = ("Dropout", "RandomNormal", "RandomUniform", "RandomNormalLike", "Bernoulli")


def convert(model: Any, path: Path) -> None:
    """Write a Keras model as ONNX: input "faces" [n, size, size, 1], output "logits" [n, classes].

    Raises ModelError for a network that computes in less than float32 or has training-only nodes.
    """
    import keras
    import onnx

    policies = {layer.compute_dtype for layer in model.layers}
    if policies != {"float32"}:
        raise ModelError(f"computes in {', '.join(sorted(policies))}; export best.keras of a run")
    if keras.config.backend() != "tensorflow":
        raise ModelError(
            f"export needs the TensorFlow backend, not {keras.config.backend()}: "
            "set KERAS_BACKEND=tensorflow (weights trained on another backend load there)"
        )
    import tensorflow as tf
    import tf2onnx

    # A fresh functional model names the ends; a Sequential one has no names tf2onnx understands.
    inputs = keras.Input(model.input_shape[1:], name="faces")
    functional = keras.Model(inputs, model(inputs))
    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="faces")]
    converted, _ = tf2onnx.convert.from_keras(functional, signature, opset=OPSET)
    graph = converted.graph
    left = {node.op_type for node in graph.node} & set(_TRAINING_ONLY)
    if left:
        raise ModelError(f"the converted network still holds {', '.join(sorted(left))}")
    _rename(graph)
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_param = "n"
    graph.name = model.name
    fold_pools(graph)
    # Shapes of inner tensors name the batch in tf2onnx's own way, and nothing needs them.
    del graph.value_info[:]
    converted.producer_name = "ferlite"
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, str(path))


def _rename(graph: Any) -> None:
    """Short names in order of computation; tf2onnx's took a twentieth of an INT8 file."""
    names = {"": "", "faces": "faces", graph.output[0].name: "logits"}
    for i, tensor in enumerate(graph.initializer):
        names[tensor.name] = f"w{i}"
        tensor.name = names[tensor.name]
    for i, node in enumerate(graph.node):
        for old in node.output:
            names.setdefault(old, f"x{i}")
        node.name = f"{node.op_type}_{i}"
        node.input[:] = [names[old] for old in node.input]
        node.output[:] = [names[old] for old in node.output]
    graph.output[0].name = "logits"


def fold_pools(graph: Any) -> int:
    """Make a 2x2 average pool and the 1x1 convolution behind it one 2x2 convolution of stride 2.

    The same sums in another order: as INT8 the pools took a sixth of the time of ferlite-s. Wide
    convolutions are left alone: they work on few positions, where a pool costs little, and four
    times their weights would weigh in the file. Returns how many pairs were merged.
    """
    import onnx
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    merged = 0
    for pool in [node for node in graph.node if node.op_type == "AveragePool"]:
        followers = users.get(pool.output[0], [])
        if len(followers) != 1 or followers[0].op_type != "Conv":
            continue
        conv = followers[0]
        if not _is(pool, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], ceil_mode=0):
            continue
        if not _is(conv, kernel_shape=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0], group=1):
            continue
        if conv.input[1] not in weights or len(users[conv.input[1]]) != 1:
            continue
        kernel = numpy_helper.to_array(weights[conv.input[1]])
        if kernel.size > MAX_FOLDED:
            continue
        spread = np.repeat(np.repeat(kernel, 2, axis=2), 2, axis=3) / np.float32(4)
        weights[conv.input[1]].CopyFrom(numpy_helper.from_array(spread, conv.input[1]))
        conv.input[0] = pool.input[0]
        del conv.attribute[:]
        conv.attribute.extend(
            [
                onnx.helper.make_attribute("kernel_shape", [2, 2]),
                onnx.helper.make_attribute("strides", [2, 2]),
            ]
        )
        graph.node.remove(pool)
        merged += 1
    return merged


def _is(node: Any, **wanted: Any) -> bool:
    """Whether every attribute that the node states has the wanted value."""
    import onnx

    stated = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if stated.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    # A missing kernel or stride of a pool means another size than ours.
    if node.op_type == "AveragePool" and not {"kernel_shape", "strides"} <= stated.keys():
        return False
    return all(stated.get(name, value) == value for name, value in wanted.items())


def parity(one: Classifier, other: Classifier, data: EmotionData) -> float:
    """Largest absolute difference of probabilities over PARITY_IMAGES pictures of `data`.

    Raises ModelError at PARITY or above.
    """
    images = data.images[:PARITY_IMAGES]
    a, b = softmax(one.logits(images)), softmax(other.logits(images))
    difference = float(np.abs(a - b).max())
    if not difference < PARITY:
        raise ModelError(
            f"ONNX and Keras differ by {difference:.2e} in probability over {len(images)} pictures "
            f"({PARITY:g} is the limit); nothing was written"
        )
    return difference


def measure(classifier: Classifier, data: EmotionData, temperature: float) -> Scores:
    """Scores over the judged pictures."""
    judged = data.only_judged()
    return Scores(data.labels, judged.classes, classifier.probabilities(judged.images, temperature))


def export(
    weights: Path,
    data: EmotionData,
    out: Path,
    *,
    name: str = "",
    version: str = "1.0.0",
    license_: str = "Apache-2.0",
    crop: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the model folder `out` from a .keras file; returns the facts of bundle.json.

    data: validation pictures; temperature, uncertainty threshold and metrics come from them.
    Nothing is left in `out` when a check fails.
    """
    model = load_keras(weights)
    trained = open_classifier(weights)
    data = aligned(data, trained)
    run = read_run(weights.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        work = Path(folder)
        convert(model, work / FP32)
        converted = open_classifier(work / FP32, scale=trained.scale, offset=trained.offset)
        difference = parity(trained, converted, data)
        judged = data.only_judged()
        logits = converted.logits(judged.images)
        temperature = round(fit_temperature(logits, judged.classes), 3)
        scores = Scores(data.labels, judged.classes, softmax(logits, temperature))
        below = uncertain_below(scores)
        facts: dict[str, Any] = {
            "name": name or model.name,
            "task": "emotion",
            "version": version,
            "license": license_,
            "parameters": trained.parameters,
            "input": {
                "width": trained.size,
                "height": trained.size,
                "color": "gray",
                "layout": "NHWC",
                "dtype": "float32",
                "scale": trained.scale,
                "offset": trained.offset,
            },
            "labels": list(data.labels),
            "output": "logits",
            "temperature": temperature,
            "uncertain_below": below,
            "crop": crop or CROP,
            "metrics": {
                "protocol": data.protocol,
                "split": data.split,
                "n": len(scores),
                **scores.facts(),
                "uncertain": certainty(scores, below),
                "parity": {"images": min(PARITY_IMAGES, len(data)), "max": difference},
            },
            "data": list(_PROVENANCE.get(data.protocol, ("Pictures of the user's own folders",))),
            "training": _training(run, weights.parent),
        }
        shutil.copyfile(weights, work / WEIGHTS)
        write_bundle(work, facts)
        out.mkdir(exist_ok=True)
        # An INT8 file of earlier weights must not stay beside the new ones.
        (out / INT8).unlink(missing_ok=True)
        for path in work.iterdir():
            path.replace(out / path.name)
    return facts


def _training(run: dict[str, Any], folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {
        key: run[key] for key in ("options", "train", "valid", "backend") if key in run
    }
    history = read_history(folder)
    if history:
        best = max(history, key=lambda row: row["valid_accuracy"])
        facts["best_epoch"] = int(best["epoch"])
        facts["epochs_done"] = len(history)
        facts["hours"] = round(sum(row["seconds"] for row in history) / 3600, 3)
    return facts
