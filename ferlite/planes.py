"""Pictures as video decoders give them: brightness in one plane, colour in two smaller ones.

`ferlite.crops` cuts faces and fits frames to the detector straight from the planes. They are half
of a BGR picture's bytes, and the conversion of the whole frame, which takes longer than both, is
never made.
Averaging and converting may change places because both are linear; a pixel's colour can only differ
where the whole frame's conversion would have held a channel to 0..255, by rounding, and at edges of
colour, which are interpolated here and repeated by FFmpeg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import UsageError

Level: TypeAlias = NDArray[np.uint8]


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
        return (
            float(self.black),
            float(self.y_gain),
            float(self.u_blue),
            float(self.u_green),
            float(self.v_green),
            float(self.v_red),
        )


@dataclass(frozen=True, slots=True)
class Planes:
    """One picture; the arrays belong to the decoder and are only read.

    y: uint8 [h, w]. u, v: uint8, as large, or [(h + 1) // 2, (w + 1) // 2], where pixel (i, j)
        covers pixels 2 i, 2 i + 1 and 2 j, 2 j + 1 of y.
    Raises UsageError where they do not fit together.
    """

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]
    matrix: YuvMatrix

    def __post_init__(self) -> None:
        planes = (self.y, self.u, self.v)
        if not all(isinstance(plane, np.ndarray) for plane in planes):
            kinds = ", ".join(type(plane).__name__ for plane in planes)
            raise UsageError(f"planes {kinds} make no picture; give uint8 arrays y, u and v")
        if not isinstance(self.matrix, YuvMatrix):
            raise UsageError(f"matrix of planes is {self.matrix!r:.80}; give a YuvMatrix")
        whole, *smaller = (plane.shape for plane in planes)
        half = tuple((side + 1) // 2 for side in whole)
        if not (
            all(plane.dtype == np.uint8 and plane.ndim == 2 and plane.size for plane in planes)
            and smaller in ([whole] * 2, [half] * 2)
        ):
            shapes = ", ".join(str(plane.shape) for plane in planes)
            raise UsageError(f"planes of shapes {shapes} make no picture; give uint8 y, u and v")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3), as of the BGR picture."""
        height, width = self.y.shape
        return height, width, 3

    @property
    def fields(self) -> tuple[Level, Level, Level, tuple[float, float, float, float, float, float]]:
        """As the C++ core takes them."""
        return self.y, self.u, self.v, self.matrix.values


# What faces are found in and cut from: uint8 [h, w, 3] BGR, or as it was decoded.
Picture: TypeAlias = NDArray[np.uint8] | Planes
