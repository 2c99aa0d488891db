"""Cuts faces out of frames and fits frames to detectors; decodes what detectors answer.

The Python face of ferlite._core: it checks types, shapes and options; the C++ checks the elements
of arrays as it reads them, and computes, without the GIL and without copying the frame.

Coordinates are pixels of the frame; a pixel is a unit square, so a frame covers 0..width by
0..height and the centre of its first pixel is (0.5, 0.5). Every function raises UsageError (a
ValueError) for a wrong argument. Gray is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferlite import _core, arguments
from ferlite.errors import UsageError
from ferlite.planes import Picture, Planes
from ferlite.types import Color

PixelType = Literal["float32", "uint8"]
Layout = Literal["NHWC", "NCHW"]

# Of float32, which the core computes with.
SMALLEST_FLOAT, LARGEST_FLOAT = 1.1754944e-38, 3.4028234e38

_NO_ANGLES = np.empty(0)
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "uint8": np.dtype(np.uint8)}
_COLORS: dict[str, Color] = {"bgr": "bgr", "rgb": "rgb", "gray": "gray"}


def crop_faces(
    image: Picture,
    boxes: ArrayLike,
    *,
    size: tuple[int, int],
    color: Color = "gray",
    image_color: Color = "bgr",
    dtype: PixelType = "float32",
    scale: float = 1.0,
    offset: float = 0.0,
    layout: Layout = "NHWC",
    angles: ArrayLike | None = None,
    threads: int = 1,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Cuts n boxes out of one frame into one batch.

    Each output pixel is the mean of the frame over a rectangle around the pixel's centre,
    max(1, box side / output side) frame pixels wide and high: the exact area average where the box
    shrinks, bilinear interpolation with half-pixel centres where it grows, each axis by itself.
    For a turned box it is the mean of n x m bilinear samples spread evenly over the output pixel,
    n and m being the shrink rounded up, at most 32. Edge pixels are repeated outside the frame.

    image: uint8 [height, width, 3], or [height, width] which is gray whatever `image_color` says;
        any strides. Or the planes of a decoder's picture, whose channels are made of what was
        resampled and then held to 0..255; bytes in BGR, NHWC, with scale 1 and offset 0, may be
        off by 2 levels.
    boxes: [n, 4] x, y, width, height in pixels, computed with as float32. They may lie outside
        the frame and be of any finite size; n may be 0.
    size: (width, height) of every crop.
    color: channels of the crops; "gray" has 1, the others 3.
    dtype, scale, offset: value = pixel * scale + offset, as float32, or as uint8 rounded and held
        to 0..255.
    layout: "NHWC" gives [n, height, width, channels], "NCHW" [n, channels, height, width].
    angles: radians [n], how far each box is turned clockwise as seen, about its centre; the crop
        shows the face upright. None (or 0 for a box): upright boxes.
    threads: crops are shared out over at most this many threads; the result is the same.
    out: C-contiguous array of the result's shape and dtype to write to and return.
    """
    box_array = _boxes(boxes)
    n = len(box_array)
    result, pixels = _target(n, size, color, dtype, layout, out)
    where = (
        box_array,
        _NO_ANGLES if angles is None else _vector("angles", angles, n, np.float64),
        pixels,
    )
    levels = _finite("scale", scale), _finite("offset", offset), _threads(threads)
    try:
        if isinstance(image, Planes):
            _core.crop_planes(*image.fields, *where, color, *levels)
        else:
            _check_image(image)
            _core.crop_faces(image, *where, _color_of(image, image_color), color, *levels)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return result


def letterbox(
    image: Picture,
    size: tuple[int, int],
    *,
    color: Color = "bgr",
    image_color: Color = "bgr",
    dtype: PixelType = "uint8",
    scale: float = 1.0,
    offset: float = 0.0,
    layout: Layout = "NHWC",
    padding: float = 114.0,
    enlarge: bool = True,
    threads: int = 1,
    out: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], float, tuple[int, int]]:
    """Fits a whole frame onto a canvas, aspect kept, centred, resampled as crop_faces does.

    size: (width, height) of the canvas.
    enlarge: False leaves a frame that is smaller than the canvas at its size (zoom 1).
    padding: level 0..255 beside the frame, before `scale` and `offset` apply. 114 is what the YOLO
        family pads with (Ultralytics' LetterBox).
    threads: bands of an array's rows are shared out over at most this many threads; planes take
        one.
    out: C-contiguous array of the canvas's shape and dtype, such as one slot of a batch.
    The other arguments are those of crop_faces.

    Returns the canvas [height, width, channels] or [channels, height, width], the zoom, and
    (dx, dy): a point p of the frame lies at p * zoom + (dx, dy) on the canvas, exactly.
    """
    padding = arguments.number("padding", padding, 0, 255, "give a level from 0 to 255")
    batch = None if out is None else _output(out)[np.newaxis]
    result, pixels = _target(1, size, color, dtype, layout, batch)
    if not isinstance(enlarge, bool | np.bool_):
        raise UsageError(f"enlarge is {enlarge!r:.80}; give True or False")
    levels = _finite("scale", scale), _finite("offset", offset), padding, enlarge, _threads(threads)
    try:
        if isinstance(image, Planes):
            y, u, v, matrix = image.fields
            zoom, dx, dy = _core.letterbox_planes(y, u, v, matrix, pixels, color, *levels)
        else:
            _check_image(image)
            named = _color_of(image, image_color)
            zoom, dx, dy = _core.letterbox(image, pixels, named, color, *levels)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return result[0] if out is None else out, zoom, (dx, dy)


def instruction_set() -> str:
    """The instruction set that the kernels run with: "plain", "sse2", "avx2", "avx512" or "neon".

    It is the fastest that the machine has, unless the environment variable FERLITE_FORCE_ISA names
    another; UsageError where that one is unknown or missing.
    """
    try:
        return _core.instruction_set()
    except ValueError as error:
        raise UsageError(str(error)) from None


def nms(
    boxes: ArrayLike, scores: ArrayLike, iou: float = 0.45, *, limit: int | None = None
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    boxes: [n, 4] x, y, width, height, computed with as float32; scores: [n].
    iou: a box is dropped when its intersection over union with a better one is above this, 0..1.
    limit: keep at most so many.

    Returns the int64 indices of the boxes kept, best score first, the earlier of equals first.
    """
    box_array = _boxes(boxes)
    n = len(box_array)
    score_array = _vector("scores", scores, n, np.float32)
    iou = arguments.number("iou", iou, 0, 1, "give a number from 0 to 1")
    if limit is not None:
        wanted = "give 0 or more, or None for all"
        n = min(n, arguments.integer("limit", limit, 0, sys.maxsize, wanted))
    kept = np.empty(n, np.int64)
    try:
        return kept[: _core.nms(box_array, score_array, iou, kept)]
    except ValueError as error:
        raise UsageError(str(error)) from None


def decode_boxes(
    maps: Sequence[NDArray[np.float32]],
    strides: Sequence[float],
    *,
    threshold: float,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Turns what an anchor-free detector answers into boxes (before suppression).

    maps: one for each stride, float32 [5 + 2 k, rows, columns] of any strides in memory. Channels
        of a cell: the logit of the score; natural logarithms, taken as at most 8, of the distances
        from the cell's centre to the left, top, right and bottom side of the box; offsets x, y of
        each of k landmarks from that centre. Distances and offsets are in cells.
    strides: pixels of the network's input a cell; the centre of cell (row, column) is
        ((column + 0.5) * stride, (row + 0.5) * stride).
    threshold: a cell counts when its score, the sigmoid of the logit, is at least this, 0..1. One
        with a channel that is not finite, or with a box that has no area, is passed over.
    scale, offset: what letterbox returned, to get pixels of the frame and not of the canvas.

    Returns boxes float32 [n, 4] x, y, width, height, scores float32 [n], and landmarks
    float32 [n, k, 2], in the order map, row, column.
    """
    try:
        maps, strides = list(maps), list(strides)
    except TypeError:
        raise UsageError("maps and strides are needed as lists, one stride a map") from None
    if len(maps) != len(strides):
        raise UsageError(f"there are {len(maps)} maps but {len(strides)} strides; give one a map")
    for i, array in enumerate(maps):
        _check_map(f"maps[{i}]", array)
        if len(array) != len(maps[0]):
            raise UsageError(
                f"maps[{i}] has {len(array)} channels but maps[0] has {len(maps[0])}; "
                "all need the same"
            )
    wanted = "give pixels a cell, above 0"
    cells = [
        arguments.number(f"strides[{i}]", stride, SMALLEST_FLOAT, LARGEST_FLOAT, wanted)
        for i, stride in enumerate(strides)
    ]
    threshold = arguments.number("threshold", threshold, 0, 1, "give a score from 0 to 1")
    wanted = "give the positive zoom that letterbox returned"
    scale = arguments.number("scale", scale, SMALLEST_FLOAT, LARGEST_FLOAT, wanted)
    try:
        dx, dy = offset
    except (TypeError, ValueError):
        raise UsageError(f"offset is {offset!r}; give the (dx, dy) of letterbox") from None
    shift = _finite("offset[0]", dx), _finite("offset[1]", dy)
    try:
        maps = [one if one.flags.aligned else one.copy() for one in maps]
        return _core.decode(maps, cells, threshold, (scale, *shift))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_map(name: str, array: NDArray[np.float32]) -> None:
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{name} is a {type(array).__name__}; give a float32 NumPy array")
    if array.dtype != np.float32:
        raise UsageError(f"{name} has dtype {array.dtype}; give float32")
    if array.ndim != 3 or array.shape[0] < 5 or array.shape[0] % 2 == 0:
        raise UsageError(
            f"{name} has shape {array.shape}; give [5 + 2 k, rows, columns] for k landmarks"
        )


def _check_image(image: NDArray[np.uint8]) -> None:
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image is a {type(image).__name__}; give a uint8 NumPy array")
    if image.dtype != _DTYPES["uint8"]:
        raise UsageError(f"image has dtype {image.dtype}; give uint8 levels from 0 to 255")
    shape = image.shape
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape:
        raise UsageError(
            f"image has shape {shape}; give [height, width, 3] or [height, width], not empty"
        )


def _color_of(image: NDArray[np.uint8], color: str) -> Color:
    """The colour of the image's own channels; a 2-D image is gray under any name."""
    checked = _color("image_color", color)
    if image.ndim == 2:
        return "gray"
    if checked == "gray":
        raise UsageError(
            f"image_color is 'gray' but image has shape {image.shape}; "
            "give [height, width], or say 'bgr' or 'rgb'"
        )
    return checked


def _color(name: str, color: str) -> Color:
    if not isinstance(color, str) or color not in _COLORS:
        raise UsageError(f"{name} is {color!r}; give 'bgr', 'rgb' or 'gray'")
    return _COLORS[color]


def _array(name: str, values: ArrayLike, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """C-contiguous copy-if-needed; what does not fit the type becomes infinite, for checks."""
    if isinstance(values, np.ndarray) and values.dtype == dtype:
        return np.ascontiguousarray(values)  # errstate takes longer than a small crop
    try:
        with np.errstate(over="ignore"):
            if np.iscomplexobj(values):
                raise TypeError("complex")
            return np.ascontiguousarray(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} is not an array of numbers: {error}") from error


def _boxes(boxes: ArrayLike) -> NDArray[np.float32]:
    array = _array("boxes", boxes, np.float32)
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise UsageError(f"boxes has shape {array.shape}; give [n, 4] of x, y, width, height")
    return array


def _vector(name: str, values: ArrayLike, n: int, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    array = _array(name, values, dtype)
    if array.shape != (n,):
        raise UsageError(f"{name} has shape {array.shape}; there are {n} boxes, so give ({n},)")
    return array


def _finite(name: str, value: float) -> float:
    if type(value) is float and -LARGEST_FLOAT <= value <= LARGEST_FLOAT:
        return value
    wanted = "give a finite number that fits in float32"
    return arguments.number(name, value, -LARGEST_FLOAT, LARGEST_FLOAT, wanted)


def _threads(threads: int) -> int:
    most = arguments.MOST_THREADS
    return arguments.integer("threads", threads, 1, most, f"give a whole number from 1 to {most}")


def _output(out: object) -> NDArray[Any]:
    if not isinstance(out, np.ndarray):
        raise UsageError(f"out is a {type(out).__name__}; give a NumPy array or None")
    return out


def _target(
    n: int,
    size: tuple[int, int],
    color: str,
    dtype: PixelType,
    layout: Layout,
    out: NDArray[Any] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The array to return, and the view of it as [n, height, width, channels]."""
    try:
        width, height = map(operator.index, size)
    except (TypeError, ValueError):
        raise UsageError(f"size is {size!r}; give (width, height) as whole numbers") from None
    if not (0 < width <= _core.LARGEST_SIDE and 0 < height <= _core.LARGEST_SIDE):
        raise UsageError(f"size is {size}; give sides from 1 to {_core.LARGEST_SIDE}")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}; give 'float32' or 'uint8'")
    if layout not in ("NHWC", "NCHW"):
        raise UsageError(f"layout is {layout!r}; give 'NHWC' or 'NCHW'")
    channels = 1 if _color("color", color) == "gray" else 3
    planar = layout == "NCHW"
    shape = (n, channels, height, width) if planar else (n, height, width, channels)
    if out is None:
        out = np.empty(shape, _DTYPES[dtype])
    elif _output(out).shape != shape or out.dtype != _DTYPES[dtype] or not out.flags.carray:
        raise UsageError(
            f"out is {out.dtype} of shape {out.shape}; "
            f"give a writable C-contiguous {dtype} array of shape {shape}"
        )
    return out, out.transpose(0, 2, 3, 1) if planar else out
