"""The first convolution in INT8: the same sums from squares of pixels, none that can saturate."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ferlite import session
from ferlite.training.stem import quantize_stem

HEIGHT, WIDTH, FILTERS = 10, 16, 5
SCALE = 0.05
Floats = NDArray[np.float32]


def network(
    kernel: Floats,
    *,
    bias: Floats | None = None,
    width: int = WIDTH,
    pads: tuple[int, int, int, int] = (0, 0, 1, 1),
    strides: tuple[int, int] = (2, 2),
    relu: bool = True,
    shape: tuple[int, ...] = (-1, 1, HEIGHT, WIDTH),
    **attributes: Any,
) -> Any:
    """The beginning of a network as engines quantize it: what comes is 8-bit behind the stem."""
    constants = {
        "shape": np.array(shape),
        "kernel": kernel,
        "scale": np.float32(SCALE),
        "zero": np.uint8(0 if relu else 128),
    }
    weights = ["kernel"]
    if bias is not None:
        constants["bias"] = bias
        weights.append("bias")
    strided = {"pads": pads, "strides": strides} | attributes
    nodes = [
        helper.make_node("Reshape", ["faces", "shape"], ["planes"]),
        helper.make_node("Conv", ["planes", *weights], ["sums"], **strided),
        *([helper.make_node("Relu", ["sums"], ["kept"])] if relu else []),
        helper.make_node("QuantizeLinear", ["kept" if relu else "sums", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", HEIGHT, width, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", FILTERS, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(model: Any, pictures: Floats) -> Floats:
    return session.create(model.SerializeToString(), provider="cpu").run(pictures)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": None},
        {"relu": False},
        {"pads": (1, 1, 1, 1)},
        {"pads": (1, 2, 0, 3), "taps": (4, 5)},
        {"pads": (0, 0, 0, 0), "taps": (2, 1)},
        {"pads": (3, 3, 3, 3), "taps": (7, 7)},
    ],
)
def test_the_stem_in_int8_answers_as_in_float32(changes: dict[str, Any]) -> None:
    """Within one step of the tensor behind it, where the engine's own rounding is half of one."""
    draw = np.random.default_rng(3)
    changes = dict(changes)
    taps = changes.pop("taps", (3, 3))
    kernel = draw.normal(0, 1 / np.prod(taps) ** 0.5, (FILTERS, 1, *taps)).astype(np.float32)
    kernel[1] = 0  # dead filters, whose bias counts all the same
    kernel[2] *= 1e-12
    bias = draw.normal(0, 1, FILTERS).astype(np.float32)
    model = network(kernel, **({"bias": bias} | changes))
    pictures = (draw.integers(0, 256, (7, HEIGHT, WIDTH, 1)) / 64 - 2).astype(np.float32)
    expected = answers(model, pictures)
    assert quantize_stem(model, -2.0, 255 / 64 - 2)
    onnx.checker.check_model(model, full_check=True)
    assert {"kernel", "bias"}.isdisjoint(t.name for t in model.graph.initializer)
    given = answers(model, pictures)
    assert given.shape == expected.shape and expected.std() > 10 * SCALE
    assert np.abs(given - expected).max() < 1.5 * SCALE


def test_no_sum_of_two_products_can_saturate() -> None:
    kernel = np.ones((FILTERS, 1, 3, 3), np.float32)
    model = network(kernel)
    assert quantize_stem(model, 0.0, 1.0)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    whole = tensors["stem_kernel"].astype(int)
    assert whole.max() == 64 and 2 * 255 * whole.max() < 2**15
    # A blank picture has no range to go by.
    assert quantize_stem(blank := network(kernel), 0.0, 0.0)
    assert not answers(blank, np.zeros((1, HEIGHT, WIDTH, 1), np.float32)).any()


@pytest.mark.parametrize(
    ("width", "changes"),
    [
        (15, {"shape": (-1, 1, HEIGHT, 15)}),  # no whole squares
        (WIDTH, {"shape": (-1, 1, WIDTH, HEIGHT)}),  # a picture on its side
        (WIDTH, {"strides": (1, 1)}),
        (WIDTH, {"strides": (2, 1)}),
        (WIDTH, {"dilations": (2, 2), "pads": (1, 1, 2, 2)}),
        (WIDTH, {"auto_pad": "SAME_UPPER", "pads": (0, 0, 0, 0)}),
    ],
)
def test_what_does_not_fit_is_left_alone(width: int, changes: dict[str, Any]) -> None:
    model = network(np.ones((FILTERS, 1, 3, 3), np.float32), width=width, **changes)
    before = model.SerializeToString()
    assert not quantize_stem(model, 0.0, 1.0)
    assert model.SerializeToString() == before


def test_other_beginnings_are_left_alone() -> None:
    kernel = np.ones((FILTERS, 1, 3, 3), np.float32)
    another_user = network(kernel)
    another_user.graph.node.append(helper.make_node("Neg", ["planes"], ["minus"]))
    computed = network(kernel)
    computed.graph.initializer.remove(computed.graph.initializer[1])
    computed.graph.node.insert(0, helper.make_node("Constant", [], ["kernel"]))
    colour = network(kernel)
    colour.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 3
    for model in (another_user, computed, colour):
        assert not quantize_stem(model, 0.0, 1.0)
