"""Any trained network, `.keras` or `.onnx`, as something that scores grey pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from ferlite import session
from ferlite.bundles import METADATA_KEY, EmotionBundle, find
from ferlite.errors import DataError, ModelError, UsageError
from ferlite.training.data import EmotionData
from ferlite.training.records import labels_beside

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]
_BATCH = 128


@dataclass(frozen=True)
class Classifier:
    """A network that scores uint8 [n, size, size] grey pictures.

    kind: "keras" or "onnx". outputs: scores it gives a picture. labels: in their order; () when the
    file does not say. states_input: whether it says how it wants its pictures scaled.
    parameters: numbers it learned, or None. temperature: divides the logits for probabilities.
    run: the network's own input -> its logits or probabilities.
    embed: likewise -> features behind the last decision, or None where there are none.
    """

    path: Path
    kind: str
    size: int
    labels: tuple[str, ...]
    temperature: float
    states_input: bool
    scale: float
    offset: float
    channels_first: bool
    parameters: int | None
    run: Callable[[Scores], Scores]
    embed: Callable[[Scores], Scores] | None
    outputs: int = 0

    def input(self, images: Images) -> Scores:
        """uint8 [n, size, size] to what the network takes."""
        values = images.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)
        return values[:, None] if self.channels_first else values[..., None]

    def logits(self, images: Images) -> Scores:
        """float32 [n, classes]; logarithms where the network gives probabilities.

        Raises ModelError when a score is not finite.
        """
        scores = self._batched(self.run, images)
        if not np.isfinite(scores).all():
            raise ModelError(f"{self.path}: gave a score that is not a finite number")
        return np.log(np.maximum(scores, 1e-12)) if _are_probabilities(scores) else scores

    def output(self, images: Images) -> Literal["logits", "probabilities"]:
        """What the network gives for pictures, as a bundle states it."""
        scores = self._batched(self.run, images)
        return "probabilities" if _are_probabilities(scores) else "logits"

    def probabilities(self, images: Images, temperature: float | None = None) -> NDArray[Any]:
        """float64 [n, classes], with the model's own temperature unless told."""
        return softmax(self.logits(images), temperature or self.temperature)

    def embedding(self, images: Images) -> Scores | None:
        """float32 [n, features], averaged over positions; None where the network has none."""
        if self.embed is None:
            return None
        features = self._batched(self.embed, images)
        if features.ndim == 4:
            features = features.mean(axis=(2, 3) if self.kind == "onnx" else (1, 2))
        return features.reshape(len(images), -1)

    def milliseconds(self, image: Images, batch: int, seconds: float = 1.0) -> float:
        """Best of repeated runs on one batch, milliseconds a face."""
        inputs = np.repeat(self.input(image[None]), batch, axis=0)
        for _ in range(3):
            self.run(inputs)
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            start = time.perf_counter()
            self.run(inputs)
            best = min(best, time.perf_counter() - start)
        return best * 1000 / batch

    def _batched(self, run: Callable[[Scores], Scores], images: Images) -> Scores:
        parts = [run(self.input(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
        return np.concatenate(parts)


def _are_probabilities(scores: Scores) -> bool:
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """float64 rows that sum to 1."""
    scores = logits.astype(np.float64) / temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def open_classifier(
    path: Path,
    *,
    scale: float | None = None,
    offset: float | None = None,
    labels: tuple[str, ...] = (),
    threads: int = 0,
    embedding: bool = False,
) -> Classifier:
    """Load a `.keras` file of `ferlite train` or an `.onnx` file.

    scale, offset: value = pixel * scale + offset, for an ONNX file without ferlite's metadata
        (default 1/255 and 0); others say themselves. labels: to replace what a file says.
    threads: 0 for the default. embedding: also prepare `.embedding`.
    Raises ModelError for a file that does not score grey pictures.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the .keras or .onnx file in it")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name a .keras or .onnx file")
    if path.suffix == ".keras":
        opened = _open_keras(path, embedding)
    elif path.suffix == ".onnx":
        opened = _open_onnx(path, threads, embedding)
    else:
        raise UsageError(f"{path} is neither a .keras nor an .onnx file")
    if not opened.states_input:
        opened = replace(
            opened,
            scale=opened.scale if scale is None else scale,
            offset=opened.offset if offset is None else offset,
        )
    labels = labels or opened.labels
    shape = opened.run(opened.input(np.zeros((1, opened.size, opened.size), np.uint8))).shape
    if len(shape) != 2:
        raise ModelError(f"{path} gives an array of shape {shape} for a picture, not [1, classes]")
    if labels and len(labels) != shape[1]:
        raise ModelError(
            f"{path} gives {shape[1]} scores for a picture, not one for each of {', '.join(labels)}"
        )
    return replace(opened, labels=labels, outputs=shape[1])


def aligned(data: EmotionData, classifier: Classifier) -> EmotionData:
    """The data with its classes in the classifier's order; DataError when they are others."""
    labels = classifier.labels or data.labels
    if len(labels) != classifier.outputs:
        raise DataError(
            f"{classifier.path.name} gives {classifier.outputs} scores for a picture; the "
            f"{data.split} data has {', '.join(data.labels)}; choose another --protocol"
        )
    if set(labels) != set(data.labels) or len(labels) != len(data.labels):
        raise DataError(
            f"{classifier.path.name} tells apart {', '.join(labels)}; the {data.split} data has "
            f"{', '.join(data.labels)}; choose another --protocol"
        )
    columns = [data.labels.index(label) for label in labels]
    return replace(data, labels=labels, targets=data.targets[:, columns])


def load_keras(path: Path) -> Any:
    """The functional float32 model in a .keras file, whatever backend trained it."""
    if not path.is_file():
        raise ModelError(f"{path} is not a file; name a .keras file")
    # Keras says of one that is cut off that it is not there.
    if path.suffix == ".keras" and not is_zipfile(path):
        raise ModelError(f"{path}: not a Keras model: cut off or something else; copy it anew")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    # Keras raises errors of many kinds for a file that is not one of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a Keras model: {reason}") from error


def _open_keras(path: Path, embedding: bool) -> Classifier:
    import keras

    from ferlite.training.networks import INPUT_OFFSET, INPUT_SCALE

    model = load_keras(path)
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1:
        raise ModelError(f"{path} takes {shape}, not square grey pictures [n, size, size, 1]")
    if shape[1] is None:
        raise ModelError(f"{path} takes {shape}: its picture size is not fixed")
    if len(model.outputs) != 1:
        raise ModelError(f"{path} has {len(model.outputs)} outputs, not one score for each class")
    embed = None
    if embedding and "embedding" in [layer.name for layer in model.layers]:
        features = keras.Model(model.inputs, model.get_layer("embedding").output)
        embed = _runner(features)
    return Classifier(
        path=path,
        kind="keras",
        size=int(shape[1]),
        labels=labels_beside(path),
        temperature=1.0,
        states_input=True,
        scale=INPUT_SCALE,
        offset=INPUT_OFFSET,
        channels_first=False,
        parameters=int(model.count_params()),
        run=_runner(model),
        embed=embed,
    )


def _runner(model: Any) -> Callable[[Scores], Scores]:
    return lambda inputs: np.asarray(model.predict_on_batch(inputs), np.float32)


def _open_onnx(path: Path, threads: int, embedding: bool) -> Classifier:
    opened = session.create(path, provider="cpu", threads=threads)
    labels: tuple[str, ...] = ()
    scale, offset, temperature = 1 / 255, 0.0, 1.0
    parameters = None
    if METADATA_KEY in opened.metadata:
        bundle = find(path)
        if not isinstance(bundle, EmotionBundle):
            raise ModelError(f"{path} is a model for {bundle.task}; give --task {bundle.task}")
        labels, temperature = bundle.labels, bundle.temperature
        scale, offset = bundle.input.scale, bundle.input.offset
        # Export merges and quantization adds numbers; the network's own count is in its facts.
        parameters = json.loads(opened.metadata[METADATA_KEY]).get("parameters")
    shape = opened.input_shape
    if len(shape) != 4 or 1 not in (shape[1], shape[3]):
        raise ModelError(f"{path} takes {shape}, not grey pictures [n, h, w, 1] or [n, 1, h, w]")
    channels_first = shape[1] == 1
    size = shape[2]
    if not isinstance(size, int):
        raise ModelError(f"{path} takes {shape}: its picture size is not fixed")
    return Classifier(
        path=path,
        kind="onnx",
        size=size,
        labels=labels,
        temperature=temperature,
        states_input=METADATA_KEY in opened.metadata,
        scale=scale,
        offset=offset,
        channels_first=channels_first,
        parameters=parameters or count_parameters(path),
        run=lambda inputs: np.asarray(opened.run(inputs)[0], np.float32),
        embed=_onnx_features(path, threads) if embedding else None,
    )


def count_parameters(path: Path) -> int:
    """Numbers in the initializers; for INT8 the scales and zero points are left out."""
    import onnx

    graph = onnx.load(str(path)).graph
    helpers = {
        name
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for name in node.input[1:]
    }
    return sum(
        int(np.prod(tensor.dims))
        for tensor in graph.initializer
        if tensor.name not in helpers and tensor.data_type in (1, 2, 3, 6, 10)
    )


def _onnx_features(path: Path, threads: int) -> Callable[[Scores], Scores] | None:
    """The input of the last dense layer, given out as the first output of a copy.

    Of the last convolution where a network ends in one, as xception8 does.
    """
    import onnx

    model = onnx.load(str(path))
    nodes = model.graph.node
    dense = [node for node in nodes if node.op_type in ("Gemm", "MatMul")]
    last = (dense or [node for node in nodes if node.op_type == "Conv"])[-1:]
    if not last:
        return None
    value = onnx.helper.make_tensor_value_info(last[0].input[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.insert(0, value)
    opened = session.create(
        model.SerializeToString(), provider="cpu", threads=threads, name=str(path)
    )
    return lambda inputs: np.asarray(opened.run(inputs)[0], np.float32)
