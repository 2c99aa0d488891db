"""Score a network on one split and write metrics.csv, evaluation_report.txt and plots."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferlite.training.classifier import Classifier, aligned, softmax
from ferlite.training.data import EmotionData
from ferlite.training.metrics import Scores


@dataclass(frozen=True)
class Evaluation:
    """What was found. batch1_ms, batch16_ms: milliseconds a face; training_s: 0 when unknown."""

    model: str
    split: str
    protocol: str
    scores: Scores
    temperature: float
    parameters: int | None
    size: int
    batch1_ms: float
    batch16_ms: float
    training_s: float
    epochs: int


def evaluate(
    classifier: Classifier,
    data: EmotionData,
    folder: Path | None = None,
    history: list[dict[str, float]] | None = None,
) -> Evaluation:
    """Score the judged pictures of `data`; with `folder`, write the reports and plots there.

    history: rows of history.csv, for training time and curves.
    """
    data = aligned(data, classifier).only_judged()
    logits = classifier.logits(data.images)
    scores = Scores(data.labels, data.classes, softmax(logits, classifier.temperature))
    history = history or []
    result = Evaluation(
        model=classifier.path.name,
        split=data.split,
        protocol=data.protocol,
        scores=scores,
        temperature=classifier.temperature,
        parameters=classifier.parameters,
        size=classifier.path.stat().st_size,
        batch1_ms=classifier.milliseconds(data.images[0], 1),
        batch16_ms=classifier.milliseconds(data.images[0], 16),
        training_s=sum(row["seconds"] for row in history),
        epochs=len(history),
    )
    if folder is not None:
        from ferlite.training import plots

        folder.mkdir(parents=True, exist_ok=True)
        _write_table(folder / "metrics.csv", result)
        (folder / "evaluation_report.txt").write_text(report(result))
        plots.draw_all(folder, scores, classifier.embedding(data.images), history)
    return result


def _single(result: Evaluation) -> list[tuple[str, float]]:
    scores = result.scores
    p = np.maximum(scores.probabilities[np.arange(len(scores)), scores.truth], 1e-12)
    rows: list[tuple[str, float]] = [
        ("n", len(scores)),
        ("accuracy", scores.accuracy),
        ("macro_precision", scores.macro("precision")),
        ("macro_recall", scores.macro("recall")),
        ("macro_f1", scores.macro("f1")),
        ("calibration_error", scores.calibration_error),
        ("negative_log_likelihood", float(-np.log(p).mean())),
        ("temperature", result.temperature),
        ("file_bytes", result.size),
        ("batch1_ms_a_face", result.batch1_ms),
        ("batch16_ms_a_face", result.batch16_ms),
    ]
    if result.parameters is not None:
        rows.append(("parameters", result.parameters))
    if result.epochs:
        rows += [("epochs", result.epochs), ("training_s", result.training_s)]
    return rows


def _write_table(path: Path, result: Evaluation) -> None:
    """One row a figure: metric, class (empty for all), value."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["metric", "class", "value"])
        for name, value in _single(result):
            writer.writerow([name, "", f"{value:.6g}" if isinstance(value, float) else value])
        for label, row in result.scores.per_class.items():
            for name, value in row.items():
                writer.writerow([name, label, f"{value:.6g}"])


def report(result: Evaluation) -> str:
    """The whole evaluation as text."""
    scores, width = result.scores, max(len(label) for label in result.scores.labels)
    lines = [
        f"{result.model}: {result.split} split, protocol {result.protocol}, n = {len(scores)}",
        "",
        f"accuracy           {scores.accuracy:.4f}",
        f"macro precision    {scores.macro('precision'):.4f}",
        f"macro recall       {scores.macro('recall'):.4f}",
        f"macro F1           {scores.macro('f1'):.4f}",
        f"calibration error  {scores.calibration_error:.4f} (temperature {result.temperature:g})",
        f"file               {result.size / 1e6:.2f} MB",
    ]
    if result.parameters is not None:
        lines.append(f"parameters         {result.parameters:,}")
    lines.append(
        f"inference          {result.batch1_ms:.2f} ms a face alone, {result.batch16_ms:.2f} ms in "
        "batches of 16"
    )
    if result.epochs:
        lines.append(f"training           {result.training_s / 60:.1f} min, {result.epochs} epochs")
    lines += ["", f"{'class':{width}} {'n':>6} {'precision':>9} {'recall':>9} {'F1':>9}"]
    for label, row in scores.per_class.items():
        lines.append(
            f"{label:{width}} {row['n']:6.0f} {row['precision']:9.4f} {row['recall']:9.4f} "
            f"{row['f1']:9.4f}"
        )
    short = [label[:7] for label in scores.labels]
    lines += ["", "confusion: true class by row, answer by column"]
    lines.append(" " * width + "".join(f"{name:>8}" for name in short))
    for label, counts in zip(scores.labels, scores.confusion, strict=True):
        lines.append(f"{label:{width}}" + "".join(f"{count:8d}" for count in counts))
    return "\n".join(lines) + "\n"
