"""Photographs with face boxes: read `faces.json`, join what the two kinds of truth say.

`human` boxes were drawn by people with different habits; `teacher` boxes and landmarks come from
a large detector, with scores. Where both saw a face the teacher's box is kept, because its boxes
are consistent and tight; a face that only people saw (masks, mostly) is kept at a low confidence
and without landmarks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError

Split = Literal["train", "val"]
HUMAN_ONLY = 0.4  # confidence in a box that no teacher drew; below the teacher's own 0.5
# Of the smaller box. Not of the union: people often drew the whole head.
SAME_FACE_SHARE = 0.6


@dataclass(frozen=True)
class Faces:
    """The faces of one photograph, in its pixels.

    boxes: float32 [n, 4] x, y, width, height. scores: float32 [n], confidence of the truth, 0..1.
    teacher: float32 [n], the teacher's own score, 0 where only people saw the face.
    landmarks: float32 [n, 5, 2], NaN where unknown. human: float32 [m, 4], as people drew them.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    teacher: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    human: NDArray[np.float32]


@dataclass(frozen=True)
class FaceData:
    """Photographs, uint8 [h, w, 3] BGR, their files and their faces.

    problems: one line for each that had to be left out.
    """

    split: Split
    files: tuple[str, ...]
    images: tuple[NDArray[np.uint8], ...]
    faces: tuple[Faces, ...]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def summary(self) -> str:
        """n of photographs and faces, in one line."""
        seen = sum(int((f.teacher >= 0.5).sum()) for f in self.faces)
        human = sum(len(f.human) for f in self.faces)
        without = sum(len(f.boxes) == 0 for f in self.faces)
        return (
            f"{self.split}: {len(self)} photographs, {seen} faces of score 0.5 or more, "
            f"{human} boxes drawn by people, {without} photographs without a face"
        )


def _shared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over the smaller box, of boxes [n, 4] and [m, 4]: [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    smaller = np.minimum(a[:, None, 2:].prod(-1), b[None, :, 2:].prod(-1))
    return np.asarray(np.maximum(high - low, 0).prod(-1) / smaller, np.float32)


def load_faces(root: Path, split: Split) -> FaceData:
    """One split of a folder with `faces.json` and the photographs in `images/`.

    faces.json: a list of {"file", "width", "height", "split", "human": [[x, y, w, h], ...],
    "teacher": [{"box", "score", "landmarks": five [x, y]}, ...]}. All photographs are held decoded.
    Raises DataError when there is nothing to read.
    """
    path = root / "faces.json"
    try:
        entries = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder with faces.json") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise DataError(f"{path} holds a {type(entries).__name__}, not a list of photographs")
    files, images, faces, problems = [], [], [], []
    for index, entry in enumerate(entries):
        try:
            if entry["split"] != split:
                continue
            file = str(entry["file"])
            known = _faces(entry)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"entry {index}: {type(error).__name__}: {error}")
            continue
        image = _read(root / "images", file)
        if image is None:
            problems.append(f"{file}: missing or not a picture")
            continue
        if image.shape[:2] != (entry.get("height"), entry.get("width")):
            problems.append(f"{file}: is {image.shape[1]}x{image.shape[0]}, not as faces.json says")
            continue
        files.append(file)
        images.append(image)
        faces.append(known)
    if not files:
        first = f"; first problem: {problems[0]}" if problems else ""
        raise DataError(f"{path} has no usable photograph of split {split!r}{first}")
    return FaceData(split, tuple(files), tuple(images), tuple(faces), tuple(problems))


def _read(folder: Path, file: str) -> NDArray[np.uint8] | None:
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def _boxes(values: Any) -> NDArray[np.float32]:
    boxes = np.array(values, np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("a box is not finite")
    return boxes[(boxes[:, 2:] > 0).all(axis=1)]


def _faces(entry: dict[str, Any]) -> Faces:
    human = _boxes(entry["human"])
    teacher = [face for face in entry["teacher"] if min(face["box"][2:]) > 0]
    boxes = _boxes([face["box"] for face in teacher])
    scores = np.array([face["score"] for face in teacher], np.float32)
    landmarks = np.array([face["landmarks"] for face in teacher], np.float32).reshape(-1, 5, 2)
    if not (np.isfinite(scores).all() and np.isfinite(landmarks).all()):
        raise ValueError("a score or a landmark is not finite")
    overlap = _shared(human, boxes)
    agreed = overlap.max(axis=0, initial=0) >= SAME_FACE_SHARE
    raised = np.where(agreed, np.maximum(scores, 0.5), scores)
    alone = human[overlap.max(axis=1, initial=0) < SAME_FACE_SHARE]
    return Faces(
        boxes=np.concatenate([boxes, alone]),
        scores=np.concatenate([raised, np.full(len(alone), HUMAN_ONLY)]).astype(np.float32),
        teacher=np.concatenate([scores, np.zeros(len(alone), np.float32)]),
        landmarks=np.concatenate([landmarks, np.full((len(alone), 5, 2), np.nan, np.float32)]),
        human=human,
    )
