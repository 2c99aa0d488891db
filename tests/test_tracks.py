from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ferlite.errors import UsageError
from ferlite.tracks import Tracker, TrackOptions, assign, match

DT = 1 / 25


def box(x: float, y: float = 100, size: float = 80) -> list[float]:
    return [x, y, size, size]


@settings(max_examples=300, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(0, 5), st.integers(0, 5)),
        elements=st.sampled_from([0.0, 0.25, 1.0, 2.5, 1e6]),
    )
)
def test_assignment_is_optimal(cost: np.ndarray) -> None:
    pairs = assign(cost)
    rows, columns = cost.shape
    assert len(pairs) == min(rows, columns)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    wide = cost if rows <= columns else cost.T
    best = min(
        (
            sum(wide[row, column] for row, column in enumerate(order))
            for order in itertools.permutations(range(wide.shape[1]), wide.shape[0])
        ),
        default=0.0,
    )
    assert sum(cost[pair] for pair in pairs) == pytest.approx(best)


@settings(max_examples=300, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(0, 12), st.integers(0, 12)),
        # Mostly impossible, so that there are groups.
        elements=st.sampled_from([np.inf] * 6 + [0.0, 0.25, 0.5, 1.0, 1.5]),
    )
)
def test_matching_is_the_best_assignment_of_possible_pairs(cost: np.ndarray) -> None:
    rows, columns = np.nonzero(np.isfinite(cost))
    found = match(rows, columns, cost[rows, columns])
    assert np.isfinite(cost[found]).all()
    assert len(set(found[0])) == len(set(found[1])) == len(found[0])
    whole = np.where(np.isfinite(cost), cost, 1e6)
    best = [pair for pair in assign(whole) if whole[pair] < 1e6]
    assert len(found[0]) == len(best)
    assert cost[found].sum() == pytest.approx(sum(cost[pair] for pair in best))


def test_faces_keep_their_numbers_in_any_order() -> None:
    tracker = Tracker()
    draw = np.random.default_rng(3)
    places = np.array([box(100), box(300), box(500), box(320, 300)], float)
    for i in range(60):
        order = draw.permutation(4)
        jitter = draw.normal(0, 2, (4, 4))
        numbers = tracker.update(i * DT, (places + jitter)[order])
        if i == 0:
            first = dict(zip(order.tolist(), numbers, strict=True))
            assert sorted(numbers) == [1, 2, 3, 4]
        assert numbers == [first[k] for k in order.tolist()]


def test_crossing_faces_keep_their_numbers() -> None:
    """Two faces walk through each other; position alone would swap or stop them."""
    tracker = Tracker()
    for i in range(51):
        left, right = box(100 + 8 * i), box(500 - 8 * i, 110)
        assert tracker.update(i * DT, [left, right]) == [1, 2]


def test_a_row_of_faces_that_shifts_by_half_a_face() -> None:
    """The nearest box is often the neighbour's; only the best total joins all of them."""
    tracker = Tracker()
    row = np.array([box(100 * k, size=80) for k in range(5)], float)
    assert tracker.update(0.0, row) == [1, 2, 3, 4, 5]
    assert tracker.update(DT, row + np.array([52, 0, 0, 0])) == [1, 2, 3, 4, 5]


def test_a_missed_face_is_found_again_within_its_memory() -> None:
    tracker = Tracker(TrackOptions(memory_s=0.5))
    still, t = box(600, 300), 0.0
    for i in range(20):
        t = i * DT
        assert tracker.update(t, [box(100 + 4 * i), still]) == [1, 2]
    # It moves on unseen for 0.4 s, which is 40 pixels of an 80-pixel face.
    for k in range(1, 10):
        assert tracker.update(t + k * DT, [still]) == [2]
    assert tracker.update(t + 10 * DT, [box(100 + 4 * 29), still]) == [1, 2]


def test_a_face_missed_for_longer_is_a_new_one() -> None:
    tracker = Tracker(TrackOptions(memory_s=0.5))
    tracker.update(0.0, [box(100), box(500)])
    for k in range(1, 16):
        assert tracker.update(k * DT, [box(500)]) == [2]
    assert len(tracker) == 1
    assert tracker.update(16 * DT, [box(100), box(500)]) == [3, 2]


def test_few_frames_a_second_do_not_break_tracks() -> None:
    tracker = Tracker(TrackOptions(memory_s=0.5))
    assert [tracker.update(float(t), [box(100 + t)]) for t in range(5)] == [[1]] * 5
    assert tracker.update(60.0, [box(104)]) == [2]


@pytest.mark.parametrize("memory_s", [0.0, 0.005])
def test_without_memory_a_face_in_every_frame_stays_itself(memory_s: float) -> None:
    tracker = Tracker(TrackOptions(memory_s=memory_s))
    assert [tracker.update(i * DT, [box(100)]) for i in range(5)] == [[1]] * 5
    tracker.update(5 * DT, [])
    assert tracker.update(6 * DT, [box(100)]) == [2]


def test_another_resolution_of_the_same_view_keeps_faces() -> None:
    tracker = Tracker()
    for i in range(5):
        numbers = tracker.update(i * DT, [box(300 + 20 * i), box(500 + 20 * i)])
    assert numbers == [1, 2]
    tracker.rescale(2 / 3, 2 / 3)  # 960x540 to 640x360: one stands where the other stood
    smaller = [[coordinate * 2 / 3 for coordinate in box(x)] for x in (400, 600)]
    assert tracker.update(5 * DT, smaller) == [1, 2]
    tracker.rescale(2 / 3, 1.5)  # turned upright: what is where is not known
    assert tracker.update(6 * DT, smaller) == [3, 4]


def test_variable_frame_rate_follows_time_not_frames() -> None:
    tracker = Tracker()
    draw = np.random.default_rng(5)
    t = 0.0
    for _ in range(100):
        assert tracker.update(t, [box(100 + 200 * t), box(100 + 200 * t, 300)]) == [1, 2]
        t += float(draw.choice([0.01, 0.04, 0.15, 0.3]))


def test_a_jump_or_another_size_is_another_face() -> None:
    tracker = Tracker()
    tracker.update(0.0, [box(100)])
    assert tracker.update(DT, [box(400)]) == [2]
    assert tracker.update(2 * DT, [[340, 40, 200, 200]]) == [3]


def test_two_boxes_on_one_face() -> None:
    tracker = Tracker()
    tracker.update(0.0, [box(100)])
    assert tracker.update(DT, [box(101), box(101)], [0.3, 0.9]) == [2, 1]


def test_time_that_goes_back_ends_the_tracks_without_reusing_numbers() -> None:
    tracker = Tracker()
    assert tracker.update(10.0, [box(100)]) == [1]
    assert tracker.update(0.0, [box(100)]) == [2]
    assert tracker.update(0.0, [box(100)]) == [2]  # the same time is no way back
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="time of a frame is"):
            tracker.update(wrong, [])


def test_no_faces_and_degenerate_boxes() -> None:
    tracker = Tracker()
    assert tracker.update(0.0, []) == []
    assert tracker.update(DT, np.zeros((0, 4), np.float32), np.zeros(0)) == []
    assert tracker.update(2 * DT, [[5, 5, 0, 0], [1e6, -1e6, 1e-9, 4000]]) == [1, 2]
    assert tracker.update(3 * DT, [[5, 5, 0, 0]]) == [1]


def test_smoothing_is_exponential_in_time() -> None:
    """One second at any frame rate gives the same: 1 - 1/e of the step for a constant of 1 s."""
    before = np.array([[1, 0, 0]], np.float32)
    after = np.array([[0, 1, 0]], np.float32)
    for rate in (5, 25, 60):
        tracker = Tracker(TrackOptions(smoothing_s=1.0))
        numbers = tracker.update(0.0, [box(100)])
        np.testing.assert_array_equal(tracker.smooth(0.0, numbers, before), before)
        for i in range(1, rate + 1):
            numbers = tracker.update(i / rate, [box(100)])
            found = tracker.smooth(i / rate, numbers, after)
        assert found[0, 1] == pytest.approx(1 - np.exp(-1), abs=1e-4)
        assert found.sum() == pytest.approx(1, abs=1e-6)


def test_smoothing_belongs_to_the_track() -> None:
    tracker = Tracker(TrackOptions(smoothing_s=0.5))
    rows = np.eye(2, dtype=np.float32)
    tracker.smooth(0.0, tracker.update(0.0, [box(100), box(500)]), rows)
    numbers = tracker.update(DT, [box(500), box(100), box(900)])
    assert numbers == [2, 1, 3]
    rows = np.array([[0, 1], [1, 0], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(tracker.smooth(DT, numbers, rows), rows, atol=1e-6)


def test_no_smoothing_and_untouched_input() -> None:
    tracker = Tracker(TrackOptions(smoothing_s=0))
    first, second = np.eye(2, dtype=np.float32)
    for i, row in enumerate((first, second)):
        given_row = row[None].copy()
        found = tracker.smooth(i * DT, tracker.update(i * DT, [box(100)]), given_row)
        np.testing.assert_array_equal(found, row[None])
        found[:] = 7
        np.testing.assert_array_equal(given_row, row[None])


def test_smoothing_begins_anew_with_other_labels() -> None:
    tracker = Tracker()
    tracker.smooth(0.0, tracker.update(0.0, [box(100)]), np.eye(3, dtype=np.float32)[:1])
    row = np.array([[0.25, 0.75]], np.float32)
    found = tracker.smooth(DT, tracker.update(DT, [box(100)]), row)
    np.testing.assert_array_equal(found, row)


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="memory_s is -1"):
        TrackOptions(memory_s=-1)
    with pytest.raises(UsageError, match="smoothing_s is nan"):
        TrackOptions(smoothing_s=float("nan"))


def test_memory_stays_bounded_and_64_faces_are_quick() -> None:
    tracker = Tracker()
    draw = np.random.default_rng(1)
    start = time.process_time()
    for i in range(100):
        faces = np.column_stack([draw.uniform(0, 1900, (64, 2)), np.full((64, 2), 60)])
        tracker.update(i * DT, faces, draw.random(64))
    spent = (time.process_time() - start) / 100
    # Nothing is where it was: tracks end after 0.5 s, 13 frames of 64.
    assert len(tracker) <= 64 * 14
    assert spent < 0.02


def test_a_crowd_of_1000_faces() -> None:
    """Measured: 13 ms a frame."""
    tracker = Tracker()
    draw = np.random.default_rng(2)
    places = np.stack(np.meshgrid(np.arange(40) * 48, np.arange(25) * 43), axis=-1).reshape(-1, 2)
    known: dict[int, int] = {}
    start = time.process_time()
    for i in range(10):
        order = draw.permutation(1000)
        corners = (places + draw.normal(0, 1, (1000, 2)))[order]
        numbers = tracker.update(i * DT, np.hstack([corners, np.full((1000, 2), 40.0)]))
        assert len(set(numbers)) == 1000
        found = dict(zip(order.tolist(), numbers, strict=True))
        assert found == (known or found)
        known = found
        tracker.smooth(i * DT, numbers, np.full((1000, 8), 0.125, np.float32))
    assert (time.process_time() - start) / 10 < 0.2


def test_a_stamp_that_is_a_little_early_ends_nothing() -> None:
    tracker = Tracker(TrackOptions(smoothing_s=0.5))
    happy, sad = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    shares = []
    for t in (0.0, 0.04, 0.08, 0.079, 0.12, 0.119, 0.16):
        (number,) = tracker.update(t, [box(10)])
        assert number == 1
        shares.append(tracker.smooth(t, [number], sad if t else happy)[0, 1])
    assert all(a <= b for a, b in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(1 - np.exp(-0.16 / 0.5), abs=1e-6)
    # A second back is a clock that started anew.
    assert tracker.update(-0.9, [box(10)]) == [2]


def test_a_face_that_left_fast_is_not_looked_for_far_away() -> None:
    tracker = Tracker(TrackOptions(memory_s=0.5))
    for i in range(20):
        tracker.update(i * DT, [box(100 + 8 * i), box(900)])
    for i in range(20, 31):
        tracker.update(i * DT, [box(900)])
    # It had only stopped behind something.
    assert tracker.update(31 * DT, [box(100 + 8 * 19), box(900)]) == [1, 2]


def test_one_unsteady_box_is_no_speed() -> None:
    tracker = Tracker()
    for i in range(11):
        tracker.update(i * DT, [box(120 if i == 10 else 100), box(900)])
    for i in range(11, 16):
        tracker.update(i * DT, [box(900)])
    assert tracker.update(16 * DT, [box(100), box(900)]) == [1, 2]


def test_a_face_that_comes_closer_stays_itself() -> None:
    tracker = Tracker()
    for i in range(60):
        side = 40 + 2 * i
        near = [300 - side / 2, 300 - side / 2, side, side]
        assert tracker.update(i * DT, [near]) == [1]


@pytest.mark.parametrize(("x", "number"), [(148, 1), (180, 2)])
def test_how_far_a_new_face_may_move(x: float, number: int) -> None:
    tracker = Tracker()
    tracker.update(0.0, [box(100)])
    assert tracker.update(DT, [box(x)]) == [number]


def test_a_face_of_less_than_half_the_size_is_another() -> None:
    tracker = Tracker()
    tracker.update(0.0, [[40, 40, 200, 200]])
    assert tracker.update(DT, [[100, 100, 80, 80]]) == [2]


def test_the_box_that_overlaps_more_is_the_same_face() -> None:
    tracker = Tracker()
    tracker.update(0.0, [box(100)])
    assert tracker.update(DT, [[90, 70, 140, 140], box(120)]) == [2, 1]
