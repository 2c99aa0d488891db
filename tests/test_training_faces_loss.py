"""The detector's network and its loss, against a slow reference and cases known by hand."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ferlite.training.faces.targets import COLUMNS, CONFIDENCE, KNOWN, NOT_JUDGED, POINTS

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(
        find_spec("keras") is None, reason="needs pip install 'ferlite[train,quantize]'"
    ),
    # Keras and its backends warn of their own future; that is not ours to fix.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
Floats = NDArray[np.float32]
SIZE = 96
# x, y of the centre and the stride of every cell of a 96x96 picture: 144 + 36 + 9.
CELLS = [
    ((column + 0.5) * stride, (row + 0.5) * stride, stride)
    for stride in (8, 16, 32)
    for row in range(SIZE // stride)
    for column in range(SIZE // stride)
]
MIDDLES, STRIDES = np.array(CELLS)[:, :2], np.array(CELLS)[:, 2:]


def loss_of(truth: Floats, answers: Floats) -> float:
    from ferlite.training.faces.loss import FaceLoss

    return float(FaceLoss(SIZE)(truth, answers))


def row(box: list[float], confidence: float = 1.0, known: float = 1.0) -> Floats:
    """A face with landmarks on a grid inside its box."""
    x, y, w, h = box
    spots = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    points = [value for a, b in spots for value in (x + a * w, y + b * h)]
    return np.array([*box, *points, confidence, known], np.float32)


def padded(*rows: Floats) -> Floats:
    table = np.zeros((1, 5, COLUMNS), np.float32)
    for i, one in enumerate(rows):
        table[0, i] = one
    return table


def answering(face: Floats, shrunk: float = 1.0) -> Floats:
    """[cells, 15]: every cell names this face as well as it can, with its box shrunk."""
    x, y, w, h = face[:4]
    corner = np.array([x, y]), np.array([x + w, y + h])
    reach = np.concatenate([MIDDLES - corner[0], corner[1] - MIDDLES], axis=1) * shrunk
    offsets = face[POINTS].reshape(1, 5, 2) - MIDDLES[:, None]
    return np.concatenate(
        [
            np.full((len(CELLS), 1), -20.0),
            np.log(np.maximum(reach / STRIDES, 0.01)),
            offsets.reshape(-1, 10) / STRIDES,
        ],
        axis=1,
    ).astype(np.float32)


def overlap(a: Any, b: Any) -> tuple[float, float]:
    """IoU and DIoU of two boxes left, top, right, bottom; Zheng et al., equations 1 and 7."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    iou = wide * high / (both + 1e-6)
    hull = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    apart = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    return iou, iou - apart / (hull + 1e-6)


def reference(truth: Floats, answers: Floats) -> float:
    """The loss one picture, one face and one cell at a time, in float64."""
    total = weights = 0.0
    for faces, maps in zip(truth.astype(float), answers.astype(float), strict=True):
        boxes, points = [], []
        for (x, y, stride), answer in zip(CELLS, maps, strict=True):
            left, top, right, bottom = (math.exp(v) * stride for v in answer[1:5])
            boxes.append((x - left, y - top, x + right, y + bottom))
            points.append([(x, y)[i % 2] + answer[5 + i] * stride for i in range(10)])
        offers: dict[int, list[tuple[float, int]]] = {}
        for number, face in enumerate(faces):
            if face[CONFIDENCE] <= 0:
                continue
            x, y, w, h = face[:4]
            candidates = []
            for cell, (cx, cy, stride) in enumerate(CELLS):
                dx, dy = abs(x + w / 2 - cx), abs(y + h / 2 - cy)
                if dx > max(w / 2, stride / 2) or dy > max(h / 2, stride / 2):
                    continue
                if max(dx, dy) > 2.5 * stride:
                    continue
                iou, _ = overlap(boxes[cell], (x, y, x + w, y + h))
                unlikely = math.log1p(math.exp(-maps[cell][0]))
                candidates.append((unlikely - 3 * math.log(iou + 1e-6), cell, iou))
            best = sorted((iou for _, _, iou in candidates), reverse=True)[:10]
            for cost, cell, _ in sorted(candidates)[: max(1, min(10, int(sum(best))))]:
                offers.setdefault(cell, []).append((cost, number))
        for cell, (cx, cy, stride) in enumerate(CELLS):
            logit, quality = maps[cell][0], 0.0
            if cell in offers:
                face = faces[min(offers[cell])[1]]
                x, y, w, h = face[:4]
                iou, diou = overlap(boxes[cell], (x, y, x + w, y + h))
                weight = face[CONFIDENCE]
                weights += weight
                quality = iou * weight
                total += 2 * weight * (1 - diou)
                off = np.abs(points[cell] - face[POINTS]).mean() / math.sqrt(w * h)
                total += 2 * weight * face[KNOWN] * off
            elif any(
                f[CONFIDENCE] < 0
                and abs(f[0] + f[2] / 2 - cx) <= max(f[2], stride) / 2
                and abs(f[1] + f[3] / 2 - cy) <= max(f[3], stride) / 2
                for f in faces
            ):
                continue
            score = 1 / (1 + math.exp(-logit))
            cross = -quality * math.log(score) - (1 - quality) * math.log(1 - score)
            total += (score - quality) ** 2 * cross
    return total / max(weights, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_loss_against_the_reference(seed: int) -> None:
    """Large, small and overlapping faces, some unsure or without landmarks, one not judged."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((3, 8, COLUMNS), np.float32)
    answers = rng.normal(0, 1, (3, len(CELLS), 15)).astype(np.float32)
    for picture in range(2):  # the third is empty
        for i in range(6):
            side = float(rng.choice([6, 12, 24, 60]))
            x, y = rng.uniform(-2, SIZE - side, 2)
            known = float(i != 2)
            face = row([x, y, side, side * 1.2], [1, 0.5, 0.8, 1, 1, NOT_JUDGED][i], known)
            truth[picture, i] = face
            # Some cells answer well, so that overlaps add up to several cells.
            good = rng.random(len(CELLS)) < 0.25
            noise = rng.normal(0, 0.1, answers[picture].shape)
            answers[picture, good] = (answering(face) + noise)[good]
            answers[picture, good, 0] = rng.normal(0, 2, good.sum())
    assert loss_of(truth, answers) == pytest.approx(reference(truth, answers), rel=1e-4)


FACE = row([20, 24, 40, 44])
GOOD = [i for i, (x, y, s) in enumerate(CELLS) if s == 8 and 36 <= x < 52 and 36 <= y < 52]


def perfect() -> Floats:
    """Four cells around the middle name the face and are sure; the others are sure of nothing."""
    answers = answering(FACE, shrunk=math.sqrt(0.1))  # overlap 0.1: the best ten add up to 4.6
    answers[GOOD] = answering(FACE)[GOOD]
    answers[GOOD, 0] = 20
    return answers[None]


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_what_it_should() -> None:
    assert len(GOOD) == 4
    assert loss_of(padded(FACE), perfect()) == pytest.approx(0, abs=1e-4)
    # The landmarks 8 pixels to the right: half of the coordinates are off by 8 / sqrt(40 * 44).
    off = perfect()
    off[0, GOOD, 5::2] += 1
    expected = 2 * 4 / math.sqrt(40 * 44)
    assert loss_of(padded(FACE), off) == pytest.approx(expected, abs=1e-3)
    unknown = FACE.copy()
    unknown[KNOWN] = 0
    assert loss_of(padded(unknown), off) == pytest.approx(0, abs=1e-4)
    # A sure false answer far away: (1 - 0)^2 * 20 over the four cells' weight.
    false = perfect()
    false[0, -1, 0] = 20
    assert loss_of(padded(FACE), false) == pytest.approx(20 / 4, rel=1e-3)


def test_nothing_is_asked_of_a_face_that_is_not_judged() -> None:
    small = row([64, 64, 16, 16], NOT_JUDGED)
    inside = [i for i, (x, y, s) in enumerate(CELLS) if 64 <= x <= 80 and 64 <= y <= 80]
    beside = [i for i, (x, y, s) in enumerate(CELLS) if s == 8 and x > 80 and y > 80]
    answers = perfect()
    answers[0, inside, 0] = 5
    assert loss_of(padded(FACE), answers) > 1
    assert loss_of(padded(FACE, small), answers) == pytest.approx(0, abs=1e-4)
    answers[0, beside, 0] = 5
    assert loss_of(padded(FACE, small), answers) > 1
    # Nor of the cell of one so small that it lies between the middles of cells.
    answers = perfect()
    answers[0, CELLS.index((68.0, 68.0, 8)), 0] = 5
    for corner, asked in ((64, False), (71, True)):  # in the cell 64 to 72, and on its edge
        loss = loss_of(padded(FACE, row([corner, corner, 3, 3], NOT_JUDGED)), answers)
        assert loss > 1 if asked else loss == pytest.approx(0, abs=1e-4)


def test_gradients_are_finite_with_and_without_faces() -> None:
    import tensorflow as tf

    from ferlite.training.faces.loss import FaceLoss

    wild = np.random.default_rng(5).normal(0, 30, (1, len(CELLS), 15)).astype(np.float32)
    for truth in (padded(), padded(FACE, row([3, 3, 0.1, 0.1]), row([5, 5, 9, 9], NOT_JUDGED))):
        for start in (wild, np.zeros_like(wild)):
            answers = tf.Variable(start)
            with tf.GradientTape() as tape:
                loss = FaceLoss(SIZE)(truth, answers)
            slope = tape.gradient(loss, answers).numpy()
            assert np.isfinite(float(loss)) and np.isfinite(slope).all()
            # A face-free picture teaches scores, and nothing of boxes.
            assert slope[..., 0].any() and slope[..., 1:].any() == truth.any()


def test_network_has_the_shape_that_the_runtime_expects() -> None:
    from ferlite.training.faces.network import ferlite_face, flattened

    model = ferlite_face()
    assert model.count_params() == 188_621 <= 200_000
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 187_085
    assert model.input_shape == (None, None, None, 3) and model.input.dtype == "uint8"
    assert model.output_names == ["stride8", "stride16", "stride32"]
    picture = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    maps = [np.asarray(level) for level in model(picture)]
    assert [level.shape for level in maps] == [(2, 8, 12, 15), (2, 4, 6, 15), (2, 2, 3, 15)]
    # The cells of the loss are those of the maps, row by row.
    fixed = ferlite_face(64)
    fixed.set_weights(model.get_weights())
    square = picture[:, :, :64]
    listed = np.asarray(flattened(fixed)(square))
    expected = [np.asarray(level).reshape(2, -1, 15) for level in model(square)]
    np.testing.assert_allclose(listed, np.concatenate(expected, axis=1), atol=1e-5)
    # What the loss takes is not rounded, whatever the layers before compute in.
    import keras

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert flattened(ferlite_face(64)).outputs[0].dtype == "float32"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    # Untrained, every cell says that a face is unlikely.
    for name in model.output_names:
        bias = np.asarray(model.get_layer(name).bias)
        assert 1 / (1 + math.exp(-bias[0])) == pytest.approx(0.01) and not bias[1:].any()


@pytest.mark.parametrize(("height", "width"), [(50, 64), (64, 72)])
def test_sides_that_32_does_not_divide_are_refused(height: int, width: int) -> None:
    from ferlite.training.faces.network import ferlite_face

    with pytest.raises(Exception, match="hape"):
        ferlite_face()(np.zeros((1, height, width, 3), np.uint8))
