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
from ferlite.training.faces.photographs import SPLITS, SURE

Split = Literal["train", "val"]
HUMAN_ONLY = 0.4  # confidence in a box that no teacher drew; below SURE
# Longer sides of a photograph, from its middle, within which its boxes and landmarks must lie.
REACH = 1.5
_LARGEST = 1e6  # of a number in faces.json; float32 keeps a tenth of a pixel up to there
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
        seen = sum(int((f.teacher >= SURE).sum()) for f in self.faces)
        human = sum(len(f.human) for f in self.faces)
        without = sum(len(f.boxes) == 0 for f in self.faces)
        return (
            f"{self.split}: {len(self)} photographs, {seen} faces of score {SURE} or more, "
            f"{human} boxes drawn by people, {without} photographs without a face"
        )


def joined(first: FaceData, *others: FaceData) -> FaceData:
    """The photographs of several sets as one."""
    sets = (first, *others)
    return FaceData(
        first.split,
        tuple(file for data in sets for file in data.files),
        tuple(image for data in sets for image in data.images),
        tuple(faces for data in sets for faces in data.faces),
        tuple(problem for data in sets for problem in data.problems),
    )


def shared(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
    """Intersection over the smaller box, of boxes [n, 4] and [m, 4]: [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    smaller = np.minimum(a[:, None, 2:].prod(-1), b[None, :, 2:].prod(-1))
    return np.asarray(np.maximum(high - low, 0).prod(-1) / smaller, np.float32)


def load_faces(root: Path, split: Split) -> FaceData:
    """One split of a folder with `faces.json` and the photographs in `images/`.

    faces.json: a list of {"file", "width", "height", "split", "human": [[x, y, w, h], ...],
    "teacher": [{"box", "score", "landmarks": five [x, y]}, ...]}. All photographs are held decoded.
    A bad entry is left out and becomes one of `problems`; DataError when there is nothing to read.
    """
    path = root / "faces.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder with faces.json") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise DataError(f"{path} holds a {type(entries).__name__}, not a list of photographs")
    files: list[str] = []
    images: list[NDArray[np.uint8]] = []
    faces: list[Faces] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"is a {type(entry).__name__}, not a photograph's facts")
            if entry["split"] not in SPLITS:
                raise ValueError(f"split {entry['split']!r} is none of {', '.join(SPLITS)}")
            if entry["split"] != split:
                continue
            image = _read(root / "images", entry["file"])
            sides = entry["width"], entry["height"]
            if image.shape[1::-1] != sides:
                real = f"{image.shape[1]}x{image.shape[0]}"
                raise ValueError(f"{entry['file']} is {real}, not {sides[0]!r} x {sides[1]!r}")
            faces.append(_faces(entry, max(sides)))
        # OverflowError: JSON knows integers that no float holds.
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"entry {index}: {' '.join(reason.split())[:200]}")
            continue
        files.append(entry["file"])
        images.append(image)
    if not files:
        first = f"; first problem: {problems[0]}" if problems else ""
        raise DataError(f"{path} has no usable photograph of split {split!r}{first}")
    return FaceData(split, tuple(files), tuple(images), tuple(faces), tuple(problems))


def _read(folder: Path, file: Any) -> NDArray[np.uint8]:
    if not isinstance(file, str):
        raise ValueError(f"file {file!r} is not a name")
    try:
        path = (folder / file).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"file {file!r} lies outside images/")
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise ValueError(f"{file[:80]!r}: {error.strerror}") from error
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise ValueError(f"{file!r} is not a picture")
    return np.asarray(image, np.uint8)


def _array(name: str, values: Any, *shape: int) -> NDArray[np.float32]:
    """float32 [n, *shape] of n values that must be lists of finite numbers."""
    if not isinstance(values, list):
        raise ValueError(f"{name} is {values!r}, not a list")
    try:
        array = np.array(values, np.float64).reshape(len(values), *shape)
    except (TypeError, ValueError):
        wanted = " x ".join(map(str, shape)) or "one"
        raise ValueError(f"{name}: not {wanted} numbers each") from None
    if not (np.abs(array) <= _LARGEST).all():
        raise ValueError(f"{name}: a number is not finite or huge")
    return array.astype(np.float32)


def _faces(entry: dict[str, Any], side: int) -> Faces:
    """side: the photograph's longer one, pixels."""
    human = _array("human", entry["human"], 4)
    human = human[(human[:, 2:] > 0).all(axis=1)]
    seen = entry["teacher"]
    if not isinstance(seen, list):
        raise ValueError(f"teacher is {seen!r}, not a list")
    boxes = _array("teacher's boxes", [face["box"] for face in seen], 4)
    scores = _array("teacher's scores", [face["score"] for face in seen])
    landmarks = _array("teacher's landmarks", [face["landmarks"] for face in seen], 5, 2)
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        raise ValueError(f"teacher's scores {scores.tolist()} are not all in 0..1")
    solid = (boxes[:, 2:] > 0).all(axis=1)
    boxes, scores, landmarks = boxes[solid], scores[solid], landmarks[solid]
    points = np.concatenate(
        [box[:, part] for box in (human, boxes) for part in (slice(2), slice(2, 4))]
        + [landmarks.reshape(-1, 2)]
    )
    if len(points) and np.abs(points - side / 2).max() > REACH * side:
        raise ValueError(f"a box or landmark lies far outside the picture of {side} pixels")
    overlap = shared(human, boxes)
    agreed = overlap.max(axis=0, initial=0) >= SAME_FACE_SHARE
    raised = np.where(agreed, np.maximum(scores, SURE), scores)
    alone = human[overlap.max(axis=1, initial=0) < SAME_FACE_SHARE]
    return Faces(
        boxes=np.concatenate([boxes, alone]),
        scores=np.concatenate([raised, np.full(len(alone), HUMAN_ONLY)]).astype(np.float32),
        teacher=np.concatenate([scores, np.zeros(len(alone), np.float32)]),
        landmarks=np.concatenate([landmarks, np.full((len(alone), 5, 2), np.nan, np.float32)]),
        human=human,
    )
