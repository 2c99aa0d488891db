"""The first convolution of a grey network in INT8: squares of pixels stand for channels.

8-bit kernels take input channels by fours, and a grey picture has one. As it is, ONNX Runtime
gathers its pixels one by one, five times the time of float32, whose result is then reordered and
quantized. So each 2x2 square of pixels is read as four channels at one place (space to depth), and
a convolution of stride 2 becomes one of stride 1 with a kernel of half the size.

The picture fills all 8 bits, and x86 processors without VNNI add two 8-bit products in 16: with 8
bits of weights 18 % of the sums of ferlite-s saturated there. With weights from -64 to 64 none can:
2 * 255 * 64 is less than 2 ** 15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.training.graph import attributes

LARGEST_WEIGHT = 64
Floats = NDArray[np.float32]


def quantize_stem(model: Any, low: float, high: float) -> bool:
    """Quantize the first convolution of a quantized onnx.ModelProto, in place.

    low, high: least and largest value of the input.
    False, and nothing is changed, unless it is in float32, has one input channel and a stride of 2,
    and stands right behind the input [n, h, w, 1], of even size.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    size = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim][1:]
    reshape = _follower(graph, graph.input[0].name, "Reshape")
    conv = _follower(graph, reshape.output[0], "Conv") if reshape else None
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if conv is None or not weights.keys() >= {reshape.input[1], *conv.input[1:]}:
        return False
    kernel, *biases = (weights[name] for name in conv.input[1:])
    has = attributes(conv)
    height, width = list(weights[reshape.input[1]])[-2:]
    if (
        kernel.shape[1] != 1
        or size != [height, width, 1]
        or (has["strides"], has["dilations"], has["auto_pad"]) != ([2, 2], [1, 1], b"NOTSET")
    ):
        return False
    top, left, bottom, right = has["pads"]
    folded, begin = space_to_depth(kernel, top, left)
    # As many outputs as before: (size + padding - taps) / 2 + 1 of pixels, of squares without / 2.
    pixels = np.array([height + top + bottom, width + left + right]) - kernel.shape[2:]
    squares = np.array([height // 2, width // 2]) + begin - folded.shape[2:]
    end = pixels // 2 - squares
    if height % 2 or width % 2 or end.min() < 0:
        return False
    tensors = _in_8_bits(
        folded, biases[0] if biases else np.zeros(len(folded), np.float32), low, high
    )
    for name, tensor in tensors.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(tensor), f"stem_{name}"))

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], output, **attributes)

    def parts(name: str) -> list[str]:
        return [f"stem_{name}{part}" for part in ("", "_step", "_zero")]

    nodes = [
        node("SpaceToDepth", [conv.input[0]], "stem_squares", blocksize=2),
        node("QuantizeLinear", ["stem_squares", *parts("pixels")[1:]], "stem_pixels"),
        node("DequantizeLinear", parts("pixels"), "stem_x"),
        node("DequantizeLinear", parts("kernel"), "stem_w", axis=0),
        node("DequantizeLinear", parts("bias"), "stem_b", axis=0),
        node("Conv", ["stem_x", "stem_w", "stem_b"], conv.output[0], pads=[*begin, *end]),
    ]
    rest = [one for one in graph.node if one not in (reshape, conv)]
    del graph.node[:]
    graph.node.extend([reshape, *nodes, *rest])
    for tensor in [tensor for tensor in graph.initializer if tensor.name in conv.input[1:]]:
        if not any(tensor.name in one.input for one in graph.node):
            graph.initializer.remove(tensor)
    return True


def space_to_depth(kernel: Floats, top: int, left: int) -> tuple[Floats, tuple[int, int]]:
    """A kernel [filters, 1, h, w] of stride 2 as one of stride 1 over squares of pixels.

    top, left: padding in pixels. Returns the kernel [filters, 4, h, w] and its padding in squares.
    """
    filters, _, height, width = kernel.shape
    above, before = top % 2, left % 2  # a square begins at an even pixel
    below, after = (above + height) % 2, (before + width) % 2
    even = np.pad(kernel[:, 0], [(0, 0), (above, below), (before, after)])
    squares = even.reshape(filters, even.shape[1] // 2, 2, even.shape[2] // 2, 2)
    folded = squares.transpose(0, 2, 4, 1, 3).reshape(filters, 4, *squares.shape[1:4:2])
    return folded, ((top + above) // 2, (left + before) // 2)


def _in_8_bits(kernel: Floats, bias: Floats, low: float, high: float) -> dict[str, Any]:
    """Integers, steps (the value of 1) and zeros (the integer of 0) of pixels, kernel and bias."""
    low, high = min(low, 0.0), max(high, 0.0)  # padding is zero
    step = np.float32((high - low or 1.0) / 255)
    # Of a filter that is all but zero the bias would not fit into 32 bits.
    steps = np.maximum(
        np.abs(kernel).max(axis=(1, 2, 3)) / LARGEST_WEIGHT, np.abs(bias) / (step * 2**30)
    ).astype(np.float32)
    steps[steps == 0] = 1
    return {
        "pixels_step": step,
        "pixels_zero": np.uint8(round(-low / step)),
        "kernel": np.round(kernel / steps[:, None, None, None]).astype(np.int8),
        "kernel_step": steps,
        "kernel_zero": np.zeros(len(steps), np.int8),
        "bias": np.round(bias / (step * steps)).astype(np.int32),
        "bias_step": step * steps,
        "bias_zero": np.zeros(len(steps), np.int32),
    }


def _follower(graph: Any, name: str, kind: str) -> Any:
    """The node that takes `name`, if it is the only one and an operation of that kind."""
    users = [node for node in graph.node if name in node.input]
    return users[0] if len(users) == 1 and users[0].op_type == kind else None
