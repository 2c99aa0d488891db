"""The INT8 network of a face detector, with as little average precision lost as it takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite import crops
from ferlite.errors import ModelError
from ferlite.faces import open_detector
from ferlite.training.bundle import FP32, INT8, readable, revised
from ferlite.training.faces import metrics
from ferlite.training.faces.candidates import interleaved, open_candidate, search, searched
from ferlite.training.faces.convert import STEP
from ferlite.training.faces.evaluate import FLOOR, KNOWN_FLOOR
from ferlite.training.faces.export import measured
from ferlite.training.faces.photographs import Photograph, read_photographs, with_faces
from ferlite.training.int8 import QuantizeOptions, Search, write_int8

SIDES = (224, 320, 416, 640)  # longest sides at which the photographs set the ranges
_TIMED_ROUNDS = 60


@dataclass(frozen=True)
class Figures:
    """One network before or after: bytes, AP 0.5 of scores from `FLOOR` and from `KNOWN_FLOOR`.

    ms: of one run on 320x320 pixels with one thread.
    """

    name: str
    size: int
    ap50: float
    known_ap50: float
    ms: float


def quantize_faces(folder: Path, root: Path, options: QuantizeOptions) -> tuple[Figures, Figures]:
    """Add model.int8.onnx to a bundle folder; returns figures of fp32 and INT8.

    root: folder with faces.json; ranges come from its training photographs, and the average
    precision from its val ones. Raises ModelError, and writes nothing, when that falls by more than
    `options.max_drop` (0..1), of scores from `FLOOR` or from `KNOWN_FLOOR`.
    """
    import onnx

    readable(folder)
    photographs = read_photographs(root)
    train, valid = (with_faces(photographs, split) for split in ("train", "val"))
    batches = calibration_views(train, options.images, options.seed)
    pictures = [one.image() for one in valid]
    with tempfile.TemporaryDirectory(prefix="ferlite-quantize-") as scratch:
        target = Path(scratch) / INT8
        candidate = Path(scratch) / "candidate.onnx"
        props = {p.key: p.value for p in onnx.load(str(folder / FP32)).metadata_props}

        def precision(path: Path) -> tuple[float, float]:
            return average_precisions(path, valid, pictures)

        def score(model: Any) -> float:
            """1 plus the smaller gain in average precision; fp32 has 1, as the engines want it."""
            onnx.helper.set_model_props(model, props)
            onnx.save(model, str(candidate))
            return 1 + float(min(np.subtract(precision(candidate), before)))

        before = precision(folder / FP32)
        aim = Search(folder / FP32, batches, score, 1.0, options.max_drop, _in_float(folder / FP32))
        write_int8(aim, target, options)
        model = onnx.load(str(target))
        onnx.helper.set_model_props(model, props)
        onnx.save(model, str(target))
        after = precision(target)
        if min(np.subtract(after, before)) < -options.max_drop:
            raise ModelError(
                f"INT8 loses average precision ({_shown(before)} to {_shown(after)} of scores from "
                f"{FLOOR} and {KNOWN_FLOOR}), more than --max-drop {options.max_drop}; "
                "nothing was written"
            )
        times = _milliseconds((folder / FP32, target), pictures[0])
        sizes = [path.stat().st_size for path in (folder / FP32, target)]
        figures = measured(target, root)
        for name in ("protocol", "split", "n", "photographs", "known_floor"):
            del figures[name]
        with revised(folder) as (work, facts):
            shutil.copyfile(target, work / INT8)
            facts["metrics"]["int8"] = figures | options.facts(len(batches))
    return (
        Figures("fp32", sizes[0], *before, times[0]),
        Figures("INT8", sizes[1], *after, times[1]),
    )


def average_precisions(
    network: Path, photographs: Sequence[Photograph], pictures: Sequence[NDArray[np.uint8]]
) -> tuple[float, float]:
    """AP 0.5 at native size, of scores from `FLOOR` and from `KNOWN_FLOOR`.

    network: .onnx with a description in it. pictures: of the photographs.
    """
    detector = open_detector(
        str(network), threshold=FLOOR, size=searched("native"), threads=1, provider="cpu"
    )
    found = [search(detector, picture, "native") for picture in pictures]
    truth = [one.boxes for one in photographs]
    low, known = (
        metrics.average_precision(
            [(one.boxes[one.scores >= floor], one.scores[one.scores >= floor]) for one in found],
            truth,
        ).average
        for floor in (FLOOR, KNOWN_FLOOR)
    )
    return low, known


def calibration_views(
    photographs: Sequence[Photograph], count: int, seed: int
) -> list[NDArray[np.uint8]]:
    """Photographs as the network may meet them, uint8 [1, h, w, 3] each.

    At different sizes, a third of them darker or brighter, some grey, some mirrored.
    """
    import cv2

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(photographs), min(count, len(photographs)), replace=False))
    views = []
    for i in chosen:
        image = photographs[i].image()
        zoom = SIDES[int(rng.integers(len(SIDES)))] / max(image.shape[:2])
        height, width = (
            max(STEP, -(-round(side * zoom) // STEP) * STEP) for side in image.shape[:2]
        )
        view = crops.letterbox(image, (width, height), padding=0)[0]
        if rng.random() < 1 / 3:
            gamma, gain = np.exp(rng.uniform(-0.6, 0.6)), np.exp(rng.uniform(-1.0, 0.3))
            levels = (np.arange(256) / 255) ** gamma * gain * 255
            view = cv2.LUT(view, np.clip(levels, 0, 255).astype(np.uint8))
        if rng.random() < 0.15:
            view = np.repeat(view.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        if rng.random() < 0.5:
            view = view[:, ::-1]
        views.append(np.ascontiguousarray(view)[np.newaxis])
    return views


def _in_float(network: Path) -> list[list[str]]:
    """What stays in float32: the convolutions that give the maps; then also those before them.

    The channels of a map have ranges of their own, logits of -10 beside offsets of 0.1, and would
    share one scale in INT8.
    """
    import onnx

    graph = onnx.load(str(network)).graph
    made_by = {node.output[0]: node for node in graph.node}
    last = [made_by[out.name] for out in graph.output]
    before = [made_by[node.input[0]] for node in last]  # the ReLU of the head
    heads = [made_by[node.input[0]] for node in before if node.op_type == "Relu"]
    names = [node.name for node in last]
    return [names, [*names, *(node.name for node in heads)]]


def _milliseconds(networks: Sequence[Path], picture: NDArray[np.uint8]) -> list[float]:
    return interleaved(
        [open_candidate(str(path), picture).network for path in networks], _TIMED_ROUNDS
    )


def _shown(values: tuple[float, float]) -> str:
    return " and ".join(f"{value:.4f}" for value in values)
