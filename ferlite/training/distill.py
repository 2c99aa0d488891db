"""Targets that teacher networks have a say in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError, UsageError
from ferlite.training.classifier import Classifier
from ferlite.training.data import EmotionData


def soften(data: EmotionData, teachers: Sequence[Classifier], weight: float) -> EmotionData:
    """`weight` of each target becomes the teachers' mean prediction of picture and mirror image.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015. `judged` and the classes
    of an evaluation are those of the data, so soften the training split only.
    """
    if not 0 < weight <= 1:
        raise UsageError(f"teacher weight {weight} must be in (0, 1]")
    if not teachers:
        raise UsageError("no teacher to learn from; name one")
    says = np.mean([_says(teacher, data) for teacher in teachers], axis=0)
    mixed = (1 - weight) * data.targets + weight * says
    return replace(data, targets=mixed.astype(np.float32))


def _says(teacher: Classifier, data: EmotionData) -> NDArray[np.float64]:
    """Probabilities float64 [n, labels], in the order of the data's labels."""
    if teacher.size != data.images.shape[1]:
        raise DataError(
            f"{teacher.path.name} takes {teacher.size}x{teacher.size} pictures, the network in "
            f"training {data.images.shape[1]}x{data.images.shape[1]}"
        )
    labels = teacher.labels or data.labels
    if sorted(labels) != sorted(data.labels):
        raise DataError(f"{teacher.path.name} has classes {labels}, the data {data.labels}")
    mirrored = np.ascontiguousarray(data.images[:, :, ::-1])
    says = (teacher.probabilities(data.images) + teacher.probabilities(mirrored)) / 2
    if says.shape[1] != len(data.labels):
        raise DataError(f"{teacher.path.name} has {says.shape[1]} classes, not {len(data.labels)}")
    return np.asarray(says[:, [labels.index(label) for label in data.labels]])


def fingerprint(path: Path) -> str:
    """File name and the start of its SHA-256: what train.json keeps of a teacher."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
