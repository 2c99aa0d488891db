"""Frames that the caller already holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import UsageError
from ferlite.sources.base import Sampler, SourceBase, SourceOptions
from ferlite.types import Frame, SourceInfo


class ArraysSource(SourceBase):
    """Any iterable of pictures: uint8 HxWx3, or HxW or HxWx1 grey; or of (t, picture) pairs.

    t is in seconds. Without it, the position over SourceOptions.array_fps. The channel order is
    SourceOptions.color. Pictures are copied, so the caller may use one buffer for all. A single
    picture is one frame, an array [n, h, w, 3] or [n, h, w] is n.

    Iterating raises UsageError, naming position, shape and dtype, at an item that is no picture.
    """

    def __init__(self, arrays: Iterable[Any], options: SourceOptions | None = None) -> None:
        if isinstance(arrays, np.ndarray) and (
            arrays.ndim == 2 or (arrays.ndim == 3 and arrays.shape[2] in (1, 3))
        ):
            arrays = [arrays]
        if not isinstance(arrays, Iterable):
            raise UsageError(f"{type(arrays).__name__} is no source; give pictures or a path")
        super().__init__(SourceInfo("arrays", "arrays"), options or SourceOptions())
        self._arrays = arrays

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            return
        options = self._options
        sampler: Sampler | None = None
        for position, item in enumerate(self._arrays):
            if self._closed.is_set():
                return
            t, array = _timed(item, position, options.array_fps)
            if sampler is None:
                sampler = Sampler(options, t)
            if sampler.ended(t):
                return
            checked = _checked(array, position, options.color)
            if not sampler.wants(t):
                continue
            image = _bgr(checked, options.color)
            height, width = image.shape[:2]
            if (width, height) != (self._info.width, self._info.height):
                self._info = SourceInfo("arrays", "arrays", width, height)
            yield Frame(self._info, sampler.index, t, image)


def _timed(item: Any, position: int, fps: float) -> tuple[float, Any]:
    if not (isinstance(item, tuple) and len(item) == 2):
        return position / fps, item
    t = item[0]
    if not isinstance(t, int | float | np.number) or not math.isfinite(t):
        raise UsageError(f"item {position}: time {t!r} of a (t, picture) pair is no finite number")
    return float(t), item[1]


def _checked(array: Any, position: int, color: str) -> NDArray[np.uint8]:
    if not isinstance(array, np.ndarray):
        raise UsageError(f"item {position}: {type(array).__name__} is no NumPy array")
    channels = (1,) if color == "gray" else (1, 3)
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in channels)
    if array.dtype != np.uint8 or not right_shape or not array.size:
        wanted = "HxW" if color == "gray" else "HxWx3 or HxW"
        raise UsageError(
            f"item {position}: shape {array.shape}, dtype {array.dtype}; give uint8 {wanted}"
        )
    return array


def _bgr(array: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    """A contiguous copy, HxWx3 BGR."""
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    return np.array(array[:, :, ::-1] if color == "rgb" else array, order="C")
