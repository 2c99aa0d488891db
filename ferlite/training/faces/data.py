"""Photographs with face boxes: read `faces.json`, join what the two kinds of truth say.

`human` boxes were drawn by people with different habits; `teacher` boxes and landmarks come from
a large detector, with scores. Where both saw a face the teacher's box is kept, because its boxes
are consistent and tight; a face that only people saw (masks, mostly) is kept at a low confidence
and without landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError
from ferlite.training.faces.photographs import (
    BAD_ENTRY,
    FACES,
    SURE,
    decoded,
    entries_of,
    file_of,
    known,
    what_is_wrong,
)
from ferlite.training.records import digest

Split = Literal["train", "val"]
HUMAN_ONLY = 0.4  # confidence in a box that no teacher drew; below SURE
_LONGEST_SIDE = 32767  # pixels that OpenCV's warp can take
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

    def digest(self) -> str:
        """Of pictures and faces, to tell one set from another."""
        return digest(
            *self.images, *(part for faces in self.faces for part in vars(faces).values())
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
    files: list[str] = []
    images: list[NDArray[np.uint8]] = []
    faces: list[Faces] = []
    problems: list[str] = []
    for index, entry in enumerate(entries_of(root)):
        try:
            file = file_of(root / "images", entry)
            if entry["split"] != split:
                continue
            sides = entry["width"], entry["height"]
            image = decoded(file, sides)
            if max(sides) > _LONGEST_SIDE:
                raise ValueError(f"{entry['file']} is {sides[0]}x{sides[1]}, too long a picture")
            faces.append(_faces(entry))
        except BAD_ENTRY as error:
            problems.append(what_is_wrong(index, error))
            continue
        files.append(entry["file"])
        images.append(image)
    if not files:
        first = f"; first problem: {problems[0]}" if problems else ""
        raise DataError(f"{root / FACES} has no usable photograph of split {split!r}{first}")
    return FaceData(split, tuple(files), tuple(images), tuple(faces), tuple(problems))


def _faces(entry: dict[str, Any]) -> Faces:
    boxes, scores, landmarks, human = (part.astype(np.float32) for part in known(entry))
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
