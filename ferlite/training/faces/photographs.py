"""Photographs with face boxes, one at a time and as `faces.json` has them: what a detector faces.

Training joins the two kinds of truth (`ferlite.training.faces.data`); a score must not, or it would
change with the way they are joined.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError

SURE = 0.5  # score from which a teacher's box is a face that must be found
SPLITS = ("train", "val")
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Photograph:
    """What is known of one photograph, in its pixels, before it is read.

    boxes: [n, 4] x, y, width, height of the teacher's faces from `SURE`; scores: [n];
    landmarks: [n, 5, 2]. doubtful: [k, 4], the teacher's others. human: [m, 4], drawn by people.
    """

    path: Path
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
        """uint8 [h, w, 3] BGR; DataError when it is no picture."""
        import cv2

        try:
            image = cv2.imdecode(np.fromfile(self.path, np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error) as error:
            raise DataError(f"{self.path}: {' '.join(str(error).split())}") from None
        if image is None:
            raise DataError(f"{self.path}: not a picture")
        return np.asarray(image, np.uint8)


def read_photographs(root: Path) -> list[Photograph]:
    """All photographs of a folder with `faces.json` and `images/`; DataError when it is none."""
    path = root / "faces.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder with faces.json") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} holds no list of photographs")
    found = []
    for index, entry in enumerate(entries):
        try:
            found.append(_photograph(root / "images", entry))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise DataError(f"{path}: entry {index}: {reason}") from None
    return found


def _photograph(folder: Path, entry: dict[str, Any]) -> Photograph:
    path = folder / entry["file"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"file {entry['file']!r} lies outside images/")
    if entry["split"] not in SPLITS:
        raise ValueError(f"split {entry['split']!r} is none of {', '.join(SPLITS)}")
    teacher = entry["teacher"]
    boxes = _array([face["box"] for face in teacher], -1, 4)
    scores = _array([face["score"] for face in teacher], -1)
    landmarks = _array([face["landmarks"] for face in teacher], -1, 5, 2)
    sure = scores >= SURE
    return Photograph(
        path=path,
        split=entry["split"],
        boxes=boxes[sure],
        scores=scores[sure],
        landmarks=landmarks[sure],
        doubtful=boxes[~sure],
        human=_array(entry["human"], -1, 4),
    )


def _array(values: Any, *shape: int) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64).reshape(shape if len(values) else (0, *shape[1:]))
    if not np.isfinite(array).all():
        raise ValueError("a number is not finite")
    return array
