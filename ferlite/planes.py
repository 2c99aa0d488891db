"""Pictures as video decoders give them: brightness in one plane, colour in two smaller ones.

Faces are cut and frames fitted to the detector straight from the planes. They are half of a BGR
picture's bytes, and the conversion of the whole frame, which takes longer than both, is never made.
Averaging and converting may change places because both are linear; a pixel's colour can only differ
where the whole frame's conversion would have held a channel to 0..255, by rounding, and at edges of
colour, which are interpolated here and repeated by FFmpeg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferlite import _core, crops
from ferlite.crops import Layout, PixelType
from ferlite.errors import UsageError
from ferlite.types import Color

# Gray of blue, green and red: ITU-R BT.601, as in `ferlite.crops`.
_GRAY = {"blue": 0.114, "green": 0.587, "red": 0.299}
# A share of colour in gray under this is under half a level at the strongest colour.
_NEGLIGIBLE = 0.004


@dataclass(frozen=True, slots=True)
class YuvMatrix:
    """How three planes make a picture; the middle of u and v is 128.

    A channel is y_gain * (y - black) plus its shares of u - 128 and v - 128.
    """

    black: float
    y_gain: float
    u_blue: float
    u_green: float
    v_green: float
    v_red: float

    @staticmethod
    def of(red: float, blue: float, full_range: bool) -> YuvMatrix:
        """red, blue: their shares in brightness, such as 0.299 and 0.114 (ITU-R BT.601).

        full_range: levels of y are 0..255 and not 16..235, those of u and v not 16..240.
        """
        gain = 1.0 if full_range else 255 / 219
        color = 1.0 if full_range else 255 / 224
        green = 1 - red - blue
        u_blue, v_red = 2 * color * (1 - blue), 2 * color * (1 - red)
        return YuvMatrix(
            black=0.0 if full_range else 16.0,
            y_gain=gain,
            u_blue=u_blue,
            u_green=-u_blue * blue / green,
            v_green=-v_red * red / green,
            v_red=v_red,
        )

    @property
    def values(self) -> tuple[float, float, float, float, float, float]:
        """In the order of the C++ core."""
        return (self.black, self.y_gain, self.u_blue, self.u_green, self.v_green, self.v_red)

    def shares(self, color: Color) -> NDArray[np.float32]:
        """float32 [channels, 3]: what y - black, u - 128 and v - 128 add to each channel."""
        gain = self.y_gain
        blue = np.array([gain, self.u_blue, 0])
        green = np.array([gain, self.u_green, self.v_green])
        red = np.array([gain, 0, self.v_red])
        if color == "gray":
            mixed = _GRAY["blue"] * blue + _GRAY["green"] * green + _GRAY["red"] * red
            return np.array([mixed], np.float32)
        return np.array([blue, green, red] if color == "bgr" else [red, green, blue], np.float32)


@dataclass(frozen=True, slots=True)
class Planes:
    """One picture; the arrays belong to the decoder and are only read.

    y: uint8 [h, w]. u, v: uint8, each axis as long as y's or half as long, rounded up, pixel (i, j)
    covering the pixels 2 i, 2 i + 1 and 2 j, 2 j + 1 of y. The pixels of a row follow one another.
    Raises UsageError where they do not fit together.
    """

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]
    matrix: YuvMatrix

    def __post_init__(self) -> None:
        shapes = [plane.shape for plane in (self.y, self.u, self.v)]
        fits = (
            all(p.dtype == np.uint8 and p.ndim == 2 and p.size for p in (self.y, self.u, self.v))
            and shapes[1] == shapes[2]
            and all(
                small in (whole, (whole + 1) // 2)
                for small, whole in zip(shapes[1], shapes[0], strict=True)
            )
        )
        if not fits:
            raise UsageError(f"planes of shapes {shapes} make no picture; give uint8 y, u and v")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3), as of the BGR picture."""
        height, width = self.y.shape
        return height, width, 3

    def _chroma_zoom(self) -> tuple[float, float]:
        """Pixels of u and v a pixel of y, across and down."""
        (height, width), (rows, columns) = self.y.shape, self.u.shape
        return (1.0 if columns == width else 0.5), (1.0 if rows == height else 0.5)


def crop_faces(
    image: Planes,
    boxes: ArrayLike,
    *,
    size: tuple[int, int],
    color: Color = "gray",
    dtype: PixelType = "float32",
    scale: float = 1.0,
    offset: float = 0.0,
    layout: Layout = "NHWC",
    angles: ArrayLike | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """`ferlite.crops.crop_faces` of such a picture: the same arguments and results."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    shares = image.matrix.shares(color)
    y = _cut(image.y, boxes, size, angles, threads) - np.float32(image.matrix.black)
    if np.abs(shares[:, 1:]).max() < _NEGLIGIBLE:
        pixels = y * shares[:, 0]
    else:
        across, down = image._chroma_zoom()
        chroma = boxes * np.array([across, down, across, down], np.float32)
        # A turned square stays one only where both axes are stored alike.
        if angles is not None and across != down:
            u, v = (
                _cut(_widened(plane, image.y.shape), boxes, size, angles, threads)
                for plane in (image.u, image.v)
            )
        else:
            u, v = (_cut(plane, chroma, size, angles, threads) for plane in (image.u, image.v))
        pixels = np.concatenate([y, u - 128, v - 128], axis=3) @ shares.T
    pixels = np.clip(pixels, 0, 255) * np.float32(scale) + np.float32(offset)
    if dtype == "uint8":
        pixels = (np.clip(pixels, 0, 255) + np.float32(0.5)).astype(np.uint8)
    return pixels if layout == "NHWC" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def letterbox(
    image: Planes, canvas: NDArray[np.uint8], *, enlarge: bool = True, threads: int = 1
) -> tuple[float, tuple[int, int]]:
    """`ferlite.crops.letterbox` of such a picture onto a black BGR canvas that is filled in place.

    canvas: uint8 [height, width, 3], C-contiguous.

    Returns the zoom and (dx, dy): a point p of the frame lies at p * zoom + (dx, dy), exactly.
    """
    height, width, _ = image.shape
    zoom, x, y, inner_width, inner_height = _core.place(
        width, height, canvas.shape[1], canvas.shape[0], enlarge
    )
    canvas[:y] = canvas[y + inner_height :] = 0
    canvas[y : y + inner_height, :x] = canvas[y : y + inner_height, x + inner_width :] = 0
    across, down = image._chroma_zoom()
    box = np.array([[0, 0, inner_width / zoom, inner_height / zoom]], np.float32)
    chroma = box * np.array([1, 1, across, down], np.float32)
    size = (inner_width, inner_height)
    y_small, u_small, v_small = (
        crops.crop_faces(
            plane, part, size=size, image_color="gray", dtype="uint8", threads=threads
        )[0, :, :, 0]
        for plane, part in ((image.y, box), (image.u, chroma), (image.v, chroma))
    )
    inner = canvas[np.newaxis, y : y + inner_height, x : x + inner_width]
    _core.join_planes(y_small, u_small, v_small, image.matrix.values, inner)
    return zoom, (x, y)


def _cut(
    plane: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    size: tuple[int, int],
    angles: ArrayLike | None,
    threads: int,
) -> NDArray[np.float32]:
    """float32 [n, height, width, 1]."""
    return crops.crop_faces(
        plane, boxes, size=size, image_color="gray", angles=angles, threads=threads
    )


def _widened(plane: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A plane of colour at the size of y: each pixel repeated."""
    for axis in (0, 1):
        if plane.shape[axis] < shape[axis]:
            plane = np.repeat(plane, 2, axis)
    return plane[: shape[0], : shape[1]]
