"""Make a detector's scores probabilities, and choose the least one that it reports.

Quality focal loss trains a score towards the overlap of the predicted box, so a sure face may have
0.5. Platt scaling (Platt, "Probabilistic outputs for support vector machines", 1999), a slope and
a bias for each stride, maps the logit of a detection to that of the probability that it is right:
that it takes a teacher's face of score >= 0.5 at an overlap of 0.5, after suppression. A detection
where an unsure teacher or people alone saw a face is left out: nobody knows whether it is right,
and of large faces, nearly all of which are found, most of what seems wrong would be such cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferlite import crops, session
from ferlite.training.faces import metrics
from ferlite.training.faces.convert import STEP, Scaling
from ferlite.training.faces.data import SAME_FACE_SHARE, shared
from ferlite.training.faces.photographs import Photograph

FLOOR = 0.02  # raw score from which a detection counts
ZOOMS = (1.0, 0.5)  # at which each photograph is seen
# The default threshold is the least score, in steps of 0.01, from which on a detector answers
# at most once in so many pictures without a face, and of its answers this share is right.
PICTURES_PER_FALSE, PRECISION = 100, 0.9
BINS = 15  # of the calibration error (Guo et al., "On calibration ...", ICML 2017)
_FEW = 20  # right or wrong detections of a stride; with fewer it shares the scaling of all
_LEAST_SLOPE = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """The detections in some pictures that can be judged, from `FLOOR`; arrays of one length.

    logits: raw. strides: pixels a cell of the map that each came from. right: whether it takes a
    true face. face_free: whether its picture has no face. pictures, free_pictures: how many
    pictures there were, and how many of them without a face.
    """

    logits: Floats
    strides: NDArray[np.int64]
    right: NDArray[np.bool_]
    face_free: NDArray[np.bool_]
    pictures: int
    free_pictures: int

    def scores(self, scaling: Mapping[str, Scaling] | None = None) -> Floats:
        """float64 [n]: the raw scores, or those that the scaling of each output makes of them."""
        logits = self.logits.copy()
        for name, one in (scaling or {}).items():
            mine = self.strides == int(name.removeprefix("stride"))
            logits[mine] = logits[mine] * one.slope + one.bias
        return 1 / (1 + np.exp(-logits))


def letterboxed(
    image: NDArray[np.uint8], zoom: float = 1.0
) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """The picture as the network takes it, [1, h, w, 3], and its zoom and place on that canvas.

    zoom: of the canvas, 1 at most; its sides are rounded up to whole steps.
    """
    height, width = (-(-round(side * zoom) // STEP) * STEP for side in image.shape[:2])
    size = (max(width, STEP), max(height, STEP))
    canvas, scale, offset = crops.letterbox(image, size, padding=0, enlarge=False)
    return canvas[np.newaxis], scale, offset


def observe(
    network: session.Session,
    photographs: Iterable[Photograph],
    *,
    nms_iou: float,
    zooms: Sequence[float] = ZOOMS,
) -> Seen:
    """What a network not yet scaled finds on photographs at native size times `zooms`."""
    rows = []
    pictures = free = 0
    for photograph in photographs:
        image = photograph.image()
        for zoom in zooms:
            pictures, free = pictures + 1, free + photograph.face_free
            boxes, scores, strides = _found(network, image, zoom, nms_iou)
            right = metrics.match(boxes, scores, photograph.boxes) >= 0
            sure = shared(photograph.human, photograph.boxes).max(axis=1, initial=0)
            unsure = np.concatenate([photograph.doubtful, photograph.human[sure < SAME_FACE_SHARE]])
            known = right | (shared(boxes, unsure).max(axis=1, initial=0) < SAME_FACE_SHARE)
            found = _logit(scores), strides, right, np.full(len(right), photograph.face_free)
            rows.append([column[known] for column in found])
    logits, strides, right, face_free = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    return Seen(logits, strides, right, face_free, pictures, free)


def _found(
    network: session.Session, image: NDArray[np.uint8], zoom: float, nms_iou: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes [n, 4], scores [n] and strides [n] after suppression."""
    batch, scale, offset = letterboxed(image, zoom)
    found = list(_levels(network, batch, scale, offset))
    boxes, scores = (np.concatenate([level[i] for level in found]) for i in range(2))
    strides = np.repeat([level[2] for level in found], [len(level[0]) for level in found])
    kept = crops.nms(boxes, scores, nms_iou)
    return boxes[kept], scores[kept], strides[kept]


def _levels(
    network: session.Session, batch: NDArray[np.uint8], scale: float, offset: tuple[int, int]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], int]]:
    for name, level in zip(network.output_names, network.run(batch), strict=True):
        stride = int(name.removeprefix("stride"))
        boxes, scores, _ = crops.decode_boxes(
            [level[0]], [stride], threshold=FLOOR, scale=scale, offset=offset
        )
        yield boxes, scores, stride


def fit(seen: Seen, outputs: Sequence[str]) -> dict[str, Scaling]:
    """The scaling of each output, "stride8" and so on; a stride with few detections shares one."""
    shared = _platt(seen.logits, seen.right)
    scaling = {}
    for name in outputs:
        mine = seen.strides == int(name.removeprefix("stride"))
        right = int(seen.right[mine].sum())
        enough = min(right, int(mine.sum()) - right) >= _FEW
        scaling[name] = _platt(seen.logits[mine], seen.right[mine]) if enough else shared
    return scaling


def _platt(logits: Floats, right: NDArray[np.bool_]) -> Scaling:
    """Logistic regression with Platt's targets, by Newton's method; the slope stays positive."""
    positive = int(right.sum())
    negative = len(right) - positive
    # Not 0 and 1: as if one more detection of each kind had been seen.
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    features = np.column_stack([logits, np.ones(len(logits))])
    values = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(features @ values)))
        slope = features.T @ (p - target)
        curve = features.T @ (features * (p * (1 - p))[:, np.newaxis]) + 1e-6 * np.eye(2)
        # Half a logit at most: a whole step may overshoot far from the answer.
        step = np.clip(np.linalg.solve(curve, slope), -0.5, 0.5)
        values = values - step
        values[0] = max(values[0], _LEAST_SLOPE)
        if np.abs(step).max() < 1e-6:
            break
    return Scaling(float(values[0]), float(values[1]))


def threshold(seen: Seen, scaling: Mapping[str, Scaling]) -> float:
    """The default threshold by the rule above; 0.99 where no score keeps it."""
    scores = seen.scores(scaling)
    best = 0.99
    for step in range(99, 0, -1):
        kept = scores >= step / 100
        false = int((kept & seen.face_free).sum())
        right = float(seen.right[kept].mean()) if kept.any() else 1.0
        if false * PICTURES_PER_FALSE > seen.free_pictures:
            break
        # A single false face of a high score may stand before many right ones.
        if right >= PRECISION:
            best = step / 100
    return best


def calibration_error(scores: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean of |score - share that is right| over `BINS` equal bins."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    off = [abs(scores[bins == b].sum() - right[bins == b].sum()) for b in range(BINS)]
    return float(sum(off) / max(len(scores), 1))


def _logit(scores: NDArray[np.float32]) -> Floats:
    p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    logits: Floats = np.log(p / (1 - p))
    return logits
