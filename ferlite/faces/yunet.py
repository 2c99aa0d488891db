"""YuNet (Wu, Peng and Yu 2023) from a model file, through OpenCV's FaceDetectorYN."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.bundles import YUNET
from ferlite.errors import ModelError
from ferlite.faces import detector
from ferlite.types import Detections

SMALLEST = 10  # pixels; the network was trained on faces from about this size
THRESHOLD = 0.6
NMS_IOU = 0.3
TOP_K = 5000  # candidates before suppression; OpenCV's default
SILENT = 0  # OpenCV's LOG_LEVEL_SILENT


class YuNetDetector:
    """Faces with five landmarks; see `ferlite.faces.open_detector`.

    content: of an ONNX file such as face_detection_yunet_2023mar.onnx of the OpenCV model zoo.
    file: its name, for messages. Raises ModelError when it is not a YuNet network.
    """

    name = YUNET

    def __init__(
        self,
        content: bytes,
        file: str,
        *,
        threshold: float | None = None,
        min_face: float = 0,
        size: detector.Size = None,
    ) -> None:
        import cv2

        threshold = detector.check_threshold(threshold, THRESHOLD)
        self._min_face = detector.check_min_face(min_face)
        self._size = detector.check_size(size)
        digest = hashlib.sha256(content).hexdigest()
        about = {"task": "face", "name": self.name, "file": Path(file).name, "sha256": digest}
        self.models = (about,)
        data = np.frombuffer(content, np.uint8)
        # FaceDetectorYN takes any network at first and fails in the middle of a frame; OpenCV
        # prints its reasons to stderr besides raising them; 4.11 sets that in cv2 itself.
        logging: Any = getattr(cv2.utils, "logging", cv2)
        level = logging.getLogLevel()
        logging.setLogLevel(SILENT)
        try:
            self._network: Any = cv2.FaceDetectorYN.create(
                "onnx", data, np.zeros(0, np.uint8), (64, 64), threshold, NMS_IOU, TOP_K
            )
            _, rows = self._network.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            reason = str(error.err or error).split("\n")[0].strip()
            raise ModelError(f"{file}: not a YuNet face detector: {reason}") from None
        finally:
            logging.setLogLevel(level)
        if rows is not None and rows.shape[1] != 15:
            raise ModelError(f"{file}: not a YuNet face detector: gives {rows.shape[1]} columns")
        # The input size is part of the network's state.
        self._lock = threading.Lock()

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """See `Detector.detect`."""
        side = detector.searched_side(
            max(image.shape[:2]),
            self._size,
            default=detector.WORKING_SIDE,
            min_face=self._min_face,
            smallest=SMALLEST,
        )
        small, back_x, back_y = detector.shrink(image, side)
        # OpenCV answers strips of a few pixels with values that differ from call to call.
        if min(small.shape[:2]) < SMALLEST:
            return detector.empty(landmarks=True)
        with self._lock:
            self._network.setInputSize((small.shape[1], small.shape[0]))
            _, rows = self._network.detect(np.ascontiguousarray(small))
        if rows is None:
            return detector.empty(landmarks=True)
        # Columns: box, then the subject's right eye, left eye, nose, right and left mouth corner
        # (left before right in the picture, as `Detections` has them), score.
        rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float32)
        back = np.array([back_x, back_y], np.float32)
        return detector.select(
            Detections(
                boxes=rows[:, :4] * np.tile(back, 2),
                scores=rows[:, 14].clip(0, 1),
                landmarks=rows[:, 4:14].reshape(-1, 5, 2) * back,
            ),
            threshold=0.0,
            min_face=self._min_face,
        )
