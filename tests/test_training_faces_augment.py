"""Random views of photographs: boxes and landmarks must follow the pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ferlite.training.faces.augment import FaceAugmentation, augmented
from ferlite.training.faces.data import FaceData, Faces
from ferlite.training.faces.targets import (
    COLUMNS,
    CONFIDENCE,
    KNOWN,
    NOT_JUDGED,
    PLACE,
    POINTS,
    SIZE,
    moved,
    shown,
    target_rows,
)

SIDE, MOST = 160, 20
# Nothing that changes colours or covers landmarks: what is painted must be found again.
PLAIN = FaceAugmentation(
    mosaic_probability=0,
    paste_probability=0,
    light_probability=0,
    gray_probability=0,
    blur_probability=0,
    noise_probability=0,
    compress_probability=0,
    occlude_probability=0,
    distract_probability=0,
    face_min=50,
    face_max_share=0.9,
)
PROBABILITIES = [name for name in vars(PLAIN) if name.endswith("probability")]
CHANGES = sorted({*PROBABILITIES} - {"mosaic_probability", "paste_probability"})
# BGR. Right eye, left eye, nose, mouth corners, as they lie in the picture.
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)
FACE_GRAY, BACKGROUND = 200, 90
DOTS = np.array([[70, 70], [110, 70], [90, 95], [74, 120], [106, 120]], np.float32)


def known(boxes: Any, scores: Any, points: Any) -> Faces:
    box, score = np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
    landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
    return Faces(box, score, score, landmarks, box[:0])


def data_of(images: list[NDArray[np.uint8]], faces: list[Faces]) -> FaceData:
    return FaceData("train", tuple(map(str, range(len(images)))), tuple(images), tuple(faces))


@pytest.fixture(scope="module")
def dots() -> FaceData:
    """A light ellipse that fills its box, with a coloured dot at each landmark."""
    image = np.full((200, 180, 3), BACKGROUND, np.uint8)
    box = (50, 40, 80, 100)
    middle, half = (box[0] + box[2] // 2, box[1] + box[3] // 2), (box[2] // 2, box[3] // 2)
    cv2.ellipse(image, middle, half, 0, 0, 360, (FACE_GRAY,) * 3, -1)
    for (x, y), colour in zip(DOTS.astype(int), COLOURS, strict=True):
        image[y - 4 : y + 4, x - 4 : x + 4] = colour  # its middle is the corner (x, y) of a pixel
    return data_of([image], [known([box], [0.9], [DOTS])])


def dot_at(view: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Middle of the pixels of that colour, in pixels; None where the view does not show all."""
    near = np.asarray((np.abs(view.astype(int) - colour) < 70).all(axis=2), bool)
    if near.sum() < 4 or near[[0, -1]].any() or near[:, [0, -1]].any():
        return None
    middle: NDArray[np.float64] = np.argwhere(near)[:, ::-1].mean(axis=0) + 0.5
    return middle


def test_landmarks_follow_the_pixels(dots: FaceData) -> None:
    """Enlarged, shrunk, turned and mirrored; the mirror swaps the names of left and right."""
    options = replace(PLAIN, rotation_probability=0.6)
    distances, mirrored, turned = [], 0, 0
    for seed in range(60):
        view, rows = augmented(dots, 0, SIDE, MOST, options, np.random.default_rng(seed))
        points = rows[0, POINTS].reshape(5, 2)
        found = [dot_at(view, colour) for colour in COLOURS]
        if any(spot is None for spot in found):
            continue
        spots = np.array(found)
        # By colour the blue dot is the right eye; in a mirrored view it lies on the right side.
        is_mirrored = np.linalg.det([spots[1] - spots[0], spots[2] - spots[0]]) < 0
        mirrored += is_mirrored
        turned += abs(points[1, 1] - points[0, 1]) > 3
        order = [1, 0, 2, 4, 3] if is_mirrored else [0, 1, 2, 3, 4]
        distances.append(np.abs(points - spots[order]).max())
        # In every view the right eye is the one further left.
        assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]
    assert len(distances) > 25 and 5 < mirrored < len(distances) - 5 and turned > 5
    assert max(distances) < 0.6


def test_boxes_follow_the_pixels(dots: FaceData) -> None:
    options = replace(PLAIN, rotation_probability=0.6, face_max_share=0.6)
    wide = replace(dots, images=(np.full((200, 180, 3), BACKGROUND, np.uint8),))
    cv2.ellipse(wide.images[0], (90, 90), (40, 50), 0, 0, 360, (FACE_GRAY,) * 3, -1)
    errors = []
    for seed in range(60):
        view, rows = augmented(wide, 0, SIDE, MOST, options, np.random.default_rng(seed))
        light = np.argwhere(view.min(axis=2) > (FACE_GRAY + BACKGROUND) / 2)[:, ::-1]
        low, high = light.min(axis=0), light.max(axis=0) + 1
        if low.min() == 0 or high.max() == SIDE:
            continue
        box = rows[0, :4]
        errors.append(np.abs([box[PLACE] - low, box[PLACE] + box[SIZE] - high]).max())
        assert rows[0, CONFIDENCE] == 1 and rows[0, KNOWN] == 1 and not rows[1:].any()
    # A background of random grey can be light too, hence not all of them.
    assert len(errors) > 25 and np.quantile(errors, 0.9) < 1.3


def test_a_mosaic_and_a_pasted_face_keep_their_landmarks(dots: FaceData) -> None:
    mosaic = replace(PLAIN, mosaic_probability=1, rotation_probability=0)
    pasted = replace(PLAIN, paste_probability=1)
    free = np.full((200, 180, 3), BACKGROUND, np.uint8)
    pair = data_of([free, dots.images[0]], [known([], [], []), dots.faces[0]])
    for data, options, side in ((dots, mosaic, 384), (pair, pasted, 256)):
        right = wrong = 0
        for seed in range(30):
            view, rows = augmented(data, 0, side, MOST, options, np.random.default_rng(seed))
            # The nose is red, wherever its face went, and whichever way it looks.
            for row in rows[rows[:, CONFIDENCE] > 0]:
                x, y = row[POINTS].reshape(5, 2)[2].astype(int)
                if 0 <= x < side and 0 <= y < side:
                    blue, green, red = view[y, x].astype(int)
                    hit = red - max(blue, green) > 40
                    right, wrong = right + hit, wrong + (not hit)
        assert right > 8 and not wrong


def test_a_seed_decides_everything(dots: FaceData, portraits: dict[str, Any]) -> None:
    images = [dots.images[0], portraits["astronaut"][:300, :300]]
    data = data_of(images, [dots.faces[0], known([], [], [])])
    every = FaceAugmentation(**dict.fromkeys(PROBABILITIES, 0.5))
    views, again, others = (
        [
            augmented(data, i % 2, 96, MOST, every, np.random.default_rng((seed, i)))
            for i in range(12)
        ]
        for seed in (1, 1, 2)
    )
    for (view, rows), (same, same_rows), (other, _) in zip(views, again, others, strict=True):
        np.testing.assert_array_equal(view, same)
        np.testing.assert_array_equal(rows, same_rows)
        assert (view != other).any()
        assert view.shape == (96, 96, 3) and view.dtype == np.uint8
        assert rows.shape == (MOST, COLUMNS) and rows.dtype == np.float32
        assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", CHANGES)
def test_each_kind_of_change_happens(
    dots: FaceData, portraits: dict[str, NDArray[np.uint8]], name: str
) -> None:
    """With the probability 1 the view is another than with 0, from the same seed."""
    images = [portraits["astronaut"][:300, :300], dots.images[0]]
    data = data_of(images, [known([[176, 68, 98, 118]], [0.9], [DOTS]), dots.faces[0]])
    changed = 0
    for seed in range(8):
        still, moving = (
            augmented(data, 0, 96, MOST, replace(PLAIN, **{name: p}), np.random.default_rng(seed))
            for p in (0.0, 1.0)
        )
        changed += bool((still[0] != moving[0]).any())
    assert changed >= 3


def test_too_small_or_cut_too_much_is_not_judged() -> None:
    boxes = [
        [10, 10, 20, 20],  # inside
        [-9, 10, 20, 20],  # 55 % visible
        [-11, 10, 20, 20],  # 45 %
        [90, -15, 20, 20],  # 10 * 5 of 400: 12 %
        [10, 60, 6.9, 5],  # smaller than 7
        [10, 60, 7.1, 5],
        [200, 10, 20, 20],  # outside
        [-19.7, 10, 20, 20],  # 1.5 %: as good as outside
    ]
    faces = known(boxes, [0.9] * 8, np.zeros((8, 5, 2)))
    rows = shown(target_rows(faces), (100, 100), smallest=7, least_visible=0.5)
    assert rows[:, :4].tolist() == np.array(boxes[:6], np.float32).tolist()
    assert rows[:, CONFIDENCE].tolist() == [1, 1, NOT_JUDGED, NOT_JUDGED, NOT_JUDGED, 1]


def test_rows_of_a_photograph() -> None:
    """Certain from a score of 0.75; a face without landmarks says so."""
    points = np.stack([DOTS, np.full((5, 2), np.nan)])
    rows = target_rows(known([[1, 2, 3, 4], [5, 6, 7, 8]], [0.9, 0.3], points))
    assert rows[:, CONFIDENCE] == pytest.approx([1, 0.4]) and rows[:, KNOWN].tolist() == [1, 0]
    assert rows[0, POINTS].tolist() == DOTS.ravel().tolist() and not rows[1, POINTS].any()
    assert target_rows(known([], [], [])).shape == (0, COLUMNS)


def test_a_turned_box_is_the_box_around_the_turned_ellipse() -> None:
    """By 90 degrees width and height change places; by 45 the ellipse is narrower than the box."""
    rows = target_rows(known([[-30, -10, 60, 20]], [0.9], [DOTS]))
    quarter = moved(rows, np.array([[0.0, -1, 5], [1, 0, 7]]))
    assert quarter[0, :4] == pytest.approx([-5, -23, 20, 60])
    assert quarter[0, POINTS].reshape(5, 2) == pytest.approx(
        np.column_stack([5 - DOTS[:, 1], 7 + DOTS[:, 0]])
    )
    c = np.sqrt(0.5)
    turned = moved(rows, np.array([[c, -c, 0], [c, c, 0]]))
    angle = np.linspace(0, 2 * np.pi, 2000)
    outline = c * (30 * np.cos(angle) - 10 * np.sin(angle))
    assert turned[0, SIZE] == pytest.approx([2 * outline.max()] * 2, abs=1e-3)


def test_faces_beyond_the_most_are_painted_over() -> None:
    """Twelve faces, room for four: the largest stay, the others are no longer there to be found."""
    image = np.full((256, 256, 3), BACKGROUND, np.uint8)
    boxes = [[5 + 62 * (i % 4), 5 + 80 * (i // 4), 16 + 2 * i, 16 + 2 * i] for i in range(12)]
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = (0, 0, 255)
    data = data_of([image], [known(boxes, [0.9] * 12, np.zeros((12, 5, 2)))])
    options = replace(PLAIN, rotation_probability=0)  # the box around a turned ellipse cuts corners
    for seed in range(10):
        view, rows = augmented(data, 0, 256, 4, options, np.random.default_rng(seed))
        red = view[..., 2].astype(int) - view[..., 0] > 200
        for x, y, w, h in rows[rows[:, SIZE].min(axis=1) > 0, :4]:
            x0, y0 = max(0, int(x) - 2), max(0, int(y) - 2)
            red[y0 : int(y + h) + 3, x0 : int(x + w) + 3] = False
        assert rows.shape == (4, COLUMNS) and red.sum() < 0.002 * red.size
