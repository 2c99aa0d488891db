"""Face detectors behind one protocol.

A detector takes a frame and gives boxes, scores and perhaps landmarks. `open_detector` knows them
by name or by the model a user has.
"""

from __future__ import annotations

from pathlib import Path

from ferlite import arguments, bundles
from ferlite.errors import UsageError
from ferlite.faces.detector import Detector, Size, find_faces, seen_by, takes_batches

__all__ = [
    "DEFAULT_DETECTOR",
    "DETECTORS",
    "Detector",
    "Size",
    "find_faces",
    "open_detector",
    "seen_by",
    "takes_batches",
]

FERLITE_FACE, HAAR = "ferlite-face", "haar"
DETECTORS = (FERLITE_FACE, HAAR, bundles.YUNET)
DEFAULT_DETECTOR = FERLITE_FACE


def open_detector(
    name_or_path: str | Path = DEFAULT_DETECTOR,
    *,
    threshold: float | None = None,
    min_face: float = 0,
    size: Size = None,
    provider: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> Detector:
    """Open a face detector.

    name_or_path: "ferlite-face", which comes with ferlite; "haar", OpenCV's cascade; "yunet", once
        `ferlite models add` has registered its file; the name of another installed model; a folder
        with bundle.json; or an `.onnx` file that ferlite exported or that holds a YuNet.
    threshold: least score of a face, 0..1; None for the detector's own (haar 0, yunet 0.6, else
        the bundle's).
    min_face: least width and height of a face in frame pixels; 0 for no limit.
    size: pixels of the longest side of the picture searched, 32 to 8192; frames are never enlarged.
        None: the detector's own, or as many as faces of `min_face` need. "auto": the same, and
        ferlite-face looks at frames with small faces or none a second time, at up to 1280.
    provider, precision: for ferlite-face, as for `EmotionClassifier`.
    threads: at most 256, 0 for `session.default_threads()`. OpenCV keeps one setting for the whole
        process.
    Raises UsageError, ModelError, ProviderError.
    """
    threads = arguments.threads(threads)
    name = str(name_or_path)
    if name == HAAR:
        from ferlite.faces.haar import HaarDetector

        _set_opencv_threads(threads)
        return HaarDetector(threshold=threshold, min_face=min_face, size=size)
    found = _find(name)
    if isinstance(found, bundles.Bundle):
        from ferlite.faces.anchor_free import AnchorFreeDetector

        return AnchorFreeDetector(
            found,
            threshold=threshold,
            min_face=min_face,
            size=size,
            provider=provider,
            precision=precision,
            threads=threads,
        )
    from ferlite.faces.yunet import YuNetDetector

    _set_opencv_threads(threads)
    return YuNetDetector(*found, threshold=threshold, min_face=min_face, size=size)


def _find(name: str) -> bundles.Bundle | tuple[bytes, str]:
    """The bundle of a detector's name, folder or file; of a YuNet its content and file."""
    if Path(name).suffix.lower() == ".onnx":
        content = bundles.read_model(Path(name))
        # What ferlite exported describes itself; damaged or not, it is no YuNet.
        if bundles.METADATA_KEY.encode() in content:
            return bundles.find(name)
        return content, name
    if name == FERLITE_FACE:
        return bundles.find("face")
    if name in bundles.installed_names() or bundles.is_there(Path(name), Path.is_dir):
        bundle = bundles.find(name)
        if (bundle.task, bundle.name) != ("face", bundles.YUNET):
            return bundle
        file = next(iter(bundle.precisions.values()))
        return bundle.load(file), str(bundle.path / file)
    if name == bundles.YUNET:
        raise UsageError(
            "detector yunet needs its model file, face_detection_yunet_2023mar.onnx of the OpenCV"
            " model zoo; `ferlite models add FILE`, or give its path as the detector"
        )
    raise UsageError(
        f"unknown detector {name!r:.80}; use {', '.join(DETECTORS)}, a folder with"
        f" {bundles.DESCRIPTION}, or an .onnx file"
    )


def _set_opencv_threads(threads: int) -> None:
    import cv2

    from ferlite.session import default_threads

    cv2.setNumThreads(threads or default_threads())
