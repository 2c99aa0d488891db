"""FER+ faces set into photographs of something else: their place is known, what is around is real.

Shared by `crop_geometry.py`, which fits a geometry on training faces, and `end_to_end.py`, which
measures it on validation faces. A face's scene depends on the seed and its number alone.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite import bundles
from ferlite.bundles import CropGeometry
from ferlite.emotion import EmotionClassifier
from ferlite.faces import Detector, find_faces, open_detector
from ferlite.training.data import EmotionData, load
from ferlite.training.faces.photographs import Photograph, read_photographs
from ferlite.types import Detections

CANVAS = 384  # pixels of a scene's side
ENLARGE = 4
PLACES = 20  # tried in one photograph before another is taken
BATCH = 8
# A face is found when a box's centre lies within this share of the picture's side from the middle
# of the picture, and its longer side is in this range of that side. Overlap would not do: a face
# that is small in its picture, as some are, overlaps the frame by less than half of it.
OFF_CENTRE = 0.25
SIDES = (1 / 3, 3 / 2)

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """image: uint8 [CANVAS, CANVAS, 3] BGR; square: float32 [4], where the face's picture lies."""

    image: Image
    square: Floats


class Scenes:
    """Each picture of `faces`, uint8 [n, s, s], enlarged, in a random part of a photograph.

    The picture covers no face that `faces.json` knows of.
    """

    def __init__(self, faces: Image, photographs: Sequence[Photograph], seed: int) -> None:
        self._faces, self._photographs, self._seed = faces, photographs, seed

    def moved(self, n: int) -> Scenes:
        """The first n faces at other places in other photographs."""
        return Scenes(self._faces[:n], self._photographs, self._seed + 1)

    def __len__(self) -> int:
        return len(self._faces)

    def scene(self, index: int) -> Scene:
        """That of face number `index`."""
        rng = np.random.default_rng([self._seed, index])
        large = cv2.resize(
            self._faces[index], None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC
        )
        side = len(large)
        image, (x, y) = self._surroundings(rng, side)
        image[y : y + side, x : x + side] = large[..., np.newaxis]
        return Scene(image, np.array([x, y, side, side], np.float32))

    def _surroundings(self, rng: np.random.Generator, side: int) -> tuple[Image, tuple[int, int]]:
        """Part of a photograph, and where in it a square of `side` hides no face."""
        while True:
            photograph = self._photographs[int(rng.integers(len(self._photographs)))]
            image = photograph.image()
            zoom = CANVAS / min(image.shape[:2])
            image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom), np.uint8)
            height, width = image.shape[:2]
            faces = zoom * np.concatenate([photograph.boxes, photograph.doubtful, photograph.human])
            for _ in range(PLACES):
                left, top = rng.integers(width - CANVAS + 1), rng.integers(height - CANVAS + 1)
                x, y = map(int, rng.integers(0, CANVAS - side + 1, 2))
                first = np.array([left + x, top + y])
                apart = (faces[:, :2] >= first + side) | (faces[:, :2] + faces[:, 2:] <= first)
                if apart.any(axis=1).all():
                    part = image[top : top + CANVAS, left : left + CANVAS]
                    return np.ascontiguousarray(part), (x, y)


def add_options(parser: argparse.ArgumentParser, faces: int | None) -> None:
    """What both studies are told; `faces`: how many by default, None for all."""
    parser.add_argument("--data", type=Path, required=True, help="FER+ folder")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of faces.json")
    parser.add_argument(
        "--detector",
        nargs="+",
        default=["ferlite-face"],
        help="names, model folders, .onnx files, or .keras weights of `ferlite train --task face`",
    )
    parser.add_argument("--model", default="emotion", help="emotion model, by name or folder")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--n", type=int, default=faces, help="faces; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)


def scenes_of(options: argparse.Namespace, split: str) -> tuple[EmotionData, Scenes]:
    """Judged faces of a FER+ split ("train" or "valid") among photographs of the same split."""
    data = load(options.data, split, "majority").only_judged()
    if options.n is not None and options.n < len(data):
        kept = np.random.default_rng(options.seed).choice(len(data), options.n, replace=False)
        data = replace(
            data, images=data.images[kept], targets=data.targets[kept], judged=data.judged[kept]
        )
    wanted = {"train": "train", "valid": "val"}[split]
    photographs = [p for p in read_photographs(options.photographs) if p.split == wanted]
    return data, Scenes(data.images, photographs, options.seed)


def open_classifier(options: argparse.Namespace) -> EmotionClassifier:
    return EmotionClassifier(
        bundles.find(options.model), provider="cpu", precision=options.precision
    )


def opened(name: str) -> Detector:
    """A detector as `ferlite detect` runs it, at its own threshold and size."""
    if not name.lower().endswith(".keras"):
        return open_detector(name, provider="cpu")
    from ferlite.training.faces.candidates import open_candidate

    blank = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    return open_candidate(name, blank).open(None, CANVAS)


def search(detector: Detector, scenes: Scenes) -> Iterator[tuple[Scene, Detections | None]]:
    """Each scene with its face alone, as the detector found it; None where it did not."""
    for start in range(0, len(scenes), BATCH):
        some = [scenes.scene(i) for i in range(start, min(start + BATCH, len(scenes)))]
        found = find_faces(detector, [scene.image for scene in some])
        for scene, faces in zip(some, found, strict=True):
            yield scene, _the_face(faces, scene.square)


def _the_face(found: Detections, square: Floats) -> Detections | None:
    """The surest detection that lies where the face was set."""
    off = found.boxes[:, :2] + found.boxes[:, 2:] / 2 - square[:2] - square[2:] / 2
    sides = found.boxes[:, 2:].max(axis=1) / square[2]
    near = np.abs(off).max(axis=1) <= OFF_CENTRE * square[2]
    hits = np.flatnonzero(near & (sides >= SIDES[0]) & (sides <= SIDES[1]))
    if not len(hits):
        return None
    i = int(hits[0])  # best score first
    points = found.landmarks
    return Detections(
        found.boxes[i : i + 1],
        found.scores[i : i + 1],
        None if points is None else points[i : i + 1],
    )


def framed(classifier: EmotionClassifier, geometry: CropGeometry) -> EmotionClassifier:
    """The same network; detector "" has this geometry."""
    other = copy.copy(classifier)
    other.bundle = replace(classifier.bundle, crop={"": geometry})
    return other


def originals(classifier: EmotionClassifier, faces: Image) -> Floats:
    """Probabilities float32 [n, labels] of pictures uint8 [n, s, s], cropped by nobody."""
    side = faces.shape[1]
    whole = np.array([[0, 0, side, side]], np.float32)
    as_is = framed(classifier, CropGeometry())
    return classifier.run(np.concatenate([as_is.crop(face, whole) for face in faces]))
