"""nms and decode_boxes against the reference and hostile arguments."""

from __future__ import annotations

from typing import Any

import crop_reference as reference
import numpy as np
import pytest

from ferlite import crops
from ferlite.errors import UsageError

NAN, INF = float("nan"), float("inf")


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


def random_level(
    rng: np.random.Generator, stride: int, rows: int, columns: int, points: int
) -> crops.Level:
    return crops.Level(
        stride,
        rng.random((rows, columns), np.float32),
        rng.uniform(-0.5, 4, (rows, columns, 4)).astype(np.float32),
        rng.normal(0, 2, (rows, columns, 2 * points)).astype(np.float32) if points else None,
    )


@pytest.mark.parametrize("points", [0, 1, 5])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0])
def test_decode_matches_the_reference(points: int, threshold: float) -> None:
    rng = np.random.default_rng(points)
    levels = [random_level(rng, s, 40 // s, 64 // s, points) for s in (4, 8, 16)]
    zoom, dx, dy = 0.5, 3, 7
    boxes, scores, landmarks = crops.decode_boxes(
        levels, threshold=threshold, scale=zoom, offset=(dx, dy)
    )
    found = []
    for level in levels:
        for row, column in np.ndindex(level.scores.shape):
            x, y = (column + 0.5) * level.stride, (row + 0.5) * level.stride
            left, top, right, bottom = level.distances[row, column].astype(float) * level.stride
            if level.scores[row, column] < threshold or left + right <= 0 or top + bottom <= 0:
                continue
            box = [x - left - dx, y - top - dy, left + right, top + bottom]
            marks = np.zeros((0, 2))
            if level.landmarks is not None:
                offsets = level.landmarks[row, column].astype(float).reshape(-1, 2)
                marks = offsets * level.stride + (x - dx, y - dy)
            found.append((np.divide(box, zoom), level.scores[row, column], marks / zoom))
    assert len(boxes) == len(scores) == len(found)
    assert (threshold > 1) == (len(found) == 0)
    if found:
        np.testing.assert_allclose(boxes, [box for box, _, _ in found], atol=1e-3)
        np.testing.assert_array_equal(scores, [score for _, score, _ in found])
    if points:
        assert landmarks is not None and landmarks.shape == (len(found), points, 2)
        want = np.array([marks for _, _, marks in found]).reshape(-1, points, 2)
        np.testing.assert_allclose(landmarks, want, atol=1e-3)
    else:
        assert landmarks is None


def test_decode_reads_strided_maps_and_skips_what_is_no_box() -> None:
    rng = np.random.default_rng(4)
    maps = rng.uniform(0.6, 3, (15, 6, 7)).astype(np.float32)  # as a network gives it: NCHW
    by_cell = maps.transpose(1, 2, 0)
    strided = crops.Level(8, by_cell[:, :, 0], by_cell[:, :, 1:5], by_cell[:, :, 5:])
    packed = crops.Level(
        *(
            np.ascontiguousarray(part) if i else 8
            for i, part in enumerate((0, strided.scores, strided.distances, strided.landmarks))
        )
    )
    for got, want in zip(
        crops.decode_boxes([strided], threshold=0.5),
        crops.decode_boxes([packed], threshold=0.5),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)
    maps[0, 0, 0] = NAN  # a score
    maps[1, 1, 1] = INF  # a distance
    maps[2, 2, 2] = NAN
    maps[3, 3, 3] = 3e38  # times the stride: too large for float32
    maps[7, 4, 4] = -INF  # a landmark
    maps[1, 5, 5] = -9.0  # width below 0
    maps[0, 0, 1] = INF  # a score that is merely certain
    boxes, scores, landmarks = crops.decode_boxes([strided], threshold=0.5)
    assert landmarks is not None and len(boxes) == len(scores) == len(landmarks) == 42 - 6
    assert np.isfinite(boxes).all() and np.isfinite(landmarks).all() and scores[0] == INF
    assert (boxes[:, 2:] > 0).all()
    assert len(crops.decode_boxes([], threshold=0.5)[0]) == 0


LEVEL = {"stride": 8, "scores": np.ones((2, 3), np.float32)}
LEVEL |= {"distances": np.ones((2, 3, 4), np.float32)}


@pytest.mark.parametrize(
    ("change", "options", "named"),
    [
        ({"stride": 0}, {}, r"levels\[0\].stride is 0"),
        ({"stride": NAN}, {}, r"levels\[0\].stride is nan"),
        ({"scores": np.ones((2, 3, 1), np.float32)}, {}, r"scores has shape \(2, 3, 1\)"),
        ({"scores": np.ones((2, 3))}, {}, "scores has dtype float64"),
        ({"distances": np.ones((2, 3, 5), np.float32)}, {}, r"distances has shape \(2, 3, 5\)"),
        ({"landmarks": np.ones((3, 3, 2), np.float32)}, {}, r"landmarks has shape \(3, 3, 2\)"),
        ({"landmarks": np.ones((2, 3, 3), np.float32)}, {}, r"have \[3\] channels"),
        ({"stride": 1e300}, {}, r"levels\[0\].stride is 1e\+300"),
        ({}, {"threshold": NAN}, "threshold is nan"),
        ({}, {"threshold": "a"}, "threshold is 'a'"),
        ({}, {"scale": 0.0}, "scale is 0.0"),
        ({}, {"scale": 1e-300}, "scale is 1e-300"),
        ({}, {"offset": 3}, "offset is 3"),
        ({}, {"offset": ("a", 0)}, "offset is not an array of numbers"),
        ({}, {"offset": (0, INF)}, r"offset is \(0, inf\)"),
    ],
)
def test_decode_names_a_wrong_argument(
    change: dict[str, Any], options: dict[str, Any], named: str
) -> None:
    level = crops.Level(**(LEVEL | change))
    with pytest.raises(UsageError, match=named):
        crops.decode_boxes([level], **({"threshold": 0.5} | options))


def test_decode_wants_the_same_landmarks_at_all_levels() -> None:
    rng = np.random.default_rng(1)
    levels = [random_level(rng, 8, 2, 2, 5), random_level(rng, 16, 1, 1, 0)]
    with pytest.raises(UsageError, match=r"have \[0, 10\] channels"):
        crops.decode_boxes(levels, threshold=0.5)
