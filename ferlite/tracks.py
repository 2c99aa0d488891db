"""Identity over time: boxes of successive frames joined into tracks, emotions smoothed along them.

Time is in seconds, never in frames, so that variable frame rates and skipped frames are right.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferlite import arguments
from ferlite.errors import UsageError

# How fast a track's speed follows what was measured, and how long it coasts on it when missed.
SPEED_TIME_S = 0.15
COAST_TIME_S = 0.3
# A pair may belong together when its boxes overlap, or lie within this many box sizes of each
# other (a fast head between two frames), and neither is over this many times the other's size.
REACH = 0.7
GROWTH = 2.0
# With few frames a second (`every`, `fps_limit`) a face of the last frame seen is kept for this
# many memories, else each frame would start new tracks.
SPARSE = 4.0

_IMPOSSIBLE = 1e6


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """memory_s: how long a face may be missed and keep its identity.

    smoothing_s: time constant of the exponential smoothing of emotions; 0 for none.
    """

    memory_s: float = 0.5
    smoothing_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("memory_s", "smoothing_s"):
            wanted = "use a number of seconds from 0"
            arguments.number(name, getattr(self, name), 0, sys.float_info.max, wanted)


@dataclass(slots=True)
class _Track:
    number: int
    t: float
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    speed: NDArray[np.float64]
    smoothed: NDArray[np.float32] | None = None
    smoothed_t: float = 0.0

    def predict(self, t: float) -> NDArray[np.float64]:
        """Where its centre should be; the speed fades, so that a lost track does not fly off."""
        return self.centre + self.speed * COAST_TIME_S * -math.expm1((self.t - t) / COAST_TIME_S)

    def move(self, t: float, centre: NDArray[np.float64], size: NDArray[np.float64]) -> None:
        if (dt := t - self.t) > 0:
            measured = (centre - self.centre) / dt
            self.speed += (measured - self.speed) * -math.expm1(-dt / SPEED_TIME_S)
        self.t, self.centre, self.size = t, centre, size


class Tracker:
    """Gives each face a number that stays; for one source, fed in order, from one thread.

    Numbers count from 1 and are never used twice by a tracker. Time going backwards (a looped
    or restarted stream) ends all tracks.

    first: the number of the first track, where another tracker gave the ones before.
    """

    def __init__(self, options: TrackOptions | None = None, *, first: int = 1) -> None:
        self.options = options or TrackOptions()
        self._tracks: list[_Track] = []
        self._next = first
        self._last = -math.inf

    def __len__(self) -> int:
        """Tracks remembered."""
        return len(self._tracks)

    @property
    def next_number(self) -> int:
        """The number that the next new face gets."""
        return self._next

    def update(self, t: float, boxes: ArrayLike, scores: ArrayLike | None = None) -> list[int]:
        """The identities of the boxes of the frame at `t` seconds.

        boxes: [n, 4] x, y, width, height. scores: [n]; where two boxes could both continue a track
        equally well, the better score does. Returns n numbers, all different.
        """
        if not math.isfinite(t):
            raise UsageError(f"time of a frame is {t}; a finite number of seconds is needed")
        found = np.asarray(boxes, np.float64).reshape(-1, 4)
        if t < self._last:
            self._tracks.clear()
        memory = self.options.memory_s
        self._tracks = [
            track
            for track in self._tracks
            if t - track.t <= (SPARSE * memory if track.t == self._last else memory)
        ]
        self._last = t
        size = np.maximum(found[:, 2:], 1e-3)
        centre = found[:, :2] + size / 2
        numbers = [0] * len(found)
        cost = self._cost(t, centre, size)
        if scores is not None and len(found):
            cost -= 1e-3 * np.asarray(scores, np.float64)
        for row, column in assign(cost):
            if cost[row, column] < _IMPOSSIBLE / 2:
                self._tracks[row].move(t, centre[column], size[column])
                numbers[column] = self._tracks[row].number
        for column, number in enumerate(numbers):
            if not number:
                numbers[column] = self._next
                self._tracks.append(
                    _Track(self._next, t, centre[column], size[column], np.zeros(2))
                )
                self._next += 1
        return numbers

    def smooth(
        self, t: float, numbers: Sequence[int], probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Emotions smoothed along the tracks, float32 [n, labels], each row summing to 1.

        numbers: as `update` gave them at `t`. probabilities: float32 [n, labels] of this frame
        alone. A track's first frame is its own.
        """
        tracks = {track.number: track for track in self._tracks}
        smoothed = np.array(probabilities, np.float32)
        for row, number in enumerate(numbers):
            track = tracks[number]
            if track.smoothed is not None and self.options.smoothing_s > 0:
                share = -math.expm1((track.smoothed_t - t) / self.options.smoothing_s)
                mixed = track.smoothed + np.float32(share) * (smoothed[row] - track.smoothed)
                smoothed[row] = mixed / mixed.sum()
            track.smoothed, track.smoothed_t = smoothed[row].copy(), t
        return smoothed

    def _cost(
        self, t: float, centre: NDArray[np.float64], size: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """[tracks, boxes]: lack of overlap plus distance in box sizes, `_IMPOSSIBLE` if too far."""
        if not self._tracks or not len(centre):
            return np.zeros((len(self._tracks), len(centre)))
        known = np.stack([track.predict(t) for track in self._tracks])[:, None]
        extent = np.stack([track.size for track in self._tracks])[:, None]
        low = np.maximum(known - extent / 2, centre - size / 2)
        high = np.minimum(known + extent / 2, centre + size / 2)
        shared = np.prod(np.maximum(high - low, 0), axis=-1)
        areas = np.prod(extent, axis=-1), np.prod(size, axis=-1)
        overlap = shared / (areas[0] + areas[1] - shared)
        scale = np.sqrt(np.sqrt(areas[0] * areas[1]))
        distance = np.linalg.norm(known - centre, axis=-1) / scale
        growth = np.sqrt(np.maximum(areas[0] / areas[1], areas[1] / areas[0]))
        possible = (distance < REACH) & (growth < GROWTH)
        return np.where(possible, 1 - overlap + distance, _IMPOSSIBLE)


def assign(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The (row, column) pairs of least total cost, min(rows, columns) of them.

    Shortest augmenting paths (Jonker and Volgenant 1987), O(n^2 m).
    """
    if cost.shape[0] > cost.shape[1]:
        return [(row, column) for column, row in assign(cost.T)]
    rows, columns = cost.shape
    # Column `columns` stands for "not yet in a column"; duals keep reduced costs non-negative.
    row_dual, column_dual = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        least = np.full(columns, np.inf)
        came_from = np.full(columns, -1)
        done = np.zeros(columns, bool)
        row, last, length = start, -1, 0.0
        while row >= 0:
            reach = length + cost[row] - row_dual[row] - column_dual
            better = ~done & (reach < least)
            least[better], came_from[better] = reach[better], last
            last = int(np.where(done, np.inf, least).argmin())
            length, done[last] = float(least[last]), True
            row = int(row_of[last])
        # Columns passed before the last one were in the tree with their rows.
        passed = np.flatnonzero(done & (least < length))
        row_dual[start] += length
        row_dual[row_of[passed]] += length - least[passed]
        column_dual[passed] -= length - least[passed]
        while last >= 0:
            before = int(came_from[last])
            row_of[last] = start if before < 0 else row_of[before]
            last = before
    return [(row, column) for column, row in enumerate(row_of.tolist()) if row >= 0]
