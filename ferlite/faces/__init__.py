"""Face detectors behind one protocol.

A detector takes a frame and gives boxes, scores and perhaps landmarks. `open_detector` knows them
by name or by the model file a user has.
"""

from __future__ import annotations

from pathlib import Path

from ferlite import arguments
from ferlite.errors import UsageError
from ferlite.faces.detector import Detector

__all__ = ["DETECTORS", "Detector", "open_detector"]

DETECTORS = ("haar", "yunet")


def open_detector(
    name_or_path: str | Path = "haar",
    *,
    threshold: float | None = None,
    min_face: float = 0,
    threads: int = 0,
) -> Detector:
    """Open a face detector.

    name_or_path: "haar", or the path of a YuNet model (`.onnx`).
    threshold: least score of a face, 0..1; None for the detector's own (haar 0, yunet 0.6).
    min_face: least width and height of a face in frame pixels; 0 for no limit. Frames are searched
        at 640 pixels of the longest side, or as large as faces of this size need.
    threads: for OpenCV, which keeps one setting for the whole process; at most 256, 0 for
        `session.default_threads()`.
    Raises UsageError, ModelError.
    """
    threads = arguments.threads(threads)
    if name_or_path == "yunet":
        raise UsageError(
            "detector yunet needs its model file: give the path of"
            " face_detection_yunet_2023mar.onnx (OpenCV model zoo) as the detector"
        )
    import cv2

    from ferlite.session import default_threads

    cv2.setNumThreads(threads or default_threads())
    if name_or_path == "haar":
        from ferlite.faces.haar import HaarDetector

        return HaarDetector(threshold=threshold, min_face=min_face)
    if Path(name_or_path).suffix.lower() == ".onnx":
        from ferlite.faces.yunet import YuNetDetector

        return YuNetDetector(name_or_path, threshold=threshold, min_face=min_face)
    raise UsageError(
        f"unknown detector {str(name_or_path)!r}; use haar, or the path of a YuNet model (.onnx)"
    )
