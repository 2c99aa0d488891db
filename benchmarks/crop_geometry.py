"""From a detector's box to the framing that FER+ pictures have, fitted on FER+ training faces.

Each face lies in a photograph (`pasted_faces.py`), the detector runs as in `ferlite detect`, and
its box and landmarks are compared with the picture's known frame. The medians of

    side = scale * max(w, h);  centre = (x + w / 2 + dx * w, y + h / 2 + dy * h)

are the first geometry; others about it, and level eyes, are tried by the accuracy of the emotion
network on these crops, and one takes its place only where it wins by more than chance. What the
chosen geometry leaves, face by face, is the jitter that training must cover.

    python benchmarks/crop_geometry.py --data FER --photographs FACES --detector haar yunet.onnx \
        [--out crop.json] [--bundle models/emotion]

`ferlite export --crop crop.json` takes the file; --bundle rewrites a model folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pasted_faces import (
    Scenes,
    add_options,
    framed,
    open_classifier,
    opened,
    originals,
    scenes_of,
    search,
)

from ferlite.bundles import CropGeometry
from ferlite.emotion import EmotionClassifier, squares
from ferlite.faces import Detector
from ferlite.training.augment import Augmentation
from ferlite.training.bundle import revised
from ferlite.training.data import EmotionData

FACES = 12000
REPEATED = 500  # of them are searched in a second scene too
SCALES = (0.85, 0.9, 0.95, 1.05, 1.1, 1.15)  # times the median
SHIFTS = (-0.06, -0.03, 0.03, 0.06)  # added to the median dy
QUANTILES = (2.5, 10, 25, 50, 75, 90, 97.5)
CERTAIN = 2.0  # standard errors by which another geometry must be better

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Located:
    """What a detector says of the faces that it found, k of n.

    found: bool [n]. boxes, squares: [k, 4] x, y, width, height, of the detector and of the true
    frame. landmarks: [k, 5, 2] or None. images: grey scenes.
    """

    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    squares: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None
    images: list[NDArray[np.uint8]]

    @property
    def eye_angles(self) -> Floats | None:
        """Degrees [k] by which the eye line falls to the right."""
        if self.landmarks is None:
            return None
        x, y = (self.landmarks[:, 1] - self.landmarks[:, 0]).astype(np.float64).T
        return np.asarray(np.rad2deg(np.arctan2(y, x)), np.float64)


@dataclass(frozen=True)
class Trial:
    """A geometry and what the emotion network made of its crops."""

    what: str
    geometry: CropGeometry
    right: NDArray[np.bool_]
    log_loss: float


@dataclass(frozen=True)
class Fit:
    located: Located
    trials: tuple[Trial, ...]
    chosen: CropGeometry


def locate(detector: Detector, scenes: Scenes) -> Located:
    """Run the detector over all scenes."""
    found, boxes, frames, landmarks, images = [], [], [], [], []
    for scene, face in search(detector, scenes):
        found.append(face is not None)
        if face is None:
            continue
        boxes.append(face.boxes)
        frames.append(scene.square)
        if face.landmarks is not None:
            landmarks.append(face.landmarks)
        images.append(np.asarray(cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY), np.uint8))
    if not boxes:
        raise SystemExit(f"{detector.name} found none of {len(scenes)} faces")
    points = np.concatenate(landmarks) if landmarks else None
    return Located(np.array(found), np.concatenate(boxes), np.stack(frames), points, images)


def mappings(located: Located) -> Floats:
    """float64 [k, 3]: scale, dx, dy that lead from each box to its true frame."""
    boxes, frames = located.boxes.astype(np.float64), located.squares.astype(np.float64)
    shift = frames[:, :2] + frames[:, 2:] / 2 - boxes[:, :2] - boxes[:, 2:] / 2
    return np.column_stack([frames[:, 2] / boxes[:, 2:].max(axis=1), shift / boxes[:, 2:]])


def fit(
    detector: Detector, data: EmotionData, scenes: Scenes, classifier: EmotionClassifier
) -> Fit:
    """The geometry of a detector, from the scenes of the faces in `data`."""
    located = locate(detector, scenes)
    # Plus 0: never -0.
    scale, dx, dy = (round(float(v), 3) + 0.0 for v in np.median(mappings(located), axis=0))
    classes = data.classes[located.found]
    median = _trial("median", CropGeometry(scale, dx, dy), located, classes, classifier)
    trials, best = [median], median
    for group in _candidates(median.geometry, located.landmarks is not None):
        for what, change in group:
            geometry = replace(best.geometry, **change)
            trials.append(_trial(what, geometry, located, classes, classifier))
        best = _better(best, trials[-len(group) :])
    return Fit(located, tuple(trials), best.geometry)


def _candidates(
    median: CropGeometry, landmarks: bool
) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    yield [(f"scale x {s:g}", {"scale": round(median.scale * s, 3)}) for s in SCALES]
    yield [(f"dy {s:+g}", {"dy": round(median.dy + s, 3)}) for s in SHIFTS]
    if landmarks:
        yield [("eyes level", {"rotate": True})]


def _trial(
    what: str,
    geometry: CropGeometry,
    located: Located,
    classes: NDArray[np.int64],
    classifier: EmotionClassifier,
) -> Trial:
    network = framed(classifier, geometry)
    points = located.landmarks
    crops = [
        network.crop(
            image, located.boxes[i : i + 1], landmarks=None if points is None else points[i : i + 1]
        )
        for i, image in enumerate(located.images)
    ]
    answers = classifier.run(np.concatenate(crops)).astype(np.float64)
    truth = np.maximum(answers[np.arange(len(answers)), classes], 1e-6)
    return Trial(what, geometry, answers.argmax(axis=1) == classes, float(-np.log(truth).mean()))


def _better(best: Trial, others: list[Trial]) -> Trial:
    """The most accurate of `others` where chance does not explain that it beats `best`."""
    top = max(others, key=lambda trial: float(trial.right.mean()))
    won, lost = (top.right & ~best.right).sum(), (best.right & ~top.right).sum()
    return top if won - lost > CERTAIN * np.sqrt(won + lost) else best


def _quantiles(name: str, values: Floats, digits: int) -> str:
    q = np.percentile(values, QUANTILES)
    return "| " + " | ".join([name, *(f"{v:+.{digits}f}" for v in q)]) + " |"


def spread(located: Located, geometry: CropGeometry, side: int) -> dict[str, Floats]:
    """How the crops of a geometry differ from the true frames: what training must cover.

    zoom: of the face, 1 where it is as large as in its picture. shift x, shift y: of the face, in
    pixels of a crop of `side`. turn: of the face, in degrees, where the eyes are made level.
    """
    crops = squares(located.boxes, geometry).astype(np.float64)
    frames = located.squares.astype(np.float64)
    moved = frames[:, :2] + frames[:, 2:] / 2 - crops[:, :2] - crops[:, 2:] / 2
    shift = moved * side / crops[:, 2:]
    jitter = {"zoom": frames[:, 2] / crops[:, 2], "shift x": shift[:, 0], "shift y": shift[:, 1]}
    angles = located.eye_angles
    if geometry.rotate and angles is not None:
        jitter["turn"] = angles
    return jitter


def covered(jitter: dict[str, Floats], augmentation: Augmentation) -> dict[str, float]:
    """Share of faces whose jitter lies in the ranges of `augmentation`, each and all together."""
    zoom = jitter["zoom"]
    inside = {"zoom": (zoom >= augmentation.scale_min) & (zoom <= augmentation.scale_max)}
    for name, most in (
        ("shift x", augmentation.shift_px),
        ("shift y", augmentation.shift_px),
        ("turn", augmentation.rotation_deg),
    ):
        if name in jitter:
            inside[name] = np.abs(jitter[name]) <= most
    inside["all"] = np.all(list(inside.values()), axis=0)
    return {name: float(values.mean()) for name, values in inside.items()}


def unsteadiness(
    one: Located, other: Located, geometry: CropGeometry, side: int
) -> dict[str, Floats]:
    """How the crops of the same faces differ from one scene to another, as in `spread`.

    one may hold more faces than other; those that both found are compared.
    """
    both = one.found[: len(other.found)] & other.found
    places = []
    for located in (one, other):
        crops = squares(located.boxes, geometry).astype(np.float64)
        frames = located.squares.astype(np.float64)
        numbers = np.cumsum(located.found) - 1
        chosen = numbers[: len(both)][both]
        start = (crops[:, :2] + crops[:, 2:] / 2 - frames[:, :2])[chosen]
        places.append((start, crops[chosen, 2]))
    (a, size_a), (b, size_b) = places
    shift = (b - a) * side / size_a[:, np.newaxis]
    return {"zoom": size_b / size_a, "shift x": shift[:, 0], "shift y": shift[:, 1]}


def report(name: str, result: Fit, again: Located, side: int, original: NDArray[np.bool_]) -> str:
    located, trials = result.located, result.trials
    k, n = len(located.boxes), len(located.found)
    names = " | ".join("median" if q == 50 else f"{q:g} %" for q in QUANTILES)
    head = f"| | {names} |\n|---{'|---' * len(QUANTILES)}|"
    lines = [f"\n## {name}: found {k} of {n} ({k / n:.1%})\n", "From box to frame:\n", head]
    columns = zip(("scale", "dx", "dy"), mappings(located).T, strict=True)
    lines += [_quantiles(what, column, 3) for what, column in columns]
    boxes = located.boxes.astype(np.float64)
    lines.append(_quantiles("height / width of the box", boxes[:, 3] / boxes[:, 2], 3))
    if (angles := located.eye_angles) is not None and located.landmarks is not None:
        lines.append(_quantiles("eye line, degrees", angles, 1))
        frames = located.squares[:, np.newaxis]
        points = np.float64(side) * (located.landmarks - frames[..., :2]) / frames[..., 2:]
        for i, what in enumerate(("left eye", "right eye", "nose", "mouth left", "mouth right")):
            for axis, letter in enumerate("xy"):
                lines.append(_quantiles(f"{what} {letter}, px of {side}", points[:, i, axis], 1))
    base = original[located.found].mean()
    lines += [
        f"\nAccuracy over the {k} found; their original pictures {base:.2%}:\n",
        "| | scale | dx | dy | eyes level | accuracy | against median, +- standard error"
        " | log loss |\n|---|---|---|---|---|---|---|---|",
    ]
    median = trials[0].right
    for trial in trials:
        mark = " (chosen)" if trial.geometry == result.chosen else ""
        g, difference = trial.geometry, trial.right.astype(float) - median
        error = np.sqrt(np.abs(difference).sum()) / k
        lines.append(
            f"| {trial.what}{mark} | {g.scale:.3f} | {g.dx:+.3f}"
            f" | {g.dy:+.3f} | {'yes' if g.rotate else 'no'} | {trial.right.mean():.2%}"
            f" | {100 * difference.mean():+.2f} +- {100 * error:.2f} | {trial.log_loss:.4f} |"
        )
    lines += ["\nWhat the chosen geometry leaves:\n", head]
    jitter = spread(located, result.chosen, side)
    lines += [_quantiles(what, values, 3) for what, values in jitter.items()]
    shares = covered(jitter, Augmentation())
    text = ", ".join(f"{what} {share:.1%}" for what, share in shares.items())
    lines.append(f"\nInside the ranges of training's augmentation: {text}")
    moves = unsteadiness(located, again, result.chosen, side)
    lines += [f"\nThe same face in two scenes ({len(moves['zoom'])} faces):\n", head]
    return "\n".join([*lines, *(_quantiles(what, values, 3) for what, values in moves.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_options(parser, FACES)
    parser.add_argument("--out", type=Path, help="write the geometries here as JSON")
    parser.add_argument("--bundle", type=Path, help="put them into this emotion model's folder")
    options = parser.parse_args()
    data, scenes = scenes_of(options, "train")
    classifier = open_classifier(options)
    original = originals(classifier, data.images).argmax(axis=1) == data.classes
    print(
        f"{len(data)} faces of FER+ {data.split}, protocol {data.protocol};"
        f" {classifier.bundle.name} {classifier.precision}: {original.mean():.2%} of them right",
        flush=True,
    )
    geometry = {}
    for name in options.detector:
        detector = opened(name)
        result = fit(detector, data, scenes, classifier)
        again = locate(detector, scenes.moved(REPEATED))
        print(report(detector.name, result, again, data.images.shape[1], original), flush=True)
        geometry[detector.name] = asdict(result.chosen)
    if options.out:
        options.out.write_text(json.dumps(geometry, indent=2) + "\n")
    if options.bundle:
        with revised(options.bundle) as (_, facts):
            facts["crop"] = {**facts["crop"], **geometry}


if __name__ == "__main__":
    main()
