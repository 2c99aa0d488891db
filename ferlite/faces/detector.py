"""What a face detector is, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard

from ferlite import arguments
from ferlite.bundles import LARGEST_SIZE, SMALLEST_SIZE
from ferlite.errors import UsageError
from ferlite.types import Detections, Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Longest side of the picture that OpenCV's detectors search, in pixels; larger frames are shrunk.
WORKING_SIDE = 640

Size = int | Literal["auto"] | None


class Detector(Protocol):
    """Finds faces; safe to call from several threads.

    One whose class sets `takes_planes = True` is also given `ferlite.planes.Planes` where a
    decoder's picture is at hand: that spares the conversion to BGR (see `seen_by`).

    name: the key into a bundle's crop geometry.
    models: what it loaded, each {"task", "name", "file", "sha256"} and perhaps more; empty for
        OpenCV's own. `Analyzer` does without it.
    """

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[dict[str, str], ...]: ...

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Faces of an image, uint8 [h, w, 3] BGR, best score first."""
        ...


class BatchDetector(Detector, Protocol):
    """A detector that takes several frames in one run of its network."""

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of each image, as `detect` finds them; images of equal size share a run."""
        ...

    def batch_size(self, height: int, width: int) -> int:
        """How many frames of this size are worth a common run; 1 where it would gain nothing."""
        ...


def takes_batches(detector: Detector) -> TypeGuard[BatchDetector]:
    """Whether `detect_batch` finds what `detect` does.

    Not where a subclass has changed `detect` alone, or a wrapper passes attributes on.
    """

    def home(name: str) -> type | None:
        return next((one for one in type(detector).__mro__ if name in vars(one)), None)

    one, several = home("detect"), home("detect_batch")
    return bool(one and several and home("batch_size") and issubclass(several, one))


def seen_by(detector: Detector, frame: Frame) -> Any:
    """The frame's picture as the detector takes it."""
    # Its class must say so itself: a wrapper that passes attributes on, or a subclass, may not.
    return frame.pixels if vars(type(detector)).get("takes_planes") is True else frame.image


def find_faces(detector: Detector, images: Sequence[Any]) -> list[Detections]:
    """What the detector finds in each image, several in one run where it takes batches.

    images: uint8 [h, w, 3] BGR, or as `seen_by` gives them. UsageError where the detector gives
    something else than `Detections` of one length.
    """
    import numpy as np

    if len(images) > 1 and takes_batches(detector):
        found = detector.detect_batch(images)
    else:
        found = [detector.detect(image) for image in images]
    for one in found:
        if not isinstance(one, Detections):
            raise UsageError(
                f"detector {detector.name}: detect() gave {type(one).__name__};"
                " ferlite.types.Detections are needed"
            )
        points = one.landmarks
        shapes = [np.shape(one.boxes), np.shape(one.scores)]
        shapes += [] if points is None else [np.shape(points)]
        if shapes != [(len(one), 4), (len(one),), (len(one), 5, 2)][: len(shapes)]:
            raise UsageError(
                f"detector {detector.name}: detect() gave shapes {shapes} of boxes, scores and"
                " landmarks; [n, 4], [n] and [n, 5, 2] are needed"
            )
    return found


def empty(*, landmarks: bool) -> Detections:
    """No face."""
    import numpy as np

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


def check_size(size: Size) -> Size:
    """UsageError unless None, "auto", or a whole number of pixels a detector can search."""
    if size is None or size == "auto":
        return size
    wanted = f"use auto, or pixels from {SMALLEST_SIZE} to {LARGEST_SIZE}"
    return arguments.integer("detect_size", size, SMALLEST_SIZE, LARGEST_SIZE, wanted)


def searched_side(
    frame_side: int, size: Size, *, default: int, min_face: float, smallest: float
) -> float:
    """Pixels of the longest side to search, of a frame with this longest side.

    A number is taken as it is. Otherwise it is the detector's `default`, or as many as a face of
    `min_face` frame pixels needs to keep the `smallest` side that the detector finds.
    """
    if isinstance(size, int):
        side: float = size
    else:
        side = max(default, frame_side * smallest / min_face if min_face else 0)
    return min(side, frame_side, LARGEST_SIZE)


def shrink(image: NDArray[np.uint8], side: float) -> tuple[NDArray[np.uint8], float, float]:
    """The picture with at most `side` pixels on its longest side.

    Returns (image, factor of x, factor of y); the factors lead back to frame pixels.
    """
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image, 1.0, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), width / size[0], height / size[1]


def select(found: Detections, *, threshold: float, min_face: float) -> Detections:
    """The detections with a box, of enough score and size, best score first."""
    import numpy as np

    sides = found.boxes[:, 2:].min(axis=1).astype(np.float64)
    kept = np.flatnonzero((found.scores >= threshold) & (sides >= min_face) & (sides > 0))
    kept = kept[np.argsort(-found.scores[kept], kind="stable")]
    points = found.landmarks
    return Detections(
        boxes=np.ascontiguousarray(found.boxes[kept]),
        scores=np.ascontiguousarray(found.scores[kept]),
        landmarks=None if points is None else np.ascontiguousarray(points[kept]),
    )
