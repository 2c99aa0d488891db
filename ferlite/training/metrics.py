"""What a classifier's answers are worth: accuracy, F1, confusion, calibration. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.training.classifier import softmax

Floats = NDArray[np.float64]
BINS = 15  # as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017


@dataclass(frozen=True)
class Scores:
    """Probabilities float64 [n, classes] beside the true classes int64 [n]."""

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """int64 [true class, answered class], counts."""
        size = len(self.labels)
        pairs = self.truth * size + self.answers
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    @property
    def accuracy(self) -> float:
        return float((self.answers == self.truth).mean())

    @cached_property
    def per_class(self) -> dict[str, dict[str, float]]:
        """label -> n, precision, recall, f1; 0 where a ratio has nothing below the line."""
        right = np.diag(self.confusion).astype(float)
        n, answered = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        precision, recall = right / np.maximum(answered, 1), right / np.maximum(n, 1)
        f1 = 2 * right / np.maximum(n + answered, 1)
        return {
            label: {
                "n": int(n[i]),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
            }
            for i, label in enumerate(self.labels)
        }

    def macro(self, what: str) -> float:
        """Mean of "precision", "recall" or "f1" over the classes that occur."""
        return float(np.mean([row[what] for row in self.per_class.values() if row["n"]]))

    @cached_property
    def reliability(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """(mean confidence, accuracy, count) of each of BINS equal bins of confidence."""
        confidence = self.probabilities.max(axis=1)
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        right = (self.answers == self.truth).astype(float)
        below = np.maximum(count, 1)
        return (
            np.bincount(bins, confidence, BINS) / below,
            np.bincount(bins, right, BINS) / below,
            count,
        )

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over BINS equal bins of confidence."""
        confidence, accuracy, count = self.reliability
        return float((np.abs(confidence - accuracy) * count).sum() / max(1, len(self)))

    def precision_recall(self, index: int) -> tuple[Floats, Floats, float]:
        """(recall, precision, average precision) of one class against the rest."""
        order = np.argsort(-self.probabilities[:, index], kind="stable")
        hits = (self.truth[order] == index).astype(float)
        found = np.cumsum(hits)
        precision = found / np.arange(1, len(hits) + 1)
        total = max(1.0, found[-1])
        return found / total, precision, float((precision * hits).sum() / total)

    def facts(self) -> dict[str, Any]:
        """The figures that a bundle keeps, rounded to four digits."""

        def short(value: float) -> float:
            return round(value, 4)

        return {
            "accuracy": short(self.accuracy),
            "macro_f1": short(self.macro("f1")),
            "calibration_error": short(self.calibration_error),
            "per_class": {
                label: {k: v if k == "n" else short(v) for k, v in row.items()}
                for label, row in self.per_class.items()
            },
        }


TEMPERATURES = (0.1, 10.0)


def fit_temperature(logits: NDArray[Any], truth: NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood of the true classes.

    One number cannot overfit thousands of pictures, so the split that is reported serves too
    (Guo et al. 2017 do the same with their validation split). Golden-section search over
    log(temperature) within `TEMPERATURES`, where the loss has one minimum.
    """

    def loss(log_t: float) -> float:
        p = softmax(logits, float(np.exp(log_t)))[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(p, 1e-300)).mean())

    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(TEMPERATURES)
    while high - low > 1e-4:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def uncertain_below(scores: Scores, least: int = 20) -> float:
    """The confidence under which an answer is wrong at least as often as right.

    The largest step of 0.01 such that of the answers under it at most half are right; where
    fewer than `least` answers lie under a step it decides nothing. 0 when no step does.
    """
    confidence = scores.probabilities.max(axis=1)
    right = scores.answers == scores.truth
    for step in range(99, 0, -1):
        under = confidence < step / 100
        if under.sum() >= least and right[under].mean() <= 0.5:
            return step / 100
    return 0.0


def certainty(scores: Scores, below: float) -> dict[str, float]:
    """What marking answers under the confidence `below` as uncertain does, rounded.

    share: of answers marked; accuracy: of those; accuracy_else: of the others. An accuracy over
    no answers is 0.
    """
    unsure = scores.probabilities.max(axis=1) < below
    right = scores.answers == scores.truth

    def mean(values: NDArray[np.bool_]) -> float:
        return round(float(values.mean()), 4) if values.size else 0.0

    return {
        "below": below,
        "share": mean(unsure),
        "accuracy": mean(right[unsure]),
        "accuracy_else": mean(right[~unsure]),
    }
