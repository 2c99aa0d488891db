"""Targets that teacher networks have a say in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError, UsageError
from ferlite.training.classifier import Classifier
from ferlite.training.data import EmotionData


def soften(data: EmotionData, teaching: Teaching) -> EmotionData:
    """Its share of each target becomes the teachers' mean prediction of picture and mirror image.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015. `judged` and the classes
    of an evaluation are those of the data, so soften the training split only.
    """
    mirrored = np.ascontiguousarray(data.images[:, :, ::-1])
    says = (teaching.says(data.images) + teaching.says(mirrored)) / 2
    return replace(data, targets=teaching.mixed(data.targets, says))


class Teaching:
    """Teachers whose mean prediction makes up `weight` of each target.

    teachers: networks that take `size` x `size` pictures and have the classes `labels`, in any
    order; DataError when one does not.
    """

    def __init__(
        self, teachers: Sequence[Classifier], weight: float, labels: Sequence[str], size: int
    ) -> None:
        if not 0 < weight <= 1:
            raise UsageError(f"teacher weight {weight} must be in (0, 1]")
        if not teachers:
            raise UsageError("no teacher to learn from; name one")
        self._teachers, self._weight = teachers, weight
        self._orders = [_order(teacher, labels, size) for teacher in teachers]

    def says(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Mean probabilities float64 [n, labels] of pictures [n, size, size] in 0..255."""
        each = zip(self._teachers, self._orders, strict=True)
        return np.asarray(np.mean([t.probabilities(images)[:, order] for t, order in each], axis=0))

    def mixed(self, targets: NDArray[np.float32], says: NDArray[np.float64]) -> NDArray[np.float32]:
        return ((1 - self._weight) * targets + self._weight * says).astype(np.float32)


def _order(teacher: Classifier, labels: Sequence[str], size: int) -> list[int]:
    """Where the teacher's scores have each of `labels`."""
    if teacher.size != size:
        raise DataError(
            f"{teacher.path.name} takes {teacher.size}x{teacher.size} pictures, the network in "
            f"training {size}x{size}"
        )
    has = teacher.labels or tuple(labels)
    if sorted(has) != sorted(labels):
        raise DataError(f"{teacher.path.name} has classes {has}, the data {tuple(labels)}")
    if teacher.outputs != len(labels):
        raise DataError(f"{teacher.path.name} has {teacher.outputs} classes, not {len(labels)}")
    return [has.index(label) for label in labels]
