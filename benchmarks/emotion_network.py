"""Faces a second (batch 16) and latency (batch 1) of emotion networks on one thread.

All networks run in turns within one process, so that they see the same machine, each some runs in
a row, as on video; the best run counts, as noise only adds. Each network first answers the
labelled pictures: a fast wrong network is no result.

    python benchmarks/emotion_network.py --data FER --reference sepcnn.onnx \
        models/emotion/model.onnx models/emotion/model.int8.onnx
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ferlite.training.classifier import Classifier, aligned, open_classifier
from ferlite.training.data import EmotionData, load
from ferlite.training.metrics import Scores

IN_A_ROW = 20


def score(classifier: Classifier, data: EmotionData) -> Scores:
    data = aligned(data, classifier).only_judged()
    return Scores(data.labels, data.classes, classifier.probabilities(data.images))


def timed(classifiers: list[Classifier], data: EmotionData, batch: int, rounds: int) -> list[float]:
    """Best seconds of one run of `batch` real faces, for each network."""
    inputs = [c.input(data.images[:batch]) for c in classifiers]
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
    parser.add_argument("--least", type=float, default=0.8, help="accuracy that must be reached")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    data = load(options.data, "valid")
    classifiers = [open_classifier(p, threads=1) for p in (options.reference, *options.models)]
    scores = [score(c, data) for c in classifiers]
    for classifier, one in zip(classifiers, scores, strict=True):
        assert one.accuracy >= options.least, f"{classifier.path}: accuracy {one.accuracy:.4f}"
    one_by_one = np.array(timed(classifiers, data, 1, options.rounds))
    sixteen = np.array(timed(classifiers, data, 16, max(5, options.rounds // 5)))
    print(f"{data.protocol}, valid, n = {len(scores[0])}; 1 thread; {options.rounds} rounds")
    print(
        f"{'network':28} {'accuracy':>8} {'macro-F1':>8} {'MB':>6} {'batch 1 ms':>10} {'x':>5} "
        f"{'batch 16 faces/s':>16} {'x':>5}"
    )
    for i, classifier in enumerate(classifiers):
        print(
            f"{classifier.path.name:28} {scores[i].accuracy:8.4f} {scores[i].macro('f1'):8.4f} "
            f"{classifier.path.stat().st_size / 1e6:6.2f} {one_by_one[i] * 1000:10.2f} "
            f"{one_by_one[i] / one_by_one[0]:5.2f} {16 / sixteen[i]:16.0f} "
            f"{sixteen[0] / sixteen[i]:5.2f}"
        )


if __name__ == "__main__":
    main()
