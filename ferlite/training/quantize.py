"""The INT8 network of an emotion model, with as little accuracy lost as it takes."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlite import session
from ferlite.errors import ModelError
from ferlite.training.bundle import FP32, INT8, readable, revised
from ferlite.training.classifier import Classifier, aligned, open_classifier
from ferlite.training.data import EmotionData
from ferlite.training.export import measure
from ferlite.training.int8 import QuantizeOptions, Search, write_int8


@dataclass(frozen=True)
class Figures:
    """One network before or after: size in bytes, accuracy in 0..1, milliseconds a face."""

    name: str
    size: int
    accuracy: float
    macro_f1: float
    batch1_ms: float
    batch16_ms: float


def quantize(
    folder: Path, train: EmotionData, valid: EmotionData, options: QuantizeOptions
) -> tuple[Figures, Figures]:
    """Add model.int8.onnx to a bundle folder; returns figures of fp32 and INT8.

    Raises ModelError, and writes nothing, when the accuracy over the judged `valid` pictures falls
    by more than `options.max_drop` points.
    """
    readable(folder)
    fp32 = open_classifier(folder / FP32, threads=1)
    train, valid = aligned(train, fp32), aligned(valid, fp32)
    before = measure(fp32, valid, fp32.temperature)
    least = before.accuracy - options.max_drop / 100

    rng = np.random.default_rng(options.seed)
    count = min(options.images, len(train))
    chosen = train.images[np.sort(rng.choice(len(train), count, replace=False))]
    batches = [fp32.input(chosen[i : i + 32]) for i in range(0, len(chosen), 32)]

    judged = valid.only_judged()
    inputs, truth = fp32.input(judged.images), judged.classes

    def accuracy(model: Any) -> float:
        """Of an onnx.ModelProto, as the tuner hands it over."""
        opened = session.create(model.SerializeToString(), provider="cpu", name="INT8 candidate")
        scores = [opened.run(inputs[i : i + 128])[0] for i in range(0, len(inputs), 128)]
        return float((np.concatenate(scores).argmax(axis=1) == truth).mean())

    with tempfile.TemporaryDirectory(prefix="ferlite-quantize-") as scratch:
        target = Path(scratch) / INT8
        drop = options.max_drop / 100
        write_int8(Search(folder / FP32, batches, accuracy, before.accuracy, drop), target, options)
        int8 = open_classifier(target, threads=1)
        after = measure(int8, valid, fp32.temperature)
        if after.accuracy < least:
            raise ModelError(
                f"INT8 loses {100 * (before.accuracy - after.accuracy):.2f} points of accuracy "
                f"({before.accuracy:.4f} to {after.accuracy:.4f}), more than --max-drop "
                f"{options.max_drop}; nothing was written"
            )
        figures = (
            _figures("fp32", fp32, before.accuracy, before.macro("f1"), judged),
            _figures("INT8", int8, after.accuracy, after.macro("f1"), judged),
        )
        with revised(folder) as (work, facts):
            shutil.copyfile(target, work / INT8)
            facts["metrics"]["int8"] = after.facts() | options.facts(count)
    return figures


def _figures(
    name: str, classifier: Classifier, accuracy: float, macro_f1: float, data: EmotionData
) -> Figures:
    return Figures(
        name,
        classifier.path.stat().st_size,
        accuracy,
        macro_f1,
        classifier.milliseconds(data.images[0], 1),
        classifier.milliseconds(data.images[0], 16),
    )
