"""nms and decode_boxes against the reference and hostile arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crop_reference as reference
import numpy as np
import pytest

from ferlite import _core, crops
from ferlite.errors import UsageError

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module", autouse=True, params=_core.instruction_sets())
def each_instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for every instruction set that this machine has."""
    before = _core.instruction_set()
    _core.use_instruction_set(request.param)
    yield
    _core.use_instruction_set(before)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 1.0])
def test_nms_matches_the_reference(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 80))
    boxes = np.concatenate([rng.uniform(0, 60, (n, 2)), rng.uniform(-1, 30, (n, 2))], axis=1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 0)  # some without area
    boxes = boxes.astype(np.float32)
    scores = rng.integers(0, 20, n).astype(np.float32) / 20  # many equal ones
    kept = crops.nms(boxes, scores, threshold)
    assert kept.dtype == np.int64
    assert kept.tolist() == reference.nms(boxes.astype(float), scores, threshold)
    assert crops.nms(boxes, scores, threshold, limit=3).tolist() == kept[:3].tolist()


def test_nms_edges() -> None:
    same = [[5, 5, 10, 10]] * 4
    assert crops.nms(same, [0.1, 0.9, 0.9, 0.2]).tolist() == [1]
    assert crops.nms(same, [0.1, 0.9, 0.9, 0.2], 1.0).tolist() == [1, 2, 3, 0]
    assert crops.nms([], []).shape == (0,)
    assert crops.nms(same, [1, 1, 1, 1], limit=0).shape == (0,)
    huge = [[-3e38, -3e38, 3e38, 3e38], [-3e38, -3e38, 3e38, 3e38], [0, 0, 3e38, 3e38]]
    assert crops.nms(huge, [0.5, 0.6, 0.4]).tolist() == [1, 2]
    assert crops.nms(same, [INF, -INF, 0, 1]).tolist() == [0]


@pytest.mark.parametrize(
    ("boxes", "scores", "options", "named"),
    [
        ([[0, 0, 1]], [1], {}, r"boxes has shape \(1, 3\)"),
        ([[0, 0, 1, NAN]], [1], {}, r"boxes\[0\] is \(0, 0, 1, nan\)"),
        ([[0, 0, 1, 1]], [1, 2], {}, r"scores has shape \(2,\); there are 1 boxes"),
        ([[0, 0, 1, 1], [0, 0, 1, 1]], [1, NAN], {}, r"scores\[1\] is nan"),
        ([[0, 0, 1, 1]], [1], {"iou": 1.5}, "iou is 1.5"),
        ([[0, 0, 1, 1]], [1], {"iou": NAN}, "iou is nan"),
        ([[0, 0, 1, 1]], [1], {"iou": "a"}, "iou is 'a'"),
        ([[0, 0, 1, 1]], [1], {"limit": -1}, "limit is -1"),
        ([[0, 0, 1, 1]], [1], {"limit": 1.5}, "limit is 1.5"),
    ],
)
def test_nms_names_a_wrong_argument(
    boxes: Any, scores: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        crops.nms(boxes, scores, **options)


def random_maps(rng: np.random.Generator, strides: tuple[int, ...], points: int) -> list[Any]:
    """What a network might answer for an input of 64 x 40."""
    maps = [rng.normal(0, 2, (5 + 2 * points, 40 // s, 64 // s)) for s in strides]
    return [array.astype(np.float32) for array in maps]


@pytest.mark.parametrize("points", [0, 1, 5])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_decode_matches_the_reference(points: int, threshold: float) -> None:
    rng = np.random.default_rng(points)
    strides, zoom, shift = (4, 8, 16), 0.5, np.array([3, 7])
    maps = random_maps(rng, strides, points)
    maps[0][1, 2, 3] = 11.0  # held to 8
    boxes, scores, landmarks = crops.decode_boxes(
        maps, strides, threshold=threshold, scale=zoom, offset=(3, 7)
    )
    want_boxes, want_scores, want_landmarks = [], [], []
    for array, stride in zip(maps, strides, strict=True):
        for row, column in np.ndindex(array.shape[1:]):
            cell = array[:, row, column].astype(float)
            score = 1 / (1 + np.exp(-cell[0]))
            if score < threshold:
                continue
            centre = (np.array([column, row]) + 0.5) * stride
            before, behind = np.exp(np.minimum(cell[1:5], 8)).reshape(2, 2) * stride
            corner, side = (centre - before - shift) / zoom, (before + behind) / zoom
            want_boxes.append([*corner, *side])
            want_scores.append(score)
            want_landmarks.append((centre + cell[5:].reshape(-1, 2) * stride - shift) / zoom)
    n = len(want_boxes)
    assert boxes.shape == (n, 4) and scores.shape == (n,) and landmarks.shape == (n, points, 2)
    assert boxes.dtype == scores.dtype == landmarks.dtype == np.float32
    assert (threshold == 1) == (n == 0)
    if n:
        np.testing.assert_allclose(boxes, want_boxes, rtol=1e-6, atol=1e-3)
        np.testing.assert_allclose(scores, want_scores, rtol=1e-6)
        np.testing.assert_allclose(landmarks, want_landmarks, rtol=1e-6, atol=1e-3)


def test_decode_finds_the_box_that_was_written() -> None:
    """The detector's contract at full size: one certain cell of a map of background."""
    maps = [np.full((15, 320 // s, 320 // s), -9.0, np.float32) for s in (8, 16, 32)]
    maps[1][:5, 4, 6] = [0.0, *np.log(np.array([1, 2, 3, 4]) / 16)]
    maps[1][5:, 4, 6] = 0.25
    boxes, scores, landmarks = crops.decode_boxes(maps, (8, 16, 32), threshold=0.5)
    np.testing.assert_allclose(boxes, [[103, 70, 4, 6]], rtol=1e-5)
    assert scores.tolist() == [0.5]
    assert landmarks.tolist() == [[[108.0, 76.0]] * 5]


def test_decode_reads_strided_maps() -> None:
    rng = np.random.default_rng(4)
    maps = random_maps(rng, (8, 16), 5)
    packed = crops.decode_boxes(maps, (8, 16), threshold=0.5)
    assert len(packed[0]) > 5
    by_cell = [np.ascontiguousarray(m.transpose(1, 2, 0)).transpose(2, 0, 1) for m in maps]
    mirrored = [np.ascontiguousarray(m[:, ::-1, ::-1])[:, ::-1, ::-1] for m in maps]
    wider = [np.repeat(np.repeat(m, 2, 1), 3, 2)[:, ::2, ::3] for m in maps]
    for strided in (by_cell, mirrored, wider):
        got = crops.decode_boxes(strided, (8, 16), threshold=0.5)
        for array, want in zip(got, packed, strict=True):
            np.testing.assert_array_equal(array, want)


@pytest.mark.parametrize("channel", [0, 1, 4, 5, 14])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_decode_passes_over_what_is_not_finite(channel: int, value: float) -> None:
    maps = np.ones((15, 6, 7), np.float32)
    maps[channel, 2, 3] = value
    boxes, scores, landmarks = crops.decode_boxes([maps], [8], threshold=0.0)
    assert len(boxes) == len(scores) == len(landmarks) == 41
    assert np.isfinite(boxes).all() and np.isfinite(landmarks).all()


def test_decode_passes_over_what_is_no_box() -> None:
    maps = np.ones((7, 2, 2), np.float32)
    maps[[1, 3], 0, 0] = -3e38  # no width
    maps[[2, 4], 0, 1] = -200.0  # no height
    maps[5, 1, 0] = 3e38  # a landmark beyond float32
    boxes, _, landmarks = crops.decode_boxes([maps], [8], threshold=0.5)
    assert len(boxes) == len(landmarks) == 1 and boxes[0, 0] == pytest.approx(12 - 8 * np.e)
    assert len(crops.decode_boxes([maps], [8], threshold=0.5, scale=2e-38)[0]) == 0
    for empty in ([], [np.empty((15, 0, 4), np.float32)]):
        boxes, scores, landmarks = crops.decode_boxes(empty, [8] * len(empty), threshold=0.0)
        assert boxes.shape == (0, 4) and scores.shape == (0,) and len(landmarks) == 0


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"maps": [[1.0]]}, r"maps\[0\] is a list"),
        ({"maps": [np.zeros((15, 2, 3))]}, r"maps\[0\] has dtype float64"),
        ({"maps": [zeros(1, 15, 2, 3)]}, r"maps\[0\] has shape \(1, 15, 2, 3\)"),
        ({"maps": [zeros(2, 3)]}, r"maps\[0\] has shape \(2, 3\)"),
        ({"maps": [zeros(4, 2, 3)]}, r"maps\[0\] has shape \(4, 2, 3\)"),
        ({"maps": [zeros(6, 2, 3)]}, r"shape \(6, 2, 3\); give \[5 \+ 2 k"),
        ({"maps": [zeros(15, 2, 3)] * 2}, "2 maps but 1 strides"),
        (
            {"maps": [zeros(15, 2, 3), zeros(5, 1, 1)], "strides": [8, 16]},
            r"maps\[1\] has 5 channels but maps\[0\] has 15",
        ),
        ({"strides": [0]}, r"strides\[0\] is 0"),
        ({"strides": [NAN]}, r"strides\[0\] is nan"),
        ({"strides": [1e300]}, r"strides\[0\] is 1e\+300"),
        ({"threshold": NAN}, "threshold is nan"),
        ({"threshold": 1.5}, "threshold is 1.5; give a score from 0 to 1"),
        ({"threshold": "a"}, "threshold is 'a'"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": 1e-300}, "scale is 1e-300"),
        ({"offset": 3}, "offset is 3"),
        ({"offset": ("a", 0)}, r"offset\[0\] is 'a'"),
        ({"offset": (0, INF)}, r"offset\[1\] is inf"),
    ],
)
def test_decode_names_a_wrong_argument(change: dict[str, Any], named: str) -> None:
    good = {"maps": [zeros(15, 2, 3)], "strides": [8], "threshold": 0.5}
    with pytest.raises(UsageError, match=named) as caught:
        crops.decode_boxes(**(good | change))
    assert "\n" not in str(caught.value)
