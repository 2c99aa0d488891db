"""C++ core. ferlite.crops is its documented face; arrays here are filled in place.

Each function runs without the GIL. An array of another dtype is a TypeError (nothing is converted),
another shape or a value that cannot be computed with is a ValueError.
"""

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
    threads: int,
) -> tuple[float, int, int]: ...
def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou: float,
    kept: NDArray[np.int64],
) -> int: ...
def decode(
    scores: NDArray[np.float32],
    distances: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    stride: float,
    threshold: float,
    out_boxes: NDArray[np.float32],
    out_scores: NDArray[np.float32],
    out_landmarks: NDArray[np.float32],
) -> int: ...
