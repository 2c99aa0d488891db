"""The pictures of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from ferlite.training.metrics import BINS, Scores

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_CURVES, _EMBEDDING = "training_curves.png", "embedding.png"  # not of every evaluation
_COLORS = [f"C{i}" for i in range(10)]  # matplotlib's own cycle


def draw_all(
    folder: Path, scores: Scores, features: NDArray[Any] | None, history: list[dict[str, float]]
) -> list[Path]:
    """Write what there is data for, and remove what there is none for; returns the files."""
    for optional in (_CURVES, _EMBEDDING):
        (folder / optional).unlink(missing_ok=True)  # of another network
    files = [confusion(folder, scores), precision_recall(folder, scores)]
    files.append(reliability(folder, scores))
    if history:
        files.append(training_curves(folder, history))
    # The plane is found on every other picture; it parts two classes or more.
    if features is not None and len(scores) >= 100 and len(np.unique(scores.truth[::2])) > 1:
        files.append(embedding(folder, scores, features))
    return files


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def training_curves(folder: Path, history: list[dict[str, float]]) -> Path:
    """Loss and accuracy by epoch, training (augmented) and validation."""
    epochs = [row["epoch"] for row in history]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
        for name, label in ((what, "training, augmented"), (f"valid_{what}", "validation")):
            if name in history[0]:
                axis.plot(epochs, [row[name] for row in history], label=label)
        axis.set(xlabel="epoch", ylabel=what)
        axis.grid(alpha=0.3)
        axis.legend()
    best = max(history, key=lambda row: row["valid_accuracy"])
    axes[1].axvline(best["epoch"], color="gray", linestyle=":")
    axes[1].set_title(f"best {best['valid_accuracy']:.4f} at epoch {best['epoch']:.0f}")
    return _save(figure, folder / _CURVES)


def confusion(folder: Path, scores: Scores) -> Path:
    """True class by row, answer by column: counts, and shares of the row."""
    counts = scores.confusion
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(1, 2, figsize=(14, 6.2), layout="constrained")
    for axis, values, title, form in (
        (axes[0], counts, f"counts, n = {len(scores)}", "{:.0f}"),
        (axes[1], rates, "share of the true class", "{:.2f}"),
    ):
        axis.imshow(rates, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(scores.labels)), scores.labels, rotation=40, ha="right")
        axis.set_yticks(range(len(scores.labels)), scores.labels)
        axis.set(xlabel="answer", ylabel="true class", title=title)
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                color = "white" if rates[i, j] > 0.5 else "black"
                axis.text(j, i, form.format(value), ha="center", va="center", color=color)
    return _save(figure, folder / "confusion.png")


def precision_recall(folder: Path, scores: Scores) -> Path:
    """One curve a class, with its average precision."""
    lines = []
    for i, label in enumerate(scores.labels):
        if scores.per_class[label]["n"]:
            recall, precision, average = scores.precision_recall(i)
            name = f"{label} (AP {average:.3f}, n {scores.per_class[label]['n']})"
            lines.append((name, recall, precision))
    return curves(folder / "precision_recall.png", lines)


def curves(
    path: Path,
    lines: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    *,
    title: str = "",
    legend: Literal["outside right upper", "outside lower center"] = "outside right upper",
) -> Path:
    """Precision by recall; lines: (name, recall [k], precision [k])."""
    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    for i, (name, recall, precision) in enumerate(lines):
        axis.plot(recall, precision, color=_COLORS[i % 10], label=name)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axis.grid(alpha=0.3)
    figure.legend(loc=legend)
    return _save(figure, path)


def reliability(folder: Path, scores: Scores) -> Path:
    """Accuracy by confidence; on the diagonal a confidence means what it says."""
    confidence, accuracy, count = scores.reliability
    used = count > 0
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(6, 7), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    middles = (np.arange(BINS) + 0.5) / BINS
    upper.bar(middles[used], accuracy[used], width=0.9 / BINS, color="tab:blue", alpha=0.7)
    upper.plot(confidence[used], accuracy[used], "ko", markersize=4, label="mean of the bin")
    upper.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"expected calibration error {scores.calibration_error:.4f}")
    upper.legend()
    lower.bar(middles, count, width=0.9 / BINS, color="tab:gray")
    lower.set(xlabel="confidence", ylabel="answers")
    return _save(figure, folder / "reliability.png")


def discriminant_axes(
    features: NDArray[Any], truth: NDArray[np.int64], shrinkage: float = 0.1
) -> NDArray[np.float64]:
    """float64 [features, 2]: Fisher's linear discriminants, the plane that best parts the classes.

    The covariance within classes is drawn towards a multiple of the identity by `shrinkage`, so
    that few pictures suffice.
    """
    values = features.astype(np.float64)
    classes = [values[truth == c] for c in np.unique(truth)]
    within = sum((c - c.mean(axis=0)).T @ (c - c.mean(axis=0)) for c in classes) / len(values)
    size = within.shape[0]
    within = (1 - shrinkage) * within + shrinkage * np.eye(size) * np.trace(within) / size
    spread, basis = np.linalg.eigh(within)
    whiten = basis / np.sqrt(np.maximum(spread, 1e-12))
    means = np.stack([c.mean(axis=0) for c in classes]) - values.mean(axis=0)
    weights = np.sqrt([len(c) / len(values) for c in classes])[:, None]
    _, _, directions = np.linalg.svd(weights * (means @ whiten), full_matrices=False)
    return np.asarray(whiten @ directions[:2].T, np.float64)


def embedding(folder: Path, scores: Scores, features: NDArray[Any]) -> Path:
    """Where the classes lie in the plane that parts them best; areas hold 50 % of a class.

    The plane is found on every other picture and drawn with the rest, so that the parting seen is
    not one that was fitted to the same pictures.
    """
    axes = discriminant_axes(features[::2], scores.truth[::2])
    points, truth = features[1::2].astype(np.float64) @ axes, scores.truth[1::2]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    margin = 0.15 * (high - low)
    edges = [np.linspace(a, b, 161) for a, b in zip(low - margin, high + margin, strict=True)]
    middles = [(e[1:] + e[:-1]) / 2 for e in edges]
    figure, axis = plt.subplots(figsize=(8, 7), layout="constrained")
    for i, label in enumerate(scores.labels):
        own = points[truth == i]
        if len(own) < 3:
            continue
        color = _COLORS[i % 10]
        counts, _, _ = np.histogram2d(own[:, 0], own[:, 1], bins=edges)
        sigma = 160 * len(own) ** (-1 / 6) * 0.08  # Scott's exponent in two dimensions
        density = cv2.GaussianBlur(counts, (0, 0), sigma)
        ordered = np.sort(density.ravel())[::-1]
        half = ordered[np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum())]
        if density.max() > half > 0:
            axis.contourf(
                *middles, density.T, levels=[half, density.max()], colors=[color], alpha=0.35
            )
            axis.contour(*middles, density.T, levels=[half], colors=[color], linewidths=1.5)
        axis.scatter(own[:, 0], own[:, 1], s=3, color=color, alpha=0.5)
        axis.plot([], [], color=color, linewidth=6, alpha=0.6, label=f"{label} (n {len(own)})")
    axis.set(
        xlim=(edges[0][0], edges[0][-1]),
        ylim=(edges[1][0], edges[1][-1]),
        xlabel="first discriminant",
        ylabel="second discriminant",
        title="embedding, held-out half; areas hold half of a class",
    )
    axis.legend(loc="best")
    return _save(figure, folder / _EMBEDDING)
