"""ferlite's face detector beside published ones, in one table made by one run.

    python benchmarks/face_detection.py --data FACES --models FOLDER [MODEL ...] [--out FOLDER]

What `ferlite evaluate --task face` prints of haar, YuNet 2023mar and every MODEL (such as
models/face/model.onnx), and in the same columns what can only be opened here: YuNet-n, UltraFace
RFB-320 and SCRFD-500m, whose files --models holds under the names in `KNOWN`. Each is searched as
its authors do it: YuNet at native size, UltraFace at 320x240, SCRFD at 640 pixels of the longest
side. SCRFD-500m is flattered: its larger sibling drew the teacher's boxes.

Asserts that the published detectors have the average precision that is known of them, so that what
stands beside them was measured in the same way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite import crops, session
from ferlite.faces import Detector
from ferlite.training.classifier import count_parameters
from ferlite.training.faces.candidates import Candidate
from ferlite.training.faces.evaluate import evaluate_faces, text, write
from ferlite.types import Detections

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Raw = tuple[Floats, Floats, Floats | None]  # boxes, scores, landmarks, in pixels of the picture

# File -> AP 0.5 of all faces, of those from 20 and from 40 pixels, scores from 0.3.
KNOWN = {
    "face_detection_yunet_2023mar.onnx": (0.809, 0.874, 0.859),
    "yunet_n_dynamic.onnx": (0.878, 0.888, 0.849),
    "ultraface_rfb_320.onnx": (0.738, 0.803, 0.795),
    "scrfd_500m_kps.onnx": (0.903, 0.856, 0.770),
}
TOLERANCE = 0.003  # resampling and suppression differ in the last digit from library to library
THRESHOLD = 0.5  # of all three in their authors' examples, or near it


@dataclass
class Foreign:
    """A detector of which only the network and how to read it is known."""

    name: str
    network: session.Session
    read: Callable[[session.Session, Image], Raw]
    threshold: float
    nms_iou: float
    models: tuple[dict[str, str], ...] = ()

    def detect(self, image: Image) -> Detections:
        boxes, scores, points = self.read(self.network, image)
        sure = scores >= self.threshold
        boxes, scores = boxes[sure], scores[sure]
        kept = crops.nms(boxes, scores, self.nms_iou)
        return Detections(boxes[kept], scores[kept], None if points is None else points[sure][kept])


def cells(height: int, width: int, stride: int) -> Floats:
    """[cells, 2] x, y of the upper left corner of every cell."""
    rows, columns = np.mgrid[: height // stride, : width // stride]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32) * stride


def yunet_n(network: session.Session, image: Image) -> Raw:
    """Wu, Peng and Yu 2023; decoded as OpenCV's FaceDetectorYN does."""
    height, width = (-(-side // 32) * 32 for side in image.shape[:2])
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    planes = canvas.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    out = dict(zip(network.output_names, network.run(planes), strict=True))
    boxes, scores, points = [], [], []
    for s in (8, 16, 32):
        at = cells(height, width, s)
        box = out[f"bbox_{s}"][0] * [s, s, 1, 1]
        size = np.exp(box[:, 2:]) * s
        boxes.append(np.concatenate([at + box[:, :2] - size / 2, size], axis=1))
        scores.append(np.sqrt((out[f"cls_{s}"][0] * out[f"obj_{s}"][0]).clip(0, 1))[:, 0])
        points.append(at[:, None] + out[f"kps_{s}"][0].reshape(-1, 5, 2) * s)
    return joined(boxes, scores, points)


def scrfd(network: session.Session, image: Image) -> Raw:
    """Guo et al. 2021: two anchors a cell, distances from its corner, five landmarks."""
    side = 640
    zoom = side / max(image.shape[:2])
    to = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: to[1], : to[0]] = cv2.resize(image, to)
    planes = (canvas[..., ::-1].astype(np.float32) - 127.5) / 128
    out = [one.reshape(-1, one.shape[-1]) for one in network.run(planes.transpose(2, 0, 1)[None])]
    boxes, scores, points = [], [], []
    for i, s in enumerate((8, 16, 32)):
        at = np.repeat(cells(side, side, s), 2, axis=0)
        low, high = at - out[3 + i][:, :2] * s, at + out[3 + i][:, 2:] * s
        boxes.append(np.concatenate([low, high - low], axis=1) / zoom)
        scores.append(out[i][:, 0])
        points.append((at[:, None] + out[6 + i].reshape(-1, 5, 2) * s) / zoom)
    return joined(boxes, scores, points)


def ultraface(network: session.Session, image: Image) -> Raw:
    """Linzaer's RFB-320: the picture stretched to 320x240, boxes decoded by the network."""
    planes = (cv2.resize(image, (320, 240))[..., ::-1].astype(np.float32) - 127) / 128
    out = dict(zip(network.output_names, network.run(planes.transpose(2, 0, 1)[None]), strict=True))
    corners = out["boxes"][0] * np.tile(image.shape[1::-1], 2)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return boxes.astype(np.float32), out["scores"][0, :, 1], None


def joined(boxes: list[Floats], scores: list[Floats], points: list[Floats]) -> Raw:
    parts = (np.concatenate(part).astype(np.float32) for part in (boxes, scores, points))
    return next(parts), next(parts), next(parts)


def candidate(
    path: Path, read: Callable[[session.Session, Image], Raw], nms_iou: float, timed: Image | None
) -> Candidate:
    """timed: what its network is timed on; None where it does not take 320x320."""
    network = session.create(path, provider="cpu", threads=1)

    def opened(threshold: float | None, size: int) -> Detector:
        del size  # its authors' own
        limit = THRESHOLD if threshold is None else threshold
        return Foreign(path.stem, network, read, limit, nms_iou)

    planes = None if timed is None else timed.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    return Candidate(
        name=path.name,
        open=opened,
        threshold=THRESHOLD,
        parameters=count_parameters(path),
        size=path.stat().st_size,
        network=None if planes is None else lambda: network.run(planes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("candidates", nargs="*", metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.json")
    parser.add_argument("--models", type=Path, required=True, help="folder of published detectors")
    parser.add_argument("--face-free", action="append", default=[], help="clip without a face")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    official, small, ultra, mid = (given.models / name for name in KNOWN)
    gray = np.full((320, 320, 3), 128, np.uint8)
    models: list[str | Candidate] = [*given.candidates, str(official)]
    models += [
        candidate(small, yunet_n, 0.3, gray),
        candidate(ultra, ultraface, 0.3, None),
        candidate(mid, scrfd, 0.4, None),
    ]
    if hasattr(cv2, "CascadeClassifier"):
        models.append("haar")
    report = evaluate_faces(models, given.data, face_free=given.face_free)
    print(text(report))
    if given.out:
        write(report, given.out)
    for one in report.results:
        names = ("known_ap50", "known_ap50_20px", "known_ap50_40px")
        found = [one.figures[name] for name in names]
        wanted = KNOWN.get(one.model, found)
        assert np.allclose(found, wanted, atol=TOLERANCE), f"{one.model}: {found}, not {wanted}"


if __name__ == "__main__":
    main()
