"""What a view teaches: one row a face, as the augmentation moves them and the loss reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ferlite.training.faces.data import Faces

Rows = NDArray[np.float32]  # [n, COLUMNS]

# Columns of a row; positions in pixels of the view.
PLACE, SIZE = slice(0, 2), slice(2, 4)  # of the box: x, y, and width, height
POINTS = slice(4, 14)  # x, y of the five landmarks, 0 where unknown
# Confidence in the truth, above 0 to 1. 0: an empty row. Below 0: the face is not judged (too small
# or cut too much), and nothing is asked of its place.
CONFIDENCE = 14
KNOWN = 15  # 1 where the landmarks are known, else 0
COLUMNS = 16
NOT_JUDGED = -1.0

_CLEAR = 0.75  # score of the truth from which a face is taken for certain
_MIRRORED = [1, 0, 2, 4, 3]  # the left eye of the picture was the right one


def target_rows(faces: Faces) -> Rows:
    """One row for each face of a photograph."""
    n = len(faces.boxes)
    known = np.isfinite(faces.landmarks).all(axis=(1, 2))
    rows = np.empty((n, COLUMNS), np.float32)
    rows[:, :4] = faces.boxes
    rows[:, POINTS] = np.nan_to_num(faces.landmarks.reshape(n, 10))
    # A detector is sure of a clear face long before its score is 1.
    rows[:, CONFIDENCE] = np.minimum(faces.scores / _CLEAR, 1.0)
    rows[:, KNOWN] = known
    return rows


def moved(rows: Rows, matrix: NDArray[np.float64], flipped: bool = False) -> Rows:
    """Rows after an affine map [2, 3]; a turned box becomes the box around the turned ellipse.

    flipped: the map mirrors left and right, so eyes and mouth corners change places.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    out = rows.copy()
    middle = (rows[:, PLACE] + rows[:, SIZE] / 2) @ linear.T + shift
    half = np.sqrt((rows[:, SIZE] / 2) ** 2 @ (linear**2).T)
    out[:, PLACE], out[:, SIZE] = middle - half, half * 2
    points = rows[:, POINTS].reshape(-1, 5, 2) @ linear.T + shift
    if flipped:
        points = points[:, _MIRRORED]
    out[:, POINTS] = points.reshape(-1, 10)
    return out


def shown(rows: Rows, size: tuple[int, int], smallest: float, least_visible: float) -> Rows:
    """The rows of which a view (width, height) shows anything; some of them not judged.

    Not judged is a face whose longer side is under `smallest` pixels, or of whose box less than
    the share `least_visible` lies inside.
    """
    low = np.maximum(rows[:, PLACE], 0)
    high = np.minimum(rows[:, PLACE] + rows[:, SIZE], np.array(size, np.float32))
    visible = np.maximum(high - low, 0).prod(1) / np.maximum(rows[:, SIZE].prod(1), 1e-6)
    rows = rows.copy()
    unfit = (visible < least_visible) | (rows[:, SIZE].max(axis=1) < smallest)
    rows[unfit, CONFIDENCE] = NOT_JUDGED
    kept: Rows = rows[visible > 0.02]
    return kept
