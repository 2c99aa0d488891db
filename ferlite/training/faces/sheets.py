"""Contact sheets: what a detector missed, what it made up, and photographs by kind.

True faces are green (a teacher's doubts grey, boxes drawn by people blue), detections red with
their score. Photographs of people are for looking at, not for publishing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.training.faces import metrics
from ferlite.training.faces.candidates import SearchSize
from ferlite.training.faces.evaluate import FaceEvaluation, FaceReport
from ferlite.training.faces.photographs import Photograph
from ferlite.types import Detections

TILE, COLUMNS, ROWS = 240, 6, 4
CONTEXT = 4  # box sides that a tile of one face shows
DARK = 60  # mean grey level
TURNED = 20  # degrees of the line of the eyes
TINY = 20  # pixels of height
CROWD = 6  # faces

_GREEN, _RED, _BLUE, _GRAY = (60, 220, 60), (40, 40, 255), (255, 140, 40), (160, 160, 160)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class _Case:
    """One tile: a photograph, or the surroundings of one box of it; the worst case first."""

    badness: float
    photograph: Photograph
    found: Detections
    box: NDArray[np.float64] | None
    title: str


def draw(report: FaceReport, folder: Path) -> list[Path]:
    """One PNG a detector, size and kind that occurs, in `folder`/sheets; returns the files.

    A sheet holds the worst `COLUMNS` x `ROWS` cases: misses by the teacher's certainty, false
    detections by the detector's, photographs of a kind by their number of both.
    """
    target = folder / "sheets"
    target.mkdir(parents=True, exist_ok=True)
    kinds = {name: [one for one in report.photographs if is_kind(one)] for name, is_kind in KINDS}
    files = []
    for result in report.results:
        cases = _cases(report.photographs, result)
        of = dict(zip((id(one) for one in report.photographs), cases, strict=True))
        sheets = {
            "missed": [miss for _, misses, _ in cases for miss in misses],
            "false": [false for _, _, falses in cases for false in falses],
            **{name: [of[id(one)][0] for one in members] for name, members in kinds.items()},
        }
        for name, content in sheets.items():
            path = target / f"{_stem(result.model, result.size)}-{name}.png"
            path.unlink(missing_ok=True)  # of an earlier report
            if content:
                cv2.imwrite(str(path), _sheet(content))
                files.append(path)
    return files


def _cases(
    photographs: Sequence[Photograph], result: FaceEvaluation
) -> list[tuple[_Case, list[_Case], list[_Case]]]:
    """For each photograph: itself, its misses and its false detections, at the own threshold."""
    cases = []
    for one, everything in zip(photographs, result.found, strict=True):
        found = _from(everything, result.threshold)
        taken = metrics.match(found.boxes, found.scores, one.boxes)
        missed = np.setdiff1d(np.arange(len(one.boxes)), taken)
        false = np.flatnonzero(taken < 0)
        # What people or the teacher's doubt call a face is no surprise.
        known = np.concatenate([one.doubtful, one.human])
        if len(known) and len(false):
            false = false[metrics.overlaps(found.boxes[false], known).max(axis=1) < 0.3]
        misses = [
            _Case(one.scores[i], one, found, one.boxes[i], f"teacher {one.scores[i]:.2f}")
            for i in missed
        ]
        falses = [
            _Case(float(found.scores[i]), one, found, found.boxes[i].astype(np.float64), "")
            for i in false
        ]
        wrong = len(misses) + len(falses)
        title = f"{len(misses)} missed, {len(falses)} false"
        cases.append((_Case(wrong, one, found, None, title), misses, falses))
    return cases


def _from(found: Detections, threshold: float) -> Detections:
    kept = found.scores >= threshold
    points = found.landmarks
    return Detections(
        found.boxes[kept], found.scores[kept], None if points is None else points[kept]
    )


def _stem(model: str, size: SearchSize) -> str:
    return f"{model.replace('/', '_')}-{size}"


def _sheet(cases: Sequence[_Case]) -> Image:
    worst = sorted(cases, key=lambda case: -case.badness)[: COLUMNS * ROWS]
    rows = -(-len(worst) // COLUMNS)
    sheet = np.zeros((rows * TILE, COLUMNS * TILE, 3), np.uint8)
    for i, case in enumerate(worst):
        y, x = (i // COLUMNS) * TILE, (i % COLUMNS) * TILE
        sheet[y : y + TILE, x : x + TILE] = _tile(case)
    return sheet


def _tile(case: _Case) -> Image:
    """The case on a square, enlarged or shrunk to it, boxes drawn at the tile's own resolution."""
    image = case.photograph.image()
    height, width = image.shape[:2]
    if case.box is None:
        side, corner = float(max(height, width)), np.zeros(2)
    else:
        side = float(np.clip(CONTEXT * case.box[2:].max(), 48, max(height, width)))
        corner = case.box[:2] + case.box[2:] / 2 - side / 2
    zoom = TILE / side
    matrix = np.array([[zoom, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom]])
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    tile = np.asarray(cv2.warpAffine(image, matrix, (TILE, TILE), flags=how), np.uint8)

    def rectangle(box: NDArray[np.floating], color: tuple[int, int, int], thick: int) -> None:
        low, high = (box[:2] - corner) * zoom, (box[:2] + box[2:] - corner) * zoom
        cv2.rectangle(tile, low.astype(int).tolist(), high.astype(int).tolist(), color, thick)

    for box in case.photograph.human:
        rectangle(box, _BLUE, 1)
    for box in case.photograph.doubtful:
        rectangle(box, _GRAY, 1)
    for box in case.photograph.boxes:
        rectangle(box, _GREEN, 2)
    points = case.found.landmarks
    for i, (box, score) in enumerate(zip(case.found.boxes, case.found.scores, strict=True)):
        rectangle(box, _RED, 1)
        at = ((box[:2] - corner) * zoom).astype(int) - (0, 3)
        cv2.putText(tile, f"{score:.2f}", at.tolist(), _FONT, 0.4, _RED, 1, cv2.LINE_AA)
        for point in () if points is None else points[i]:
            cv2.circle(tile, ((point - corner) * zoom).astype(int).tolist(), 1, _RED, -1)
    label = f"{case.photograph.path.stem} {case.title}"
    cv2.rectangle(tile, (0, TILE - 14), (TILE, TILE), (0, 0, 0), -1)
    cv2.putText(tile, label, (2, TILE - 4), _FONT, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _masked(one: Photograph) -> bool:
    """People saw a face that the teacher did not."""
    seen = np.concatenate([one.boxes, one.doubtful])
    if not len(one.human):
        return False
    return not len(seen) or bool((metrics.overlaps(one.human, seen).max(axis=1) < 0.3).any())


def _eyes(one: Photograph) -> NDArray[np.float64]:
    return np.asarray(one.landmarks[:, 1] - one.landmarks[:, 0], np.float64)


def _profile(one: Photograph) -> bool:
    """The eyes are less than a quarter of the face's width apart."""
    return bool((np.linalg.norm(_eyes(one), axis=1) < 0.25 * one.boxes[:, 2]).any())


def _turned(one: Photograph) -> bool:
    eyes = _eyes(one)[np.linalg.norm(_eyes(one), axis=1) > 0.25 * one.boxes[:, 2]]
    return bool((np.abs(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))) > TURNED).any())


KINDS: tuple[tuple[str, Callable[[Photograph], bool]], ...] = (
    ("people-only", _masked),
    ("profile", _profile),
    ("turned", _turned),
    ("dark", lambda one: bool(one.image().mean() < DARK)),
    ("tiny", lambda one: bool((one.boxes[:, 3] < TINY).any())),
    ("crowd", lambda one: len(one.boxes) >= CROWD),
    ("no-face", lambda one: one.face_free),
)
