"""What a face detector's answers are worth: average precision, landmark error. NumPy only.

The protocol is the one that gives, on the validation photographs and for YuNet 2023mar at native
size (its own suppression at 0.3, scores from 0.3, truth: teacher boxes of score >= 0.5), AP 0.809
for all faces, 0.874 for faces of 20 pixels and more, 0.859 from 40, and for SCRFD-500m 0.903,
0.856 and 0.770:

- Detections of all pictures by falling score; each takes the unused true box with the largest
  overlap of at least `iou` in its picture, or else it is false (Everingham et al., "The PASCAL
  Visual Object Classes challenge", IJCV 2010).
- AP is the area under the curve of precision by recall, precision made falling first (VOC 2010,
  all points). Detections of one score enter together, so their order decides nothing.
- Of faces from `min_side` pixels, the side being the height: smaller true boxes are left out, and
  so are detections that match nothing and are lower than 0.7 `min_side`; a detection between the
  two on a face that is left out is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Found = Sequence[tuple[ArrayLike, ArrayLike]]

SLACK = 0.7  # of min_side, below which a false detection is not held against the detector
IOUS = tuple(np.arange(50, 100, 5) / 100)  # of COCO's AP 0.5:0.95 (Lin et al., ECCV 2014)


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve over falling score, float64 [k] each, k distinct scores; n true faces.

    Precision and recall are of the detections with at least this score. `average` is AP, nan
    where there is no true face.
    """

    average: float
    recall: Floats
    precision: Floats
    scores: Floats
    n: int


def overlaps(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union of boxes [n, 4] and [m, 4] (x, y, width, height), float64 [n, m].

    A box without area overlaps nothing.
    """
    one, two = _boxes(a)[:, None], _boxes(b)[None]
    low = np.maximum(one[..., :2], two[..., :2])
    high = np.minimum(one[..., :2] + one[..., 2:], two[..., :2] + two[..., 2:])
    common = (high - low).clip(0).prod(axis=2)
    union = one[..., 2:].clip(0).prod(axis=2) + two[..., 2:].clip(0).prod(axis=2) - common
    shared: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shared


def match(
    boxes: ArrayLike, scores: ArrayLike, truth: ArrayLike, iou: float = 0.5
) -> NDArray[np.intp]:
    """Index of the true box [m, 4] that each box [n, 4] takes, -1 where none; intp [n].

    By falling score (of equals the one further left, then further up), each takes the unused true
    box that it overlaps most, by at least `iou`.
    """
    found, order = _boxes(boxes), _by_score(boxes, scores)
    shared = overlaps(found, truth)
    taken = np.full(len(found), -1, np.intp)
    for i in order[(shared[order] >= iou).any(axis=1)]:
        j = int(shared[i].argmax())
        if shared[i, j] >= iou:
            taken[i] = j
            shared[:, j] = -1.0
    return taken


def average_precision(
    found: Found,
    truth: Sequence[ArrayLike],
    ignore: Sequence[ArrayLike] | None = None,
    iou: float = 0.5,
    min_side: float = 0,
) -> PrecisionRecall:
    """Average precision of the detections of many pictures; see the module for the protocol.

    found: for each picture (boxes [n, 4] x, y, width, height, scores [n]).
    truth: for each picture its true boxes [m, 4].
    ignore: for each picture bool [m], true boxes that need not be found; a detection that
        overlaps one by `iou` and takes no other is left out. None: no such boxes.
    min_side: least height of a face in pixels.
    """
    scores: list[Floats] = [np.zeros(0)]
    hits: list[Bools] = [np.zeros(0, bool)]
    n = 0
    skips = [None] * len(truth) if ignore is None else ignore
    for (boxes, values), faces, skip in zip(found, truth, skips, strict=True):
        boxes, faces = _boxes(boxes), _boxes(faces)
        values = np.asarray(values, np.float64).reshape(len(boxes))
        skipped = np.zeros(len(faces), bool) if skip is None else np.asarray(skip, bool)
        wanted = ~skipped & (faces[:, 3] >= min_side)
        right = match(boxes, values, faces[wanted], iou) >= 0
        left_out = boxes[:, 3] < SLACK * min_side
        if skipped.any():
            left_out |= (overlaps(boxes, faces[skipped]) >= iou).any(axis=1)
        kept = right | ~left_out
        scores.append(values[kept])
        hits.append(right[kept])
        n += int(wanted.sum())
    return _curve(np.concatenate(scores), np.concatenate(hits), n)


def mean_average_precision(
    found: Found, truth: Sequence[ArrayLike], min_side: float = 0, ious: Sequence[float] = IOUS
) -> float:
    """AP 0.5:0.95, the mean of `average_precision` over `ious`."""
    curves = [average_precision(found, truth, iou=iou, min_side=min_side) for iou in ious]
    return float(np.mean([curve.average for curve in curves]))


def landmark_error(
    found: ArrayLike, truth: ArrayLike, size: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Mean distance of a face's landmarks from the true ones over its size, float64 [n].

    found, truth: [n, 5, 2] pixels, the eyes first. size: [n] pixels; None for the true distance
    between the eyes, which nears 0 in profiles. nan where the size is 0.
    """
    points, true = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    eyes = np.linalg.norm(true[:, 0] - true[:, 1], axis=1)
    sizes = eyes if size is None else np.asarray(size, np.float64)
    distance = np.linalg.norm(points - true, axis=2).mean(axis=1)
    error: Floats = np.divide(distance, sizes, out=np.full(len(eyes), np.nan), where=sizes > 0)
    return error


def _curve(scores: Floats, hits: Bools, n: int) -> PrecisionRecall:
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(hits[order])
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # of the detections of each score
    precision, recall = found[last] / (last + 1), found[last] / max(n, 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    average = float((np.diff(recall, prepend=0.0) * falling).sum()) if n else float("nan")
    return PrecisionRecall(average, recall, precision, scores[last], n)


def _boxes(boxes: ArrayLike) -> Floats:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _by_score(boxes: ArrayLike, scores: ArrayLike) -> NDArray[np.intp]:
    sides = _boxes(boxes)
    return np.lexsort((*sides.T[::-1], -np.asarray(scores, np.float64).ravel()))
