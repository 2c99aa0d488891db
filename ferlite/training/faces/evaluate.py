"""Score face detectors on one split, side by side, and write tables and plots.

Average precision is of detections from a score of `FLOOR`, so that it judges the order of a
detector's answers and not its threshold, and once more from `KNOWN_FLOOR`, from which the known
figures of other detectors were taken (`ferlite.training.faces.metrics`). In those a detection on a
face a little under the least size is false, so that perfect boxes with the teacher's scores reach
only 0.897 from 20 and 0.792 from 40 pixels; with "smaller ignored" they reach 1. False positives
and landmarks are of what a user sees, at the detector's own threshold.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError
from ferlite.training.faces import metrics
from ferlite.training.faces.candidates import (
    Candidate,
    SearchSize,
    enlarged,
    interleaved,
    open_candidate,
    search,
    searched,
)
from ferlite.training.faces.photographs import Photograph, read_photographs, with_faces
from ferlite.types import Detections

FLOOR = 0.02
KNOWN_FLOOR = 0.3
SIDES = (0, 20, 40)  # least heights of a face in pixels, for which AP is given
LANDMARK_SIDE = (
    40  # on smaller faces a pixel of the truth's own rounding is 5 % of the eye distance
)
TIMED_PICTURES, TIMED_ROUNDS, NETWORK_ROUNDS = 12, 5, 40

Say = Callable[[str], object]


@dataclass(frozen=True)
class FaceEvaluation:
    """One detector at one size.

    figures: name -> value, in the order of the table; nan where there is nothing to measure.
    curve: of AP 0.5 over all faces. found: of each photograph, from `FLOOR`.
    """

    model: str
    size: SearchSize
    threshold: float
    figures: dict[str, float]
    curve: metrics.PrecisionRecall
    found: list[Detections]


@dataclass(frozen=True)
class FaceReport:
    """All detectors at all sizes on the photographs of one split.

    threads: that they were timed with; Keras takes all there are.
    """

    split: str
    photographs: list[Photograph]
    face_free: list[Photograph]
    clips: tuple[str, ...]
    threads: int
    results: list[FaceEvaluation]


def evaluate_faces(
    models: Sequence[str | Candidate],
    root: Path,
    *,
    split: str = "val",
    sizes: Sequence[SearchSize] = ("native",),
    face_free: Sequence[str] = (),
    threshold: float | None = None,
    threads: int = 1,
    say: Say = lambda line: None,
) -> FaceReport:
    """Run every detector over the photographs of `root`; see the module.

    models: "haar", .keras or .onnx files, names of installed detectors, or what is none of these
        but can be opened as one.
    face_free: clips, pictures or folders without a face, for false positives.
    threshold: in place of every detector's own. threads: of OpenCV and ONNX Runtime.
    say: takes a line when a detector is done.
    """
    everything = read_photographs(root)
    chosen = with_faces(everything, split)
    for clip in face_free:
        next(iter(_frames([clip])), None)  # a wrong path is said at once
    empty = [one for one in everything if one.face_free]
    sample = chosen[:: max(1, len(chosen) // TIMED_PICTURES)][:TIMED_PICTURES]
    pictures = [one.image() for one in sample]
    candidates = _named(
        {
            model: open_candidate(model, pictures[0], threads) if isinstance(model, str) else model
            for model in dict.fromkeys(models)
        }
    )
    pairs = list(itertools.product(candidates, sizes))
    results = []
    for candidate, size in pairs:
        limit = candidate.threshold if threshold is None else threshold
        found, figures, curve = _score(candidate, size, limit, chosen, empty, face_free)
        say(f"{candidate.name} at {size}: AP 0.5 {figures['ap50']:.3f}")
        results.append(FaceEvaluation(candidate.name, size, limit, figures, curve, found))
    for result, (candidate, _), times in zip(
        results, pairs, _milliseconds(pairs, pictures), strict=True
    ):
        result.figures.update(times)
        result.figures["parameters"] = float(candidate.parameters or "nan")
        result.figures["file_bytes"] = float(candidate.size)
    return FaceReport(split, chosen, empty, tuple(face_free), threads, results)


def _named(candidates: Mapping[str | Candidate, Candidate]) -> list[Candidate]:
    """By the names of their files, or as they were given where those are the same."""
    names = [one.name for one in candidates.values()]
    return [
        replace(one, name=given) if isinstance(given, str) and names.count(one.name) > 1 else one
        for given, one in candidates.items()
    ]


def _score(
    candidate: Candidate,
    size: SearchSize,
    threshold: float,
    photographs: Sequence[Photograph],
    empty: Sequence[Photograph],
    clips: Sequence[str],
) -> tuple[list[Detections], dict[str, float], metrics.PrecisionRecall]:
    detector = candidate.open(FLOOR, searched(size))
    found = [search(detector, one.image(), size) for one in photographs]
    truth = [one.boxes for one in photographs]
    human = [one.human for one in photographs]
    low, known = _from(found, FLOOR), _from(found, KNOWN_FLOOR)
    ap = metrics.average_precision
    curve = ap(low, truth)
    figures = {_name("ap50", side): ap(low, truth, min_side=side).average for side in SIDES}
    for side in SIDES[1:]:
        smaller = [boxes[:, 3] < side for boxes in truth]
        figures[f"ap50_{side}px_ignoring"] = ap(low, truth, smaller, min_side=side).average
    figures |= {
        _name("ap50_95", side): metrics.mean_average_precision(low, truth, min_side=side)
        for side in SIDES
    }
    figures["human_ap50"] = ap(low, human).average
    figures |= {
        _name("known_ap50", side): ap(known, truth, min_side=side).average for side in SIDES
    }
    figures["known_human_ap50"] = ap(known, human).average
    figures["threshold"] = threshold
    figures |= _at_threshold(found, photographs, threshold)
    own = candidate.open(threshold, searched(size))
    seen = [len(search(own, one.image(), size)) for one in empty]
    inside = [one.split == photographs[0].split for one in empty]
    figures |= _false("face_free_split", list(itertools.compress(seen, inside)))
    figures |= _false("face_free", seen)
    if clips:
        figures |= _false("clips", [len(search(own, image, size)) for image in _frames(clips)])
    return found, figures, curve


def _name(figure: str, side: int) -> str:
    return f"{figure}_{side}px" if side else figure


def _from(found: Sequence[Detections], floor: float) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    return [(one.boxes[one.scores >= floor], one.scores[one.scores >= floor]) for one in found]


def _at_threshold(
    found: Sequence[Detections], photographs: Sequence[Photograph], threshold: float
) -> dict[str, float]:
    """What a user gets: precision and recall, and how far the landmarks are off."""
    right = answers = faces = 0
    points, truth, boxes = [np.zeros((0, 5, 2))], [np.zeros((0, 5, 2))], [np.zeros((0, 4))]
    for one, photograph in zip(found, photographs, strict=True):
        kept = one.scores >= threshold
        taken = metrics.match(one.boxes[kept], one.scores[kept], photograph.boxes)
        right += int((taken >= 0).sum())
        answers += len(taken)
        faces += len(photograph.boxes)
        large = np.flatnonzero(taken >= 0)
        large = large[photograph.boxes[taken[large], 3] >= LANDMARK_SIDE]
        if one.landmarks is not None:
            points.append(one.landmarks[kept][large].astype(np.float64))
            truth.append(photograph.landmarks[taken[large]])
            boxes.append(photograph.boxes[taken[large]])
    off, true, at = np.concatenate(points), np.concatenate(truth), np.concatenate(boxes)
    by_eyes = metrics.landmark_error(off, true)
    by_eyes = by_eyes[np.isfinite(by_eyes)]
    by_box = metrics.landmark_error(off, true, np.sqrt(at[:, 2] * at[:, 3]))
    return {
        "precision": right / answers if answers else float("nan"),
        "recall": right / faces,
        "landmark_faces": float(len(off)),
        "landmark_error": float(by_eyes.mean()) if len(by_eyes) else float("nan"),
        "landmark_error_median": float(np.median(by_eyes)) if len(by_eyes) else float("nan"),
        "landmark_error_of_box": float(by_box.mean()) if len(off) else float("nan"),
    }


def _false(name: str, seen: Sequence[int]) -> dict[str, float]:
    """seen: detections in each picture without a face."""
    return {
        f"{name}_pictures": float(len(seen)),
        f"{name}_false": float(sum(seen)),
        f"{name}_false_per_picture": sum(seen) / len(seen) if seen else float("nan"),
    }


def _frames(clips: Sequence[str]) -> Iterable[NDArray[np.uint8]]:
    from ferlite.sources import open_source

    for clip in clips:
        with open_source(clip) as source:
            for frame in source:
                if frame.error:
                    raise DataError(f"{frame.source.name}: {frame.error}")
                yield frame.image


def _milliseconds(
    pairs: Sequence[tuple[Candidate, SearchSize]], pictures: Sequence[NDArray[np.uint8]]
) -> list[dict[str, float]]:
    """Of the network alone on one square, and of a whole search, letterbox to suppression."""
    runs = {candidate.name: candidate.network for candidate, _ in pairs}
    networks = dict(zip(runs, interleaved(list(runs.values()), NETWORK_ROUNDS), strict=True))
    detectors = [candidate.open(None, searched(size)) for candidate, size in pairs]
    searches = [
        partial(detector.detect, enlarged(picture, size)[0])
        for picture in pictures
        for detector, (_, size) in zip(detectors, pairs, strict=True)
    ]
    times = np.reshape(interleaved(searches, TIMED_ROUNDS), (len(pictures), len(pairs)))
    return [
        {"network_320_ms": networks[candidate.name], "picture_ms": float(whole)}
        for (candidate, _), whole in zip(pairs, times.mean(axis=0), strict=True)
    ]


def write(report: FaceReport, folder: Path) -> None:
    """metrics.csv, evaluation_report.txt and precision_recall.png into `folder`."""
    from ferlite.training import plots

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "size", "metric", "value"])
        for one in report.results:
            for name, value in one.figures.items():
                if not np.isnan(value):
                    writer.writerow([one.model, one.size, name, f"{value:.6g}"])
    (folder / "evaluation_report.txt").write_text(text(report), encoding="utf-8")
    plots.curves(
        folder / "precision_recall.png",
        [
            (f"{_title(one)} (AP {one.curve.average:.3f})", one.curve.recall, one.curve.precision)
            for one in report.results
        ],
        title=f"{report.split}, IoU 0.5, n {report.results[0].curve.n}",
        legend="outside lower center",
    )


_ROWS = (
    # (figure, what the table calls it, form)
    ("ap50", "AP 0.5", "{:.3f}"),
    ("ap50_20px", "  faces >= 20 px", "{:.3f}"),
    ("ap50_40px", "  faces >= 40 px", "{:.3f}"),
    ("ap50_20px_ignoring", "  >= 20 px, smaller ignored", "{:.3f}"),
    ("ap50_40px_ignoring", "  >= 40 px, smaller ignored", "{:.3f}"),
    ("ap50_95", "AP 0.5:0.95", "{:.3f}"),
    ("ap50_95_20px", "  faces >= 20 px", "{:.3f}"),
    ("ap50_95_40px", "  faces >= 40 px", "{:.3f}"),
    ("human_ap50", "AP 0.5, boxes drawn by people", "{:.3f}"),
    ("known_ap50", f"AP 0.5, scores from {KNOWN_FLOOR:g}", "{:.3f}"),
    ("known_ap50_20px", "  faces >= 20 px", "{:.3f}"),
    ("known_ap50_40px", "  faces >= 40 px", "{:.3f}"),
    ("known_human_ap50", "  boxes drawn by people", "{:.3f}"),
    ("threshold", "threshold", "{:g}"),
    ("precision", "  precision", "{:.3f}"),
    ("recall", "  recall", "{:.3f}"),
    ("face_free_split_false_per_picture", "  false a face-free picture", "{:.4f}"),
    ("face_free_false_per_picture", "  the same, all splits", "{:.4f}"),
    ("clips_false_per_picture", "  false a frame of the clips", "{:.4f}"),
    ("landmark_error", "  landmark error / eye distance", "{:.3f}"),
    ("landmark_error_median", "    median", "{:.3f}"),
    ("landmark_error_of_box", "  landmark error / box side", "{:.3f}"),
    ("network_320_ms", "network, 320x320, ms", "{:.2f}"),
    ("picture_ms", "whole search of a picture, ms", "{:.2f}"),
    ("parameters", "parameters", "{:,.0f}"),
    ("file_bytes", "file, bytes", "{:,.0f}"),
)


def text(report: FaceReport) -> str:
    """The whole evaluation as one table, a column a detector and size."""
    first = report.results[0]
    human = sum(len(one.human) for one in report.photographs)
    counts = first.figures
    lines = [
        f"{report.split}: {len(report.photographs)} photographs, {first.curve.n} faces of the"
        f" teacher, {human} boxes drawn by people",
        f"face-free: {counts['face_free_split_pictures']:.0f} photographs of the split, "
        f"{counts['face_free_pictures']:.0f} of all"
        + (f", {counts['clips_pictures']:.0f} frames of clips" if report.clips else ""),
        f"AP of detections from score {FLOOR:g}; times in turn, best of each: of the network with "
        f"one thread, of a picture with {report.threads or 'the default number'} (.keras: all)",
        "",
    ]
    rows = [["", *(one.model for one in report.results)]]
    rows.append(["size", *(str(one.size) for one in report.results)])
    for name, title, form in _ROWS:
        values = [one.figures.get(name, float("nan")) for one in report.results]
        if not all(np.isnan(values)):
            rows.append([title, *("-" if np.isnan(v) else form.format(v) for v in values)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for title, *cells in rows:
        columns = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([title.ljust(widths[0]), *columns]).rstrip())
    return "\n".join(lines) + "\n"


def _title(one: FaceEvaluation) -> str:
    return one.model if one.size == "native" else f"{one.model} at {one.size}"
