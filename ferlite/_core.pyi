"""C++ core. ferlite.crops is its documented face; crops and canvases are filled in place.

All that computes runs without the GIL. An array of another dtype is a TypeError (nothing is
converted), another shape or a value that cannot be computed with is a ValueError.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE: int

@overload
def crop_faces(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    angles: NDArray[np.float64],
    out: NDArray[np.float32],
    image_color: str,
    color: str,
    scale: float,
    offset: float,
    threads: int,
) -> None: ...
@overload
def crop_faces(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    angles: NDArray[np.float64],
    out: NDArray[np.uint8],
    image_color: str,
    color: str,
    scale: float,
    offset: float,
    threads: int,
) -> None: ...
@overload
def letterbox(
    image: NDArray[np.uint8],
    out: NDArray[np.float32],
    image_color: str,
    color: str,
    scale: float,
    offset: float,
    padding: float,
    enlarge: bool,
    threads: int,
) -> tuple[float, int, int]: ...
@overload
def letterbox(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    image_color: str,
    color: str,
    scale: float,
    offset: float,
    padding: float,
    enlarge: bool,
    threads: int,
) -> tuple[float, int, int]: ...
@overload
def crop_planes(
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    boxes: NDArray[np.float32],
    angles: NDArray[np.float64],
    out: NDArray[np.float32],
    color: str,
    scale: float,
    offset: float,
    threads: int,
) -> None: ...
@overload
def crop_planes(
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    boxes: NDArray[np.float32],
    angles: NDArray[np.float64],
    out: NDArray[np.uint8],
    color: str,
    scale: float,
    offset: float,
    threads: int,
) -> None: ...
@overload
def letterbox_planes(
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    out: NDArray[np.float32],
    color: str,
    scale: float,
    offset: float,
    padding: float,
    enlarge: bool,
    threads: int,
) -> tuple[float, int, int]: ...
@overload
def letterbox_planes(
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    out: NDArray[np.uint8],
    color: str,
    scale: float,
    offset: float,
    padding: float,
    enlarge: bool,
    threads: int,
) -> tuple[float, int, int]: ...
def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou: float,
    kept: NDArray[np.int64],
) -> int: ...
def decode(
    maps: Sequence[NDArray[np.float32]],
    strides: Sequence[float],
    threshold: float,
    zoom: tuple[float, float, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]: ...
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
