"""What a face detector is, and what all of them share."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ferlite import arguments
from ferlite.types import Detections

# Longest side of the picture a detector searches, in pixels; larger frames are shrunk.
WORKING_SIDE = 640


class Detector(Protocol):
    """Finds faces; safe to call from several threads.

    name: the key into a bundle's crop geometry.
    models: what it loaded, each {"task", "name", "file", "sha256"}; empty for OpenCV's own.
    """

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[dict[str, str], ...]: ...

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Faces of an image, uint8 [h, w, 3] BGR, best score first."""
        ...


def empty(*, landmarks: bool) -> Detections:
    """No face."""
    points = np.zeros((0, 5, 2), np.float32) if landmarks else None
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), points)


def check_threshold(threshold: float | None, default: float) -> float:
    """The threshold to use; UsageError unless None or from 0 to 1."""
    if threshold is None:
        return default
    wanted = "use a number from 0 to 1"
    return arguments.number("detection threshold", threshold, 0, 1, wanted)


def check_min_face(min_face: float) -> float:
    """Pixels; UsageError unless 0 or more and finite."""
    return arguments.number("min_face", min_face, 0, math.inf, "use 0 or a size in pixels")


def shrink(
    image: NDArray[np.uint8], min_face: float, smallest: float
) -> tuple[NDArray[np.uint8], float, float]:
    """The picture to search, at most `WORKING_SIDE` long, and the factors back to frame pixels.

    min_face: a face of this many frame pixels must keep the `smallest` side the detector can find,
    so a small `min_face` raises the resolution. Returns (image, factor of x, factor of y).
    """
    import cv2

    height, width = image.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if min_face:
        scale = max(scale, smallest / min_face)
    if scale >= 1:
        return image, 1.0, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), width / size[0], height / size[1]


def select(found: Detections, *, threshold: float, min_face: float) -> Detections:
    """The detections with a box, of enough score and size, best score first."""
    sides = found.boxes[:, 2:].min(axis=1).astype(np.float64)
    kept = np.flatnonzero((found.scores >= threshold) & (sides >= min_face) & (sides > 0))
    kept = kept[np.argsort(-found.scores[kept], kind="stable")]
    points = found.landmarks
    return Detections(
        boxes=np.ascontiguousarray(found.boxes[kept]),
        scores=np.ascontiguousarray(found.scores[kept]),
        landmarks=None if points is None else np.ascontiguousarray(points[kept]),
    )
