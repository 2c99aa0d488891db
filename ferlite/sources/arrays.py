"""Frames that the caller already holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import UsageError
from ferlite.sources.base import Sampler, SourceBase, SourceOptions
from ferlite.types import Color, Frame, SourceInfo


class ArraysSource(SourceBase):
    """Any iterable of pictures: uint8 HxWx3, or HxW or HxWx1 grey; or of (t, picture) pairs.

    t is in seconds. Without it, the position over SourceOptions.array_fps. The channel order is
    SourceOptions.color. Pictures are copied, so the caller may use one buffer for all. A single
    picture is one frame, an array [n, h, w, 3] or [n, h, w] is n.

    Iterating raises UsageError, naming position, shape and dtype, at an item that is no picture.
    """

    def __init__(self, arrays: Iterable[Any], options: SourceOptions | None = None) -> None:
        if is_one_picture(arrays):
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
            checked = check_picture(array, options.color, f"item {position}")
            if not sampler.wants(t):
                continue
            image = to_bgr(checked, options.color)
            if np.may_share_memory(image, checked):
                image = image.copy()
            height, width = image.shape[:2]
            if (width, height) != (self._info.width, self._info.height):
                self._info = SourceInfo("arrays", "arrays", width, height)
            yield Frame(self._info, sampler.index, t, image)


def _timed(item: Any, position: int, fps: float) -> tuple[float, Any]:
    if not (isinstance(item, tuple) and len(item) == 2):
        return position / fps, item
    t = item[0]
    if not isinstance(t, int | float | np.number) or not math.isfinite(t):
        shown = " ".join(repr(t).split())[:40]
        raise UsageError(
            f"item {position}: time {shown} of a (t, picture) pair is no finite number"
        )
    return float(t), item[1]


def is_one_picture(value: Any) -> bool:
    """Whether an array is a picture [h, w], [h, w, 1] or [h, w, 3] rather than several."""
    return isinstance(value, np.ndarray) and (
        value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (1, 3))
    )


def check_picture(value: Any, color: Color, what: str) -> NDArray[np.uint8]:
    """UsageError, beginning with `what`, unless `value` is a picture as `color` says."""
    if not isinstance(value, np.ndarray):
        raise UsageError(
            f"{what} is a {type(value).__name__}; give a NumPy array, uint8 [h, w, 3] or [h, w]"
        )
    gray = value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 1)
    if not value.size or not (gray or (is_one_picture(value) and color != "gray")):
        wanted = "[h, w]" if color == "gray" else "[h, w, 3] or [h, w]"
        raise UsageError(
            f"{what} has shape {value.shape}, dtype {value.dtype}; color {color!r} needs"
            f" uint8 {wanted}, not empty"
        )
    if value.dtype != np.uint8:
        remedy = "(frame * 255).astype('uint8') if it is 0..1" if value.dtype.kind == "f" else ""
        raise UsageError(
            f"{what} has dtype {value.dtype}, shape {value.shape}; uint8 0..255 is needed:"
            f" {remedy or 'scale it to 0..255 and convert it'}"
        )
    return value


def to_bgr(picture: NDArray[np.uint8], color: Color) -> NDArray[np.uint8]:
    """A checked picture as contiguous [h, w, 3] BGR; the same array where it is that already."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(picture[:, :, ::-1] if color == "rgb" else picture)
