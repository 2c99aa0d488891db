"""The trained detector as ONNX: batch normalisation and input scaling folded, channels first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite import session
from ferlite.errors import ModelError, UsageError
from ferlite.staging import working_folder
from ferlite.training.graph import check_convertible, rename, round_weights, to_onnx

STEP = 32  # sides of the input are multiples of this
_TRACED_SIDE = 2 * STEP  # any multiple: convolutions know no size
# Parity is judged in cells of at least this score; others are no faces.
JUDGED_SCORE = 0.05
SCORE_PARITY, SIDE_PARITY_PX = 1e-4, 0.05
MANTISSA_BITS = 18  # of the weights; 16 come near that parity

Maps = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Scaling:
    """What is done to the logits of one stride: logit * slope + bias."""

    slope: float = 1.0
    bias: float = 0.0


def convert(model: Any) -> Any:
    """The onnx.ModelProto of a trained detector, as the runtime takes it.

    Input "image" uint8 [batch, height, width, 3]; outputs "stride8" and so on, float32
    [batch, 15, height / stride, width / stride]. Raises ModelError for a network that computes in
    less than float32 or has training-only nodes.
    """
    import onnx

    check_convertible(model)
    import tensorflow as tf

    shape = (_TRACED_SIDE, _TRACED_SIDE, 3)
    signature = tf.TensorSpec([None, *shape], tf.uint8, name="image")
    names = [str(name) for name in model.output_names]
    converted = to_onnx(
        _deployed(model, shape), model.name, signature, ("batch", "height", "width"), names
    )
    graph = converted.graph
    rename(graph, names)
    for out in graph.output:
        sides = out.type.tensor_type.shape.dim[2:]
        for side, of in zip(sides, ("height", "width"), strict=True):
            side.dim_param = f"{of}/{out.name.removeprefix('stride')}"
    onnx.checker.check_model(converted, full_check=True)
    return converted


def _deployed(model: Any, shape: tuple[int, int, int]) -> Any:
    """The same function in fewer and simpler layers, for pictures of one shape.

    Normalisation and input scaling become part of the convolutions (in float64). Keras doubles a
    map by repeating rows and columns, which converts to twenty nodes; this has one that does it.
    """
    import keras
    from keras import layers

    class Step(layers.Layer):  # type: ignore[misc, unused-ignore]
        """In the place of a layer that is folded, or is done otherwise."""

        def __init__(self, of: Any) -> None:
            super().__init__(name=of.name)
            self._of = of

        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            if isinstance(self._of, layers.UpSampling2D):
                import tensorflow as tf

                size = [2 * x.shape[1], 2 * x.shape[2]]
                return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size)
            return keras.ops.cast(x, "float32")

    convolutions = (layers.Conv2D, layers.DepthwiseConv2D)

    def step(layer: Any) -> Any:
        if isinstance(layer, layers.UpSampling2D) and (
            layer.size != (2, 2) or layer.interpolation != "nearest"
        ):
            raise ModelError(f"layer {layer.name} enlarges otherwise than twofold to the nearest")
        if isinstance(layer, layers.UpSampling2D | layers.Rescaling | layers.BatchNormalization):
            return Step(layer)
        config = layer.get_config()
        if isinstance(layer, convolutions):
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    inputs = keras.Input(shape, dtype="uint8", name="image")
    twin = keras.models.clone_model(model, input_tensors=inputs, clone_function=step)
    for layer in model.layers:
        if isinstance(layer, convolutions):
            twin.get_layer(layer.name).set_weights(_folded(layer))
    return twin


def _folded(layer: Any) -> list[NDArray[np.float32]]:
    """Kernel and bias of a convolution with the layers around it that only scale and shift."""
    from keras import layers

    kernel, *rest = (np.asarray(value, np.float64) for value in layer.get_weights())
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    bias = rest[0] if rest else np.zeros(kernel.shape[2] if depthwise else kernel.shape[3])
    before = layer.input._keras_history.operation
    if isinstance(before, layers.Rescaling):
        if before.offset:  # the padding around the picture would be shifted too
            raise ModelError(f"layer {before.name} shifts the picture; only scaling is folded")
        kernel = kernel * before.scale
    after = [node.operation for node in layer._outbound_nodes]
    if len(after) == 1 and isinstance(after[0], layers.BatchNormalization):
        gamma, beta, mean, variance = (
            np.asarray(value, np.float64) for value in after[0].get_weights()
        )
        factor = gamma / np.sqrt(variance + after[0].epsilon)
        kernel = kernel * (factor[:, np.newaxis] if depthwise else factor)
        bias = (bias - mean) * factor + beta
    return [kernel.astype(np.float32), bias.astype(np.float32)]


def finish(model: Any, scaling: Mapping[str, Scaling]) -> None:
    """Fold the scaling of each output's logits into its convolution, and round the weights."""
    from onnx import numpy_helper

    graph = model.graph
    last = {node.output[0]: node for node in graph.node}
    for output, one in scaling.items():
        conv = last[output]
        if len(conv.input) == 2:  # the converter leaves a bias of zeros out
            zeros = np.zeros(graph.output[0].type.tensor_type.shape.dim[1].dim_value, np.float32)
            conv.input.append(f"{output}_bias")
            graph.initializer.append(numpy_helper.from_array(zeros, conv.input[2]))
        weights = {tensor.name: tensor for tensor in graph.initializer}
        for name, shift in ((conv.input[1], 0.0), (conv.input[2], one.bias)):
            values = numpy_helper.to_array(weights[name]).copy()
            values[0] = values[0] * one.slope + shift
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
    round_weights(model.graph, MANTISSA_BITS)


def parity(
    model: Any,
    converted: session.Session,
    scaling: Mapping[str, Scaling],
    batches: Sequence[NDArray[np.uint8]],
) -> tuple[float, float]:
    """Largest differences between Keras and ONNX over pictures: of a score, of a side in pixels.

    Over the cells to which either gives `JUDGED_SCORE`. Raises ModelError at `SCORE_PARITY` or
    `SIDE_PARITY_PX` and above, and when there is no such cell.
    """
    import keras

    score = side = 0.0
    cells = 0
    for batch in batches:
        maps = keras.tree.flatten(model(batch, training=False))
        given = dict(zip(converted.output_names, converted.run(batch), strict=True))
        for name, own in zip(model.output_names, maps, strict=True):
            a = np.asarray(keras.ops.convert_to_numpy(own), np.float64).transpose(0, 3, 1, 2)
            b = np.asarray(given[name], np.float64)
            one = scaling.get(name, Scaling())
            p, q = (_sigmoid(z) for z in (a[:, 0] * one.slope + one.bias, b[:, 0]))
            judged = np.maximum(p, q) >= JUDGED_SCORE
            if not judged.any():
                continue
            cells += int(judged.sum())
            stride = int(name.removeprefix("stride"))
            sides = (np.exp(np.minimum(m[:, 1:5], 8)).transpose(1, 0, 2, 3) for m in (a, b))
            edges = np.subtract(*sides)[:, judged] * stride
            score = max(score, float(np.abs(p - q)[judged].max()))
            side = max(side, float(np.abs(edges).max()))
    if not cells:
        raise ModelError(
            f"the network gives no cell of {len(batches)} photographs a score of {JUDGED_SCORE}: "
            "it has not learned to find faces; nothing was written"
        )
    if not (score < SCORE_PARITY and side < SIDE_PARITY_PX):
        raise ModelError(
            f"ONNX and Keras differ by {score:.2e} in score and {side:.3f} pixels in a side over "
            f"{cells} cells ({SCORE_PARITY:g} and {SIDE_PARITY_PX:g} are the limits); "
            "nothing was written"
        )
    return score, side


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def fix_size(source: Path, out: Path, size: int) -> None:
    """Copy a detector's .onnx with an input of [1, size, size, 3], for runtimes that need that.

    fp32 or INT8. Raises UsageError for a size that no input can have, ModelError for a file that
    is no detector.
    """
    import onnx

    if size < STEP or size % STEP:
        raise UsageError(f"--size {size}: a side of the input is a multiple of {STEP}")
    if out.resolve() == source.resolve():
        raise UsageError(f"--out {out} is the network itself; name another file")
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: a network of fixed size is one .onnx file")
    try:
        model = onnx.load(str(source))
        ends = {end.name: end.type.tensor_type.shape.dim for end in model.graph.input}
        ends |= {end.name: end.type.tensor_type.shape.dim for end in model.graph.output}
    # The errors of a file that is no ONNX are protobuf's own.
    except Exception as error:
        raise ModelError(f"{source}: not an ONNX file: {' '.join(str(error).split())}") from error
    for name, dims in ends.items():
        stride = re.fullmatch(r"stride([1-9][0-9]{0,2})", name)
        if name == "image" and len(dims) == 4:
            lengths = [1, size, size, 3]
        elif stride and len(dims) == 4:
            lengths = [1, dims[1].dim_value, *[size // int(stride[1])] * 2]
        else:
            raise ModelError(f"{source}: has {name}; a face detector has image, stride8 and so on")
        for dim, length in zip(dims, lengths, strict=True):
            dim.dim_value = length
    onnx.checker.check_model(model, full_check=True)
    with working_folder(out.parent) as work:
        onnx.save(model, str(work / out.name))
        (work / out.name).replace(out)
