"""Average precision and landmark error against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ferlite.training.faces.metrics import (
    IOUS,
    average_precision,
    landmark_error,
    match,
    mean_average_precision,
    overlaps,
)

Floats = NDArray[np.float64]
A, B, C = [0, 0, 40, 40], [100, 0, 40, 40], [200, 0, 40, 40]
EMPTY: Any = []


def test_overlap_by_hand() -> None:
    # A box moved by half its width shares 1/3; one without area shares nothing, also with itself.
    assert overlaps([A], [[20, 0, 40, 40], B, [0, 0, 20, 20]])[0] == pytest.approx(
        [1 / 3, 0, 1 / 4]
    )
    assert overlaps([[5, 5, 0, 0], [5, 5, -1, 4]], [A, [5, 5, 0, 0]]).tolist() == [[0, 0], [0, 0]]
    assert overlaps(EMPTY, [A]).shape == (0, 1)


def test_average_precision_by_hand() -> None:
    """Three faces; right, wrong, right, never found: 1/3 at precision 1, 1/3 at 2/3."""
    found = [([A, [500, 0, 40, 40]], [0.9, 0.8]), ([A], [0.7])]
    curve = average_precision(found, [[A, B], [A]])
    assert curve.average == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert curve.scores.tolist() == [0.9, 0.8, 0.7] and curve.n == 3
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3])


def test_precision_is_made_falling_first() -> None:
    """A false one before both faces: precision 0, 1/2, 2/3 counts as 2/3 throughout."""
    found = [([[500, 0, 9, 9], A, B], [0.9, 0.8, 0.7])]
    assert average_precision(found, [[A, B]]).average == pytest.approx(2 / 3)


def test_a_face_is_found_once() -> None:
    """The second box on a face is false, and comes after: 1/2 at 1, 1/2 at 2/3."""
    close = [2, 0, 40, 40]
    found = [([A, close, B], [0.9, 0.8, 0.7])]
    assert average_precision(found, [[A, B]]).average == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_each_takes_the_face_it_overlaps_most() -> None:
    left, right = [0, 0, 40, 40], [10, 0, 40, 40]
    # Both faces are in reach of both boxes; the better score chooses first.
    assert match([[8, 0, 40, 40], [9, 0, 40, 40]], [0.5, 0.9], [left, right]).tolist() == [0, 1]
    assert match([[8, 0, 40, 40]], [0.5], [left, right], iou=0.95).tolist() == [-1]
    assert match(EMPTY, EMPTY, [left]).tolist() == [] and match([left], [1], EMPTY).tolist() == [-1]


def test_detections_of_one_score_enter_together() -> None:
    """One right and one wrong, equally sure, in whatever order: half of the faces at 1/2."""
    for boxes in ([A, C], [C, A]):
        curve = average_precision([(boxes, [0.5, 0.5])], [[A, B]])
        assert curve.average == pytest.approx(1 / 2 * 1 / 2) and len(curve.scores) == 1


def test_small_faces_and_what_lies_on_them() -> None:
    """Faces of 40 and 30 pixels, judged from 40: the small one need not be found, and ..."""
    small = [100, 0, 30, 30]
    truth = [[A, small]]

    def ap(box: list[int]) -> tuple[float, int]:
        curve = average_precision([([box, A], [0.9, 0.5])], truth, min_side=40)
        return curve.average, curve.n

    assert ap([100, 0, 20, 27]) == (1.0, 1)  # ... lower than 0.7 of 40: left out
    assert ap([100, 0, 30, 30]) == (0.5, 1)  # ... 30 of 40: false, as the known table counts it
    assert ap([100, 0, 30, 28]) == (0.5, 1)  # the limit itself
    # As COCO counts it, where the small face is told to be ignored.
    ignore = [[False, True]]
    found = [([[100, 0, 30, 30], A], [0.9, 0.5])]
    assert average_precision(found, truth, ignore, min_side=40).average == 1
    # A lower box on a face that counts is right all the same.
    assert (
        average_precision([([[0, 0, 60, 27]], [0.9])], [[[0, 0, 60, 40]]], min_side=40).average == 1
    )


def test_ignored_faces_cost_nothing() -> None:
    found = [([A, B, B], [0.9, 0.8, 0.7])]
    curve = average_precision(found, [[A, B]], [[False, True]])
    assert (curve.average, curve.n) == (1.0, 1) and curve.scores.tolist() == [0.9]
    assert average_precision(found, [[A, B]], [[False, False]]).n == 2


def test_nothing_found_and_nothing_to_find() -> None:
    assert average_precision([(EMPTY, EMPTY)], [[A]]).average == 0
    assert np.isnan(average_precision([([A], [1.0])], [EMPTY]).average)
    with pytest.raises(ValueError, match="longer"):
        average_precision([], [[A]])


def test_mean_over_overlaps_by_hand() -> None:
    """A box of 80 % of the face is right at 0.5 to 0.8: 7 of 10."""
    assert len(IOUS) == 10 and IOUS[0] == 0.5 and IOUS[-1] == 0.95
    found = [([[0, 0, 32, 40]], [0.5])]
    assert mean_average_precision(found, [[A]]) == pytest.approx(0.7)


def test_landmark_error_by_hand() -> None:
    face = np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]], float)
    off = face + np.array([3, 4])  # by 5 pixels, half the distance of the eyes
    turned = face[[0, 0, 2, 3, 4]]  # both eyes on one point
    assert landmark_error([off, face], [face, face]).tolist() == [0.5, 0]
    assert landmark_error([off], [face], [20]).tolist() == [0.25]
    assert np.isnan(landmark_error([off], [turned])).all()
    assert landmark_error(np.zeros((0, 5, 2)), np.zeros((0, 5, 2))).shape == (0,)


def naive(found: Any, truth: Any, iou: float) -> float:
    """AP from its definition: a loop over all thresholds, the matching anew for each."""
    n = sum(len(faces) for faces in truth)
    points = []
    for limit in sorted({s for _, scores in found for s in scores}, reverse=True):
        right = total = 0
        for (boxes, scores), faces in zip(found, truth, strict=True):
            kept = [i for i, s in enumerate(scores) if s >= limit]
            taken = match([boxes[i] for i in kept], [scores[i] for i in kept], faces, iou)
            right, total = right + int((taken >= 0).sum()), total + len(kept)
        points.append((right / n, right / total))
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[i:])
        before = recall
    return area


box = st.tuples(
    st.integers(0, 60), st.integers(0, 60), st.integers(10, 60), st.integers(10, 60)
).map(list)
score = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]) | st.floats(0.01, 1)
picture = st.tuples(
    st.lists(st.tuples(box, score), max_size=6), st.lists(box, max_size=4, unique_by=tuple)
)
pictures = st.lists(picture, min_size=1, max_size=4).filter(lambda all_: any(t for _, t in all_))


def split(case: Any) -> tuple[Any, Any]:
    found = [([b for b, _ in answers], [s for _, s in answers]) for answers, _ in case]
    return found, [truth for _, truth in case]


@settings(deadline=None)
@given(pictures, st.sampled_from([0.3, 0.5, 0.75]))
def test_agrees_with_the_definition(case: Any, iou: float) -> None:
    found, truth = split(case)
    assert average_precision(found, truth, iou=iou).average == pytest.approx(
        naive(found, truth, iou)
    )


@settings(deadline=None)
@given(pictures, st.randoms(use_true_random=False))
def test_order_decides_nothing(case: Any, random: Any) -> None:
    found, truth = split(case)
    before = average_precision(found, truth, min_side=20)
    case = [(random.sample(answers, len(answers)), faces) for answers, faces in case]
    random.shuffle(case)
    after = average_precision(*split(case), min_side=20)
    assert after.n == before.n
    np.testing.assert_allclose(after.average, before.average)


@settings(deadline=None)
@given(pictures, st.integers(0, 50))
def test_perfect_answers_and_bounds(case: Any, side: int) -> None:
    found, truth = split(case)
    curve = average_precision(found, truth, min_side=side)
    if curve.n:
        assert 0 <= curve.average <= curve.recall.max(initial=0) <= 1
        perfect = [(faces, [0.5] * len(faces)) for faces in truth]
        assert average_precision(perfect, truth).average == pytest.approx(1)
        assert mean_average_precision(perfect, truth) == pytest.approx(1)


@settings(deadline=None)
@given(pictures)
def test_a_sure_false_one_never_helps_and_an_unsure_one_never_hurts(case: Any) -> None:
    found, truth = split(case)
    before = average_precision(found, truth).average
    far = [1000, 1000, 50, 50]

    def beside(value: float) -> float:
        more = [([*found[0][0], far], [*found[0][1], value]), *found[1:]]
        return average_precision(more, truth).average

    assert beside(2.0) <= before + 1e-12
    assert beside(-1.0) == pytest.approx(before)
