"""Faces a second (batch 16) and latency (batch 1) of emotion networks on one thread.

All networks run in turns within one process, so that they see the same machine, each some runs in
a row, as on video; the best run counts, as noise only adds. Each network first answers the
labelled pictures: a fast wrong network is no result.

    python benchmarks/emotion_network.py --data FER --reference sepcnn.onnx \
        models/emotion/model.onnx models/emotion/model.int8.onnx --other mini_xception_fer2013.onnx

--other is timed on the same faces and not scored: its classes are others. It takes pixels from -1
to 1.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.training.classifier import Classifier, aligned, open_classifier
from ferlite.training.data import EmotionData, load
from ferlite.training.metrics import Scores

IN_A_ROW = 20


def score(classifier: Classifier, data: EmotionData) -> Scores:
    data = aligned(data, classifier).only_judged()
    return Scores(data.labels, data.classes, classifier.probabilities(data.images))


def fitted(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """uint8 [n, side, side]"""
    return np.stack([np.asarray(cv2.resize(image, (side, side)), np.uint8) for image in images])


def timed(classifiers: list[Classifier], data: EmotionData, batch: int, rounds: int) -> list[float]:
    """Best seconds of one run of `batch` real faces, for each network."""
    inputs = [c.input(fitted(data.images[:batch], c.size)) for c in classifiers]
    best = [float("inf")] * len(classifiers)
    for _ in range(rounds):
        for i, classifier in enumerate(classifiers):
            for _ in range(IN_A_ROW):
                start = time.perf_counter()
                classifier.run(inputs[i])
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="takes pixel / 255")
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    parser.add_argument("--least", type=float, default=0.8, help="accuracy that must be reached")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    data = load(options.data, "valid")
    classifiers = [open_classifier(p, threads=1) for p in (options.reference, *options.models)]
    scores = [score(c, data) for c in classifiers]
    for classifier, one in zip(classifiers, scores, strict=True):
        assert one.accuracy >= options.least, f"{classifier.path}: accuracy {one.accuracy:.4f}"
    classifiers += [open_classifier(p, threads=1, scale=2 / 255, offset=-1) for p in options.other]
    one_by_one = np.array(timed(classifiers, data, 1, options.rounds))
    sixteen = np.array(timed(classifiers, data, 16, max(5, options.rounds // 5)))
    print(f"{data.protocol}, valid, n = {len(scores[0])}; 1 thread; {options.rounds} rounds")
    print(
        f"{'network':28} {'accuracy':>8} {'macro-F1':>8} {'MB':>6} {'batch 1 ms':>10} {'x':>5} "
        f"{'batch 16 faces/s':>16} {'x':>5}"
    )
    for i, classifier in enumerate(classifiers):
        known = scores[i] if i < len(scores) else None
        print(
            f"{classifier.path.name:28} "
            f"{known.accuracy if known else math.nan:8.4f} "
            f"{known.macro('f1') if known else math.nan:8.4f} "
            f"{classifier.path.stat().st_size / 1e6:6.2f} {one_by_one[i] * 1000:10.2f} "
            f"{one_by_one[i] / one_by_one[0]:5.2f} {16 / sixteen[i]:16.0f} "
            f"{sixteen[0] / sixteen[i]:5.2f}"
        )


if __name__ == "__main__":
    main()
