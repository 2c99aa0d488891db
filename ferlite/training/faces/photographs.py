"""Photographs with face boxes, one at a time and as `faces.json` has them: what a detector faces.

Training joins the two kinds of truth (`ferlite.training.faces.data`); a score must not, or it would
change with the way they are joined.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError

SURE = 0.5  # score from which a teacher's box is a face that must be found
SPLITS = ("train", "val")
FACES = "faces.json"
# What `known` and the like raise. OverflowError: JSON knows integers that no float holds.
BAD_ENTRY = (KeyError, TypeError, ValueError, OverflowError)
# Longer sides of a photograph, from its middle, within which its boxes and landmarks must lie.
REACH = 1.5
_LARGEST = 1e6  # of a number in faces.json; float32 keeps a tenth of a pixel up to there
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Photograph:
    """What is known of one photograph, in its pixels, before it is read.

    size: width, height. boxes: [n, 4] x, y, width, height of the teacher's faces from `SURE`;
    scores: [n]; landmarks: [n, 5, 2]. doubtful: [k, 4], the teacher's others. human: [m, 4],
    drawn by people.
    """

    path: Path
    size: tuple[int, int]
    split: str
    boxes: Boxes
    scores: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    doubtful: Boxes
    human: Boxes

    @cached_property
    def face_free(self) -> bool:
        """Neither teacher nor people saw anything like a face."""
        return not (len(self.boxes) or len(self.doubtful) or len(self.human))

    def image(self) -> NDArray[np.uint8]:
        """uint8 [h, w, 3] BGR; DataError when it is no picture, or not of its size."""
        try:
            return decoded(self.path, self.size)
        except ValueError as error:
            folder = self.path.parent
            raise DataError(f"{folder}: {error}; take its entry out of faces.json") from None


def read_photographs(root: Path) -> list[Photograph]:
    """All photographs of a folder with `faces.json` and `images/`; DataError when it is none.

    Or where an entry is bad: a score over the others would be of other data.
    """
    found = []
    for index, entry in enumerate(entries_of(root)):
        try:
            found.append(_photograph(root / "images", entry))
        except BAD_ENTRY as error:
            raise DataError(f"{root / FACES}: {what_is_wrong(index, error)}") from None
    return found


def entries_of(root: Path) -> list[Any]:
    """What the list in a folder's `faces.json` holds, whatever that is; DataError for no list."""
    path = root / FACES
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder with faces.json") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f"{path} holds a {type(entries).__name__}, not a list of photographs")
    return entries


def what_is_wrong(index: int, error: Exception) -> str:
    """One line on an entry of faces.json that raised one of `BAD_ENTRY`."""
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return f"entry {index}: {' '.join(reason.split())[:200]}"


def decoded(path: Path, size: tuple[Any, Any]) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] BGR; ValueError when it is no picture, or not of its size (width, height)."""
    import cv2

    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise ValueError(f"{path.name[:80]!r}: {error.strerror}") from error
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise ValueError(f"{path.name!r} is not a picture")
    if image.shape[1::-1] != size:
        real, stated = ("x".join(map(str, sides)) for sides in (image.shape[1::-1], size))
        raise ValueError(f"{path.name!r} is {real}, not {stated} as stated: its boxes are wrong")
    return np.asarray(image, np.uint8)


def with_faces(photographs: Sequence[Photograph], split: str) -> list[Photograph]:
    """Those of a split; DataError where it has no face of score `SURE`."""
    chosen = [one for one in photographs if one.split == split]
    if not any(len(one.boxes) for one in chosen):
        raise DataError(f"faces.json has no faces of score {SURE:g} in split {split!r}")
    return chosen


def known(entry: dict[str, Any]) -> tuple[Boxes, NDArray[np.float64], NDArray[np.float64], Boxes]:
    """What an entry of faces.json says: the teacher's boxes, scores and landmarks; people's boxes.

    Boxes without an area are left out. Raises KeyError, TypeError, ValueError or OverflowError for
    what no photograph can have.
    """
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
    side = max(entry["width"], entry["height"])
    points = np.concatenate(
        [box[:, part] for box in (human, boxes) for part in (slice(2), slice(2, 4))]
        + [landmarks.reshape(-1, 2)]
    )
    if len(points) and np.abs(points - side / 2).max() > REACH * side:
        raise ValueError(f"a box or landmark lies far outside the picture of {side} pixels")
    return boxes, scores, landmarks, human


def file_of(folder: Path, entry: Any) -> Path:
    """The picture of an entry of faces.json, whose split is one of `SPLITS`; else ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"is a {type(entry).__name__}, not a photograph's facts")
    if entry["split"] not in SPLITS:
        raise ValueError(f"split {entry['split']!r} is none of {', '.join(SPLITS)}")
    file = entry["file"]
    if not isinstance(file, str):
        raise ValueError(f"file {file!r} is not a name")
    try:
        path = (folder / file).resolve()
    except OSError as error:
        raise ValueError(f"{file[:80]!r}: {error.strerror}") from error
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"file {file!r} lies outside images/")
    return path


def _photograph(folder: Path, entry: Any) -> Photograph:
    path = file_of(folder, entry)
    boxes, scores, landmarks, human = known(entry)
    sure = scores >= SURE
    return Photograph(
        path=path,
        size=(entry["width"], entry["height"]),
        split=entry["split"],
        boxes=boxes[sure],
        scores=scores[sure],
        landmarks=landmarks[sure],
        doubtful=boxes[~sure],
        human=human,
    )


def _array(name: str, values: Any, *shape: int) -> NDArray[np.float64]:
    """float64 [n, *shape] of n values that must be lists of finite numbers."""
    if not isinstance(values, list):
        raise ValueError(f"{name} is {values!r}, not a list")
    try:
        array = np.array(values, np.float64).reshape(len(values), *shape)
    except (TypeError, ValueError):
        wanted = " x ".join(map(str, shape)) or "one"
        raise ValueError(f"{name}: not {wanted} numbers each") from None
    if not (np.abs(array) <= _LARGEST).all():
        raise ValueError(f"{name}: a number is not finite or huge")
    return array
