"""OpenCV's frontal-face Haar cascade (Viola and Jones 2001), as the published systems used.

Frames are searched at `WORKING_SIDE` because time grows with the area: a crowd at 1920x1080 takes
130 ms of one AMD EPYC core a frame at 640 (2.0 faces found), 290 ms at 960 (3.3) and 910 ms at full
size (4.9); `min_face` buys that back. Equalising the histogram first found the same faces (0.369
against 0.367 of 569) with more false ones, so it is not done.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import ModelError
from ferlite.faces import detector
from ferlite.types import Detections

CASCADE = "haarcascade_frontalface_default.xml"
SMALLEST = 24  # pixels, the cascade's own window
SCALE_FACTOR = 1.1
MIN_NEIGHBORS = 5
# The last stage's sum as a probability that the box is a face: a logistic curve fitted to 569
# detections in photographs with known faces (of the weakest tenth 68 % are faces, of those above
# a sum of 5 98 %).
SCORE_BIAS, SCORE_SLOPE = 0.39, 0.506


class HaarDetector:
    """Frontal faces, boxes square, no landmarks; see `ferlite.faces.open_detector`."""

    name = "haar"
    models: tuple[dict[str, str], ...] = ()

    def __init__(
        self,
        *,
        threshold: float | None = None,
        min_face: float = 0,
        size: detector.Size = None,
    ) -> None:
        import cv2

        if not hasattr(cv2, "CascadeClassifier"):
            raise ModelError(
                f"detector haar needs OpenCV 4, and OpenCV {cv2.__version__} has no cascades;"
                " pip install 'opencv-python-headless<5', or use another detector"
            )
        self._threshold = detector.check_threshold(threshold, 0.0)
        self._min_face = detector.check_min_face(min_face)
        self._size = detector.check_size(size)
        import cv2.data

        path = Path(cv2.data.haarcascades) / CASCADE
        if not path.is_file():
            raise ModelError(f"{path}: missing; reinstall opencv-python-headless 4")
        self._cascade = cv2.CascadeClassifier(str(path))
        # The cascade keeps the picture it works on.
        self._lock = threading.Lock()

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """See `Detector.detect`."""
        import cv2

        side = detector.searched_side(
            max(image.shape[:2]),
            self._size,
            default=detector.WORKING_SIDE,
            min_face=self._min_face,
            smallest=SMALLEST,
        )
        small, back_x, back_y = detector.shrink(image, side)
        # A whisker smaller: the exact limit is applied to the boxes below.
        least = int(0.9 * self._min_face / max(back_x, back_y))
        # OpenCV cannot be asked for a size beyond its 32-bit integers.
        if min(small.shape[:2]) < max(SMALLEST, least):
            return detector.empty(landmarks=False)
        gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        with self._lock:
            found, _, sums = self._cascade.detectMultiScale3(
                gray,
                scaleFactor=SCALE_FACTOR,
                minNeighbors=MIN_NEIGHBORS,
                minSize=(least, least),
                outputRejectLevels=True,
            )
        if not len(found):
            return detector.empty(landmarks=False)
        back = np.array([back_x, back_y, back_x, back_y], np.float32)
        boxes = np.asarray(found, np.float32) * back
        levels = SCORE_BIAS + SCORE_SLOPE * np.asarray(sums, np.float64).ravel()
        scores = (1 / (1 + np.exp(-levels))).astype(np.float32)
        return detector.select(
            Detections(boxes, scores), threshold=self._threshold, min_face=self._min_face
        )
