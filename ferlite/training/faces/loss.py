"""Which cell answers for which face, and what a wrong answer costs. Keras operations only.

- Assignment: SimOTA (Ge et al., "YOLOX", 2021): a face takes the cells near its centre that answer
  best already, as many as their overlaps add up to.
- Score: quality focal loss (Li et al., "Generalized Focal Loss", NeurIPS 2020). The target is the
  overlap of the predicted box with the true one, times the confidence in the truth.
- Box: DIoU loss (Zheng et al., AAAI 2020).
- Landmarks: L1, over the square root of the box's area.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from ferlite.training.faces.network import LANDMARKS, STRIDES
from ferlite.training.faces.targets import CONFIDENCE, KNOWN, PLACE, POINTS, SIZE

_CENTER_RADIUS = 2.5  # strides; SimOTA's
_MOST_CELLS = 10  # a face; SimOTA's
_IOU_COST = 3.0  # SimOTA's
_NEVER = 1e6
_BOX_WEIGHT, _LANDMARK_WEIGHT = 2.0, 2.0
_LARGEST_LOG = 6.0


def cells(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [cells, 2] in pixels and strides [cells] of a size x size picture."""
    centers, strides = [], []
    for stride in STRIDES:
        steps = (np.arange(size // stride) + 0.5) * stride
        x, y = np.meshgrid(steps, steps)
        centers.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full(x.size, stride))
    return np.concatenate(centers).astype("float32"), np.concatenate(strides).astype("float32")


def _overlap(a: Any, b: Any) -> tuple[Any, Any]:
    """IoU and DIoU of corner boxes [..., 4] that broadcast."""
    low, high = ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    area_a = ops.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = ops.prod(b[..., 2:] - b[..., :2], axis=-1)
    iou = shared / (area_a + area_b - shared + 1e-6)
    hull = ops.maximum(a[..., 2:], b[..., 2:]) - ops.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = ops.sum(ops.square(apart), axis=-1) / (ops.sum(ops.square(hull), axis=-1) + 1e-6)
    return iou, iou - distance


class FaceLoss(keras.losses.Loss):  # type: ignore[misc, unused-ignore]
    """y_true float32 [n, faces, TARGETS], y_pred float32 [n, cells, 15] of size x size pictures.

    The confidence of a face: above 0 as it is, 0 for an empty row, below 0 for a region where
    nothing is asked (a face too small or cut too much to be judged).
    """

    def __init__(self, size: int) -> None:
        super().__init__(name="faces", reduction=None)
        self._centers, self._strides = cells(size)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred, truth = ops.cast(y_pred, "float32"), ops.cast(y_true, "float32")
        stride = self._strides[:, None]
        logits = y_pred[..., 0]
        reach = ops.exp(ops.clip(y_pred[..., 1:5], -_LARGEST_LOG, _LARGEST_LOG)) * stride
        boxes = ops.concatenate(
            [self._centers - reach[..., :2], self._centers + reach[..., 2:]], axis=-1
        )
        points = y_pred[..., 5:] * stride + np.tile(self._centers, LANDMARKS)

        corners = ops.concatenate(
            [truth[..., PLACE], truth[..., PLACE] + truth[..., SIZE]], axis=-1
        )
        owner, owned, unasked = self._assign(logits, boxes, corners, truth)
        mine = ops.take_along_axis(truth, owner[..., None], axis=1)
        corner = ops.take_along_axis(corners, owner[..., None], axis=1)
        iou, diou = _overlap(boxes, corner)
        weight = owned * mine[..., CONFIDENCE]
        total = ops.maximum(ops.sum(weight), 1.0)

        quality = ops.stop_gradient(iou) * weight
        focus = ops.square(ops.sigmoid(logits) - quality)
        cross = ops.softplus(logits) - quality * logits
        asked = 1.0 - unasked * (1.0 - owned)
        score_loss = ops.sum(focus * cross * asked)

        box_loss = ops.sum((1.0 - diou) * weight)
        side = ops.sqrt(ops.prod(ops.maximum(mine[..., SIZE], 1.0), axis=-1))
        off = ops.mean(ops.abs(points - mine[..., POINTS]), axis=-1) / side
        landmark_loss = ops.sum(off * weight * mine[..., KNOWN])
        return (score_loss + _BOX_WEIGHT * box_loss + _LANDMARK_WEIGHT * landmark_loss) / total

    def _assign(self, logits: Any, boxes: Any, corners: Any, truth: Any) -> tuple[Any, Any, Any]:
        """For each cell [n, cells]: index of its face, 1 if it has one, 1 if nothing is asked."""
        logits, boxes = ops.stop_gradient(logits)[:, None], ops.stop_gradient(boxes)[:, None]
        confidence = truth[..., CONFIDENCE][..., None]
        middle = ((corners[..., :2] + corners[..., 2:]) / 2)[:, :, None]
        half = truth[..., None, SIZE] / 2
        away = ops.abs(middle - self._centers)
        stride = self._strides[:, None]
        # A face smaller than a cell still has one that contains its centre.
        within = away <= ops.maximum(half, stride / 2)
        near = within & (away <= _CENTER_RADIUS * stride)
        inside = ops.cast(ops.all(near, axis=-1), "float32") * ops.cast(confidence > 0, "float32")
        unasked = ops.cast(ops.all(within, axis=-1) & (confidence < 0), "float32")

        iou, _ = _overlap(boxes, corners[:, :, None])
        iou = iou * inside
        cost = ops.softplus(-logits) - _IOU_COST * ops.log(iou + 1e-6) + (1.0 - inside) * _NEVER
        most = ops.sum(ops.top_k(iou, _MOST_CELLS)[0], axis=-1)
        most = ops.clip(ops.cast(most, "int32"), 1, _MOST_CELLS)
        cheapest = ops.top_k(-cost, _MOST_CELLS)[0]
        limit = -ops.take_along_axis(cheapest, most[..., None] - 1, axis=-1)
        taken = (cost <= limit) & (inside > 0)
        cost = ops.where(taken, cost, _NEVER)
        owned = ops.cast(ops.any(taken, axis=1), "float32")
        return ops.argmin(cost, axis=1), owned, ops.max(unasked, axis=1)
