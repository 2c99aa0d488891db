"""ferlite._core called directly: the GIL, and the guards behind those of ferlite.crops."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferlite import _core

F32 = np.float32
CROP: dict[str, Any] = {
    "image": np.zeros((9, 8, 3), np.uint8),
    "boxes": np.array([[1, 2, 3, 4]], np.float32),
    "angles": np.empty(0),
    "out": np.empty((1, 5, 6, 1), np.float32),
    "image_color": "bgr",
    "color": "gray",
    "scale": 1.0,
    "offset": 0.0,
    "threads": 1,
}
LETTERBOX = {key: value for key, value in CROP.items() if key not in ("boxes", "angles")}
LETTERBOX |= {"padding": 114.0, "enlarge": True}
NMS: dict[str, Any] = {
    "boxes": np.ones((3, 4), np.float32),
    "scores": np.ones(3, np.float32),
    "iou": 0.5,
    "kept": np.empty(3, np.int64),
}
DECODE: dict[str, Any] = {
    "maps": [np.ones((15, 4, 5), np.float32)],
    "strides": [8.0],
    "threshold": 0.5,
    "zoom": (1.0, 0.0, 0.0),
}


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


# Each long enough, about a millisecond, for another thread to wake up meanwhile.
LONG_CROP = CROP | {"image": np.zeros((400, 400, 3), np.uint8), "out": ones(16, 48, 48, 1)}
LONG_CROP |= {"boxes": np.tile(np.array([0, 0, 400, 400], np.float32), (16, 1))}
LONG_LETTERBOX = LETTERBOX | {"out": ones(1, 640, 640, 1)}
LONG_NMS = NMS | {"boxes": ones(1000, 4), "scores": ones(1000), "iou": 1.0}
LONG_NMS |= {"kept": np.empty(1000, np.int64)}
LONG_DECODE = DECODE | {"maps": [ones(15, 300, 300)]}


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.crop_faces(**LONG_CROP),
        lambda: _core.crop_faces(**(LONG_CROP | {"angles": np.ones(16)})),
        lambda: _core.letterbox(**LONG_LETTERBOX),
        lambda: _core.nms(**LONG_NMS),
        lambda: _core.decode(**LONG_DECODE),
    ],
    ids=["crop", "turned", "letterbox", "nms", "decode"],
)
def test_the_gil_is_released(call: Callable[[], object]) -> None:
    """With switches forbidden, another thread can run only where a call lets go of the GIL."""
    gate = threading.Lock()
    ran: list[bool] = []

    def other() -> None:
        with gate:
            ran.append(True)

    interval = sys.getswitchinterval()
    gate.acquire()
    thread = threading.Thread(target=other)
    sys.setswitchinterval(1000)  # seconds; from before the start, so that `other` reaches the gate
    try:
        thread.start()
        gate.release()
        # The other thread may need more than one chance to wake up in time.
        for _ in range(300):
            call()
            if ran:
                break
        overtaken = bool(ran)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert overtaken


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def misaligned(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape)) * 4
    return np.zeros(size + 1, np.uint8)[1:].view(np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"scale": float("nan")}, ValueError, "scale is nan; it must be finite"),
        ({"offset": float("-inf")}, ValueError, "offset is -inf; it must be finite"),
        ({"image": np.zeros((9, 8, 3))}, TypeError, "incompatible"),
        ({"image": np.zeros((9, 8, 3), np.int8)}, TypeError, "incompatible"),
        ({"image": np.zeros((9, 8, 4), np.uint8)}, ValueError, r"image has shape \[9, 8, 4\]"),
        ({"image": np.zeros((9, 0, 3), np.uint8)}, ValueError, "0x9 pixels"),
        ({"image": np.zeros((9, 8), np.uint8)}, ValueError, r"\[9, 8\] but its color is 'bgr'"),
        ({"image_color": "gray"}, ValueError, "its color is 'gray'"),
        ({"color": "cmyk"}, ValueError, "color is 'cmyk'"),
        ({"boxes": np.zeros((1, 4))}, TypeError, "incompatible"),
        ({"boxes": np.ones((1, 5), F32)}, ValueError, r"boxes has shape \[1, 5\]"),
        ({"boxes": np.ones((1, 8), F32)[:, ::2]}, ValueError, "C-contiguous"),
        ({"boxes": np.ones((2, 4), F32)}, ValueError, r"must be \[2, height, width, 1\]"),
        ({"boxes": np.array([[0, 0, 0, 1]], F32)}, ValueError, r"boxes\[0\] is \(0, 0, 0, 1\)"),
        ({"boxes": np.array([[0, np.nan, 1, 1]], F32)}, ValueError, r"\(0, nan, 1, 1\)"),
        ({"angles": np.ones(2)}, ValueError, "2 angles for 1 boxes"),
        ({"angles": np.array([np.inf])}, ValueError, r"angles\[0\] is inf"),
        ({"out": np.empty((1, 5, 6, 3), F32)}, ValueError, r"out has shape \[1, 5, 6, 3\]"),
        ({"out": np.empty((1, 0, 6, 1), F32)}, ValueError, "sides must be 1 to"),
        ({"out": np.empty((1, 5, 6, 1))}, TypeError, "incompatible"),
        ({"out": read_only(np.empty((1, 5, 6, 1), F32))}, ValueError, "read-only"),
        ({"out": misaligned((1, 5, 6, 1))}, ValueError, "out is not aligned"),
        ({"threads": 0}, ValueError, "threads is 0"),
    ],
)
def test_crop_guards(change: dict[str, Any], error: type[Exception], named: str) -> None:
    _core.crop_faces(**CROP)
    with pytest.raises(error, match=named):
        _core.crop_faces(**(CROP | change))


@pytest.mark.parametrize(
    ("call", "change", "named"),
    [
        (_core.letterbox, {"threads": -1}, "threads is -1"),
        (_core.letterbox, {"out": np.empty((2, 5, 6, 1), F32)}, r"\[1, height, width, 1\]"),
        (_core.letterbox, {"image": np.zeros((0, 8, 3), np.uint8)}, "8x0 pixels"),
        (_core.nms, {"scores": np.ones(2, F32)}, "2 scores for 3 boxes"),
        (_core.nms, {"scores": np.full(3, np.nan, F32)}, r"scores\[0\] is nan"),
        (_core.nms, {"boxes": np.full((3, 4), np.inf, F32)}, r"boxes\[0\] is \(inf, inf"),
        (_core.nms, {"kept": read_only(np.empty(3, np.int64))}, "kept has shape"),
        (_core.decode, {"maps": [np.ones((4, 5), F32)]}, r"a map has shape \[4, 5\]"),
        (_core.decode, {"maps": [np.ones((6, 4, 5), F32)]}, r"a map has shape \[6, 4, 5\]"),
        (_core.decode, {"maps": [misaligned((5, 4, 5))]}, "a map is not aligned"),
        (_core.decode, {"strides": [8.0, 16.0]}, "one stride a map"),
        (
            _core.decode,
            {"maps": [ones(5, 1, 1), ones(7, 1, 1)], "strides": [8.0, 16.0]},
            "differ in their channels",
        ),
    ],
)
def test_other_guards(call: Callable[..., object], change: dict[str, Any], named: str) -> None:
    good = {"letterbox": LETTERBOX, "nms": NMS, "decode": DECODE}[call.__name__]
    call(**good)
    with pytest.raises(ValueError, match=named):
        call(**(good | change))


def test_decode_converts_no_map() -> None:
    with pytest.raises(TypeError, match="incompatible"):
        _core.decode(**(DECODE | {"maps": [np.ones((15, 4, 5))]}))
