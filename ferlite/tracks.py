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
from ferlite.types import NEW_CLOCK_S

# How fast a track's speed follows what was measured, and how long it coasts on it when missed.
SPEED_TIME_S = 0.15
COAST_TIME_S = 0.3
# A pair may belong together when its boxes overlap, or lie within this many box sizes of each
# other (a fast head between two frames), and neither is over this many times the other's size.
REACH = 0.7
GROWTH = 2.0
# With few frames a second (`every`, `fps_limit`) a face of the last frame seen is kept for this
# many memories, and so many seconds at least, else each frame would start new tracks.
SPARSE, SPARSE_S = 4.0, 0.5

# Sizes that round differently, such as 960x540 and 640x360, 1920x1088 and 1280x720.
SAME_RATIO = 1.02

_IMPOSSIBLE = 1e6

# One track: its number; when and where it was seen last; pixels a second; when its emotions were
# smoothed last, NaN where they never were.
_TRACK = np.dtype(
    [
        ("number", np.int64),
        ("t", np.float64),
        ("centre", np.float64, 2),
        ("size", np.float64, 2),
        ("speed", np.float64, 2),
        ("smoothed_t", np.float64),
    ]
)


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """memory_s: how long a face may be missed and keep its identity; where no frame came since it
    was seen, `SPARSE` times as long, and `SPARSE_S` at least.

    smoothing_s: time constant of the exponential smoothing of emotions; 0 for none.
    """

    memory_s: float = 0.5
    smoothing_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("memory_s", "smoothing_s"):
            wanted = "use a number of seconds from 0"
            arguments.number(name, getattr(self, name), 0, sys.float_info.max, wanted)


class Tracker:
    """Gives each face a number that stays; for one source, fed in order, from one thread.

    Numbers count from 1 and are never used twice by a tracker. Time going backwards by more than
    `NEW_CLOCK_S` (a looped or restarted stream) ends all tracks; by less, it stands still.

    first: the number of the first track, where another tracker gave the ones before.
    """

    def __init__(self, options: TrackOptions | None = None, *, first: int = 1) -> None:
        self.options = options or TrackOptions()
        self._tracks = np.zeros(0, _TRACK)
        self._smoothed = np.zeros((0, 0), np.float32)
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
        if t < self._last - NEW_CLOCK_S:
            self._keep(np.zeros(len(self), bool))
        else:
            t = max(t, self._last)
        seen, memory = self._tracks["t"], self.options.memory_s
        sparse = max(SPARSE * memory, SPARSE_S)
        self._keep(t - seen <= np.where(seen == self._last, sparse, memory))
        self._last = t
        size = np.maximum(found[:, 2:], 1e-3)
        centre = found[:, :2] + size / 2
        rows, columns, cost = self._pairs(t, centre, size)
        if scores is not None:
            cost -= 1e-3 * np.asarray(scores, np.float64)[columns]
        rows, columns = match(rows, columns, cost)
        self._move(rows, t, centre[columns], size[columns])
        numbers = np.zeros(len(found), np.int64)
        numbers[columns] = self._tracks["number"][rows]
        new = np.flatnonzero(numbers == 0)
        numbers[new] = self._next + np.arange(len(new))
        self._next += len(new)
        self._begin(numbers[new], t, centre[new], size[new])
        return [int(number) for number in numbers]

    def rescale(self, across: float, down: float) -> None:
        """The frames to come are so many times as wide and high, and show the same.

        Ends all tracks where the ratio of the sides changes: then they show something else.
        """
        if not 1 / SAME_RATIO <= across / down <= SAME_RATIO:
            self._keep(np.zeros(len(self), bool))
        for name in ("centre", "size", "speed"):
            self._tracks[name] *= (across, down)

    def smooth(
        self, t: float, numbers: Sequence[int], probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Emotions smoothed along the tracks, float32 [n, labels], each row summing to 1.

        numbers: as `update` gave them at `t`. probabilities: float32 [n, labels] of this frame
        alone. A track's first frame is its own.
        """
        smoothed = np.array(probabilities, np.float32)
        if self._smoothed.shape[1] != smoothed.shape[1]:
            self._smoothed = np.zeros((len(self), smoothed.shape[1]), np.float32)
            self._tracks["smoothed_t"] = np.nan
        # Tracks are in the order of their numbers.
        rows = np.searchsorted(self._tracks["number"], np.asarray(numbers, np.int64))
        t = max(t, self._last)
        since = t - self._tracks["smoothed_t"][rows]
        known = ~np.isnan(since) & (self.options.smoothing_s > 0)
        if known.any():
            share = -np.expm1(-since[known, None] / self.options.smoothing_s)
            before = self._smoothed[rows[known]]
            mixed = before + share.astype(np.float32) * (smoothed[known] - before)
            smoothed[known] = mixed / mixed.sum(axis=1, keepdims=True)
        self._smoothed[rows], self._tracks["smoothed_t"][rows] = smoothed, t
        return smoothed

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._tracks, self._smoothed = self._tracks[which], self._smoothed[which]

    def _begin(
        self,
        numbers: NDArray[np.int64],
        t: float,
        centre: NDArray[np.float64],
        size: NDArray[np.float64],
    ) -> None:
        new = np.zeros(len(numbers), _TRACK)
        new["number"], new["t"], new["centre"], new["size"] = numbers, t, centre, size
        new["smoothed_t"] = np.nan
        rows = np.zeros((len(numbers), self._smoothed.shape[1]), np.float32)
        self._tracks = np.concatenate([self._tracks, new])
        self._smoothed = np.concatenate([self._smoothed, rows])

    def _move(
        self,
        rows: NDArray[np.intp],
        t: float,
        centre: NDArray[np.float64],
        size: NDArray[np.float64],
    ) -> None:
        """These tracks were seen there; their speed follows, except in no time."""
        tracks = self._tracks[rows]
        dt = (t - tracks["t"])[:, None]
        measured = (centre - tracks["centre"]) / np.where(dt > 0, dt, 1.0)
        tracks["speed"] += (measured - tracks["speed"]) * -np.expm1(-dt / SPEED_TIME_S)
        tracks["t"], tracks["centre"], tracks["size"] = t, centre, size
        self._tracks[rows] = tracks

    def _pairs(
        self, t: float, centre: NDArray[np.float64], size: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Track and box of each pair that may belong together, and its cost: the lack of overlap
        plus the distance in box sizes.
        """
        tracks = self._tracks
        # Where they should be; the speed fades, so that a lost track does not fly off.
        coast = COAST_TIME_S * -np.expm1((tracks["t"] - t) / COAST_TIME_S)
        known, extent = tracks["centre"] + tracks["speed"] * coast[:, None], tracks["size"]
        area, other = extent.prod(axis=1), size.prod(axis=1)
        # Only boxes near enough from side to side: `scale` is at most so many times the track's.
        reach = 1.001 * REACH * math.sqrt(GROWTH) * np.sqrt(area)
        order = np.argsort(centre[:, 0])
        x = centre[order, 0]
        first = np.searchsorted(x, known[:, 0] - reach)
        count = np.searchsorted(x, known[:, 0] + reach, "right") - first
        rows = np.repeat(np.arange(len(tracks)), count)
        columns = order[np.arange(len(rows)) + np.repeat(first - np.cumsum(count) + count, count)]

        area, other = area[rows], other[columns]
        scale = np.sqrt(np.sqrt(area * other))
        distance = np.linalg.norm(known[rows] - centre[columns], axis=1) / scale
        growth = np.sqrt(np.maximum(area / other, other / area))
        near = np.flatnonzero((distance < REACH) & (growth < GROWTH))
        rows, columns = rows[near], columns[near]
        half, other_half = extent[rows] / 2, size[columns] / 2
        low = np.maximum(known[rows] - half, centre[columns] - other_half)
        high = np.minimum(known[rows] + half, centre[columns] + other_half)
        shared = np.maximum(high - low, 0).prod(axis=1)
        overlap = shared / (area[near] + other[near] - shared)
        return rows, columns, 1 - overlap + distance[near]


def match(
    rows: NDArray[np.intp], columns: NDArray[np.intp], cost: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of possible pairs, as many as can be with no row and no column twice, at least total cost.

    rows, columns, cost: [n], of each pair. Returns the rows and columns of those taken. What no
    chain of pairs connects is solved apart: in a crowd that is one face or a few.
    """
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    taken = [(rows[alone], columns[alone])]
    rows, columns, cost = rows[~alone], columns[~alone], cost[~alone]
    group = _components(rows, columns)
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    for part in np.split(order, ends) if len(order) else ():
        row_names, row = np.unique(rows[part], return_inverse=True)
        column_names, column = np.unique(columns[part], return_inverse=True)
        table = np.full((len(row_names), len(column_names)), _IMPOSSIBLE)
        table[row, column] = cost[part]
        pairs = [pair for pair in assign(table) if table[pair] < _IMPOSSIBLE / 2]
        chosen = np.array(pairs, np.intp).reshape(-1, 2)
        taken.append((row_names[chosen[:, 0]], column_names[chosen[:, 1]]))
    return np.concatenate([one for one, _ in taken]), np.concatenate([one for _, one in taken])


def _components(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of each pair: the least row that a chain of pairs connects with it."""
    least = np.arange(rows.max(initial=-1) + 1)
    while True:
        of_column = np.full(columns.max(initial=-1) + 1, len(least))
        np.minimum.at(of_column, columns, least[rows])
        lower = least.copy()
        np.minimum.at(lower, rows, of_column[columns])
        lower = np.minimum(lower, lower[lower])
        if np.array_equal(lower, least):
            return least[rows]
        least = lower


def assign(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The (row, column) pairs of least total cost, min(rows, columns) of them.

    Shortest augmenting paths (Jonker and Volgenant 1987), O(n^2 m).
    """
    if cost.shape[0] > cost.shape[1]:
        return [(row, column) for column, row in assign(cost.T)]
    rows, columns = cost.shape
    if not rows:
        return []
    # Duals keep reduced costs non-negative; each row begins at its cheapest column, and has it
    # where no row before it does.
    row_dual, column_dual = cost.min(axis=1), np.zeros(columns)
    row_of = np.full(columns, -1)
    wanted, first = np.unique(cost.argmin(axis=1), return_index=True)
    row_of[wanted] = first
    for start in np.setdiff1d(np.arange(rows), first).tolist():
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
