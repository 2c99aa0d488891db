"""Where FER+ pictures lie in the boxes that a face detector draws around the same faces.

A network trained on FER+ expects its framing; a detector has its own habit. Each training picture
is enlarged and set into a canvas that continues its edge pixels, the detector runs, and the box it
finds is compared with the picture's known frame:

    side = scale * max(w, h);  centre = (x + w / 2 + dx * w, y + h / 2 + dy * h)

Medians over all faces that were found are what a bundle keeps under "crop". The spread (10th to
90th percentile) is what training must be robust to.

    python benchmarks/crop_geometry.py --data FER --yunet yunet.onnx --faces 2000 --out crop.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.training.data import load

Detect = Callable[[NDArray[np.uint8]], "list[tuple[float, float, float, float]]"]


def haar() -> Detect:
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml")
    )
    return lambda image: list(
        cascade.detectMultiScale(image, scaleFactor=1.1, minNeighbors=5, minSize=(30, 30))
    )


def yunet(path: Path) -> Detect:
    def detect(image: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
        height, width = image.shape
        detector.setInputSize((width, height))
        faces = detector.detect(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))[1]
        return [] if faces is None else [tuple(face[:4]) for face in faces]

    detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.6, 0.3, 100)
    return detect


def measure(
    images: NDArray[np.uint8], detect: Detect, enlarge: int, margin: float
) -> NDArray[np.float64]:
    """float64 [found, 3]: scale, dx, dy of each face whose box overlaps the picture's centre."""
    side = images.shape[1] * enlarge
    border = round(margin * side)
    rows = []
    for image in images:
        large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        canvas = cv2.copyMakeBorder(large, *[border] * 4, cv2.BORDER_REPLICATE)
        boxes = detect(canvas)
        if not boxes:
            continue
        x, y, w, h = max(boxes, key=lambda b: b[2] * b[3])
        centre = border + side / 2
        if not (x < centre < x + w and y < centre < y + h):
            continue
        rows.append((side / max(w, h), (centre - (x + w / 2)) / w, (centre - (y + h / 2)) / h))
    return np.array(rows, np.float64).reshape(-1, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="FER+ folder")
    parser.add_argument("--yunet", type=Path, help="face_detection_yunet_2023mar.onnx")
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--enlarge", type=int, default=4)
    parser.add_argument("--margin", type=float, default=0.5, help="border, share of the side")
    parser.add_argument("--out", type=Path, help="write the medians here as JSON")
    options = parser.parse_args()
    data = load(options.data, "train")
    images = data.images[data.judged]
    rng = np.random.default_rng(1)
    images = images[rng.choice(len(images), min(options.faces, len(images)), replace=False)]
    detectors = {"haar": haar()} | ({"yunet": yunet(options.yunet)} if options.yunet else {})
    geometry = {}
    print(
        f"{len(images)} faces of {options.data.name}, x{options.enlarge}, margin {options.margin}"
    )
    for name, detect in detectors.items():
        rows = measure(images, detect, options.enlarge, options.margin)
        assert len(rows) > 0.3 * len(images), f"{name} found only {len(rows)} of {len(images)}"
        low, middle, high = np.percentile(rows, [10, 50, 90], axis=0)
        print(f"{name}: found {len(rows)} ({len(rows) / len(images):.1%})")
        for i, what in enumerate(("scale", "dx", "dy")):
            print(f"  {what:5} median {middle[i]:+.3f}   10-90 % {low[i]:+.3f} .. {high[i]:+.3f}")
        scale, dx, dy = (round(float(v), 3) for v in middle)
        geometry[name] = {"scale": scale, "dx": dx, "dy": dy, "rotate": False}
    if options.out:
        options.out.write_text(json.dumps(geometry, indent=2) + "\n")


if __name__ == "__main__":
    main()
