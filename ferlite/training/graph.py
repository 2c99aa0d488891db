"""From a functional Keras model to a small ONNX graph; what both export roads share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import ModelError

OPSET = 17  # later ones make tf2onnx 1.17 add nodes or fail
# Attributes of a convolution or pool in two dimensions, where a node does not state them.
_DEFAULTS = {
    "auto_pad": b"NOTSET",
    "ceil_mode": 0,
    "dilations": [1, 1],
    "group": 1,
    "pads": [0, 0, 0, 0],
    "strides": [1, 1],
}
MAX_FOLDED = 1 << 14  # weights of a 1x1 convolution that takes up the pool before it
SMALL = 1024  # numbers of a tensor that is not worth rounding: biases, scales
# What training leaves behind if a converter is careless; none of it belongs in a shipped network.
_TRAINING_ONLY = ("Dropout", "RandomNormal", "RandomUniform", "RandomNormalLike", "Bernoulli")


def to_onnx(
    model: Any, name: str, signature: Any, dims: Sequence[str], channels_first: Sequence[str] = ()
) -> Any:
    """The onnx.ModelProto of a functional Keras model with one input.

    name: of the graph. signature: the tf.TensorSpec of the input, whose name the input gets.
    dims: names of the leading dimensions of the input, and of the first of each output.
    channels_first: outputs that are given as [n, channels, h, w], though Keras has channels last.
    Raises ModelError for a network that has training-only nodes.
    """
    import tf2onnx

    converted, _ = tf2onnx.convert.from_keras(
        model, [signature], opset=OPSET, outputs_as_nchw=list(channels_first) or None
    )
    graph = converted.graph
    left = {node.op_type for node in graph.node} & set(_TRAINING_ONLY)
    if left:
        raise ModelError(f"the converted network still holds {', '.join(sorted(left))}")
    fold_pools(graph)
    graph.name = name
    for end, names in ((graph.input[0], dims), *((out, dims[:1]) for out in graph.output)):
        for dim, text in zip(end.type.tensor_type.shape.dim, names, strict=False):
            dim.dim_param = text
    # Shapes of inner tensors name the batch in tf2onnx's own way, and nothing needs them.
    del graph.value_info[:]
    converted.producer_name = "ferlite"
    return converted


def check_convertible(model: Any) -> None:
    """ModelError unless the network computes in float32 and TensorFlow is Keras's backend."""
    import keras

    policies = {layer.compute_dtype for layer in model.layers}
    if policies != {"float32"}:
        raise ModelError(f"computes in {', '.join(sorted(policies))}; export best.keras of a run")
    if keras.config.backend() != "tensorflow":
        raise ModelError(
            f"export needs the TensorFlow backend, not {keras.config.backend()}: "
            "set KERAS_BACKEND=tensorflow (weights trained on another backend load there)"
        )


def rename(graph: Any, outputs: Sequence[str]) -> None:
    """Short names in order of computation; tf2onnx's took a twentieth of an INT8 file.

    outputs: the new names of the outputs.
    """
    ends = [graph.input[0].name, *(out.name for out in graph.output)]
    names = dict(zip(ends, [graph.input[0].name, *outputs], strict=True)) | {"": ""}
    for i, tensor in enumerate(graph.initializer):
        names[tensor.name] = f"w{i}"
        tensor.name = names[tensor.name]
    for i, node in enumerate(graph.node):
        for old in node.output:
            names.setdefault(old, f"x{i}")
        node.name = f"{node.op_type}_{i}"
        node.input[:] = [names[old] for old in node.input]
        node.output[:] = [names[old] for old in node.output]
    for out, new in zip(graph.output, outputs, strict=True):
        out.name = new


def round_weights(graph: Any, bits: int) -> None:
    """Round the large float32 tensors to `bits` bits of mantissa, to nearest, ties to even.

    The bits that become zero take no room in a wheel: with 13 of 23 bits left the emotion model
    packs into 2.5 MB of 3.8, with all of them into 3.3. The files keep their form and speed, and
    the parity checks judge the rounded weights.
    """
    from onnx import TensorProto, numpy_helper

    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and int(np.prod(tensor.dims)) >= SMALL:
            values = rounded(numpy_helper.to_array(tensor), bits)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def rounded(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """float32 with the lowest 23 - `bits` bits of the mantissa zero; bits from 1 to 22."""
    drop = 23 - bits
    pattern = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((pattern >> np.uint32(drop)) & np.uint32(1))
    # A carry out of the mantissa makes the next power of two, as it should.
    kept = (pattern + half) & ~np.uint32((1 << drop) - 1)
    return np.asarray(kept.view(np.float32).reshape(values.shape))


def fold_pools(graph: Any) -> int:
    """Make a 2x2 average pool and the 1x1 convolution behind it one 2x2 convolution of stride 2.

    The same sums in another order: as INT8 the pools took a sixth of the time of ferlite-s. Before
    a wide convolution, four times whose weights would weigh in the file, the pool becomes a
    depthwise convolution: a fifth of a pool's time in INT8. Returns how many pools went.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    gone = 0
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
            mean = np.full((kernel.shape[1], 1, 2, 2), 0.25, np.float32)
            graph.initializer.append(numpy_helper.from_array(mean, f"{pool.name}_mean"))
            pool.op_type = "Conv"
            pool.input.append(f"{pool.name}_mean")
            _set(pool, kernel_shape=[2, 2], strides=[2, 2], group=len(mean))
        else:
            spread = np.repeat(np.repeat(kernel, 2, axis=2), 2, axis=3) / np.float32(4)
            weights[conv.input[1]].CopyFrom(numpy_helper.from_array(spread, conv.input[1]))
            conv.input[0] = pool.input[0]
            _set(conv, kernel_shape=[2, 2], strides=[2, 2])
            graph.node.remove(pool)
        gone += 1
    return gone


def _set(node: Any, **attributes: Any) -> None:
    """Give a node these attributes and no others."""
    import onnx

    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(*one) for one in attributes.items())


def attributes(node: Any) -> dict[str, Any]:
    """Of a convolution or pool in two dimensions, with ONNX's defaults."""
    from onnx import helper

    return _DEFAULTS | {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _is(node: Any, **wanted: Any) -> bool:
    """Whether all these attributes have the wanted values, and padding is stated in numbers."""
    has = attributes(node)
    numbers = has["auto_pad"] in (b"NOTSET", b"VALID")
    return numbers and all(has.get(name) == value for name, value in wanted.items())
