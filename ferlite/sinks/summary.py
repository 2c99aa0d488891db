"""summary.json: what a run saw, as a whole."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ferlite.sinks.jsonl import to_json
from ferlite.sinks.partfile import check_replaceable, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from ferlite.types import Face, Frame, FrameResult, SourceInfo

REMEMBERED = 10_000  # sources and tracks listed one by one; older ones count only in the totals
REMEMBERED_ERRORS = 100


class _Shares:
    """The mean of the distributions of many faces."""

    __slots__ = ("_sums", "faces", "uncertain")

    def __init__(self) -> None:
        self.faces = 0
        self.uncertain = 0
        self._sums: dict[str, float] = {}

    def add(self, face: Face) -> None:
        if not all(map(math.isfinite, face.raw_emotions.values())):
            return  # one NaN would spoil every mean after it
        self.faces += 1
        self.uncertain += face.uncertain
        for label, probability in face.raw_emotions.items():
            self._sums[label] = self._sums.get(label, 0.0) + probability

    def to_dict(self) -> dict[str, Any]:
        means = {label: round(total / self.faces, 4) for label, total in self._sums.items()}
        return {
            "emotion": max(means, key=means.__getitem__) if means else None,
            "uncertain": self.uncertain,
            "emotions": means,
        }


class _Counts:
    __slots__ = ("errors", "faces", "frames", "frames_with_faces", "shares")

    def __init__(self) -> None:
        self.frames = self.faces = self.frames_with_faces = self.errors = 0
        self.shares = _Shares()

    def add(self, result: FrameResult) -> None:
        self.frames += 1
        self.faces += len(result.faces)
        self.frames_with_faces += bool(result.faces)
        self.errors += result.error is not None
        for face in result.faces:
            self.shares.add(face)

    def to_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "frames_with_faces": self.frames_with_faces,
            "faces": self.faces,
            "errors": self.errors,
            **self.shares.to_dict(),
        }


class _Track:
    __slots__ = ("first_t", "last_t", "shares")

    def __init__(self, t: float) -> None:
        self.first_t = self.last_t = t
        self.shares = _Shares()


class _Source:
    __slots__ = ("counts", "first_t", "info", "last_t", "size")

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.size = (info.width, info.height)
        self.first_t: float | None = None
        self.last_t: float | None = None
        self.counts = _Counts()


class Summary:
    """Counts and emotion shares of the run, each source and each track; written by `finish`.

    started, finished (UTC), seconds, frames_per_second: of the whole run, from the making of this
        object to `finish`.
    frames (error records included), frames_with_faces, faces, errors.
    emotion, emotions: the largest of, and the mean of, the faces' distributions (`raw_emotions`,
        each frame's alone); uncertain: how many faces were.
    sources: the same for each source, with its kind, size and times (seconds).
    tracks: the same for each track, with its source, id, first and last time and number of frames.
    failures: the first 100 errors.

    A run may be endless: only the 10,000 latest sources and tracks are listed; `sources_total` and
    `tracks_total` count all, and the totals hold all. An aborted run writes no summary. Raises
    SinkError.
    """

    def __init__(self, path: Path) -> None:
        self.written = ""
        self._path = path
        check_replaceable(path, b'{\n  "started": ')
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()
        self._facts: dict[str, Any] = {}
        self._total = _Counts()
        self._sources: OrderedDict[int, _Source] = OrderedDict()
        self._sources_total = 0
        # By number of source and track, the least recently seen first.
        self._tracks: OrderedDict[tuple[int, int], _Track] = OrderedDict()
        self._tracks_total = 0
        self._failures: list[dict[str, Any]] = []

    def add(self, facts: Mapping[str, Any]) -> None:
        """More top-level entries (options, models, seconds in each stage, ...), as JSON types.

        A later one replaces an earlier one, and this class's own, of the same name.
        """
        self._facts.update(facts)

    def begin(self, info: SourceInfo) -> None:
        self._sources[self._sources_total] = _Source(info)
        self._sources_total += 1
        if len(self._sources) > REMEMBERED:
            self._sources.popitem(last=False)

    def write(self, frame: Frame, result: FrameResult) -> None:
        if not self._sources:
            self.begin(frame.source)
        number = self._sources_total - 1
        source = self._sources[number]
        if result.error is None:
            source.size = (result.width, result.height)
            source.first_t = result.t if source.first_t is None else source.first_t
            source.last_t = result.t
        elif len(self._failures) < REMEMBERED_ERRORS:
            failure = {"source": result.source, "frame": result.frame, "error": result.error}
            self._failures.append(failure)
        source.counts.add(result)
        self._total.add(result)
        for face in result.faces:
            if face.track is not None:
                self._track(number, face.track, result.t).shares.add(face)

    def finish(self) -> None:
        write_whole(self._path, to_json(self.to_dict(), indent=2) + b"\n")
        self.written = self._path.name

    def abort(self) -> None:
        """Nothing is written before the end."""

    def _track(self, source: int, identity: int, t: float) -> _Track:
        key = (source, identity)
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track(t)
            self._tracks_total += 1
            if len(self._tracks) > REMEMBERED:
                self._tracks.popitem(last=False)
        self._tracks.move_to_end(key)
        track.last_t = t
        return track

    def to_dict(self) -> dict[str, Any]:
        """What summary.json would hold now."""
        seconds = time.perf_counter() - self._clock
        names = {number: source.info.name for number, source in self._sources.items()}
        return {
            "started": self._started.isoformat(timespec="milliseconds"),
            "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "seconds": round(seconds, 3),
            "frames_per_second": round(self._total.frames / seconds, 2) if seconds else None,
            "sources_total": self._sources_total,
            "tracks_total": self._tracks_total,
            **self._total.to_dict(),
            **self._facts,
            "failures": self._failures,
            "sources": [
                {
                    "source": source.info.name,
                    "kind": source.info.kind,
                    "width": source.size[0],
                    "height": source.size[1],
                    "first_t": _seconds(source.first_t),
                    "last_t": _seconds(source.last_t),
                    **source.counts.to_dict(),
                }
                for source in self._sources.values()
            ],
            "tracks": [
                {
                    "source": names.get(number),
                    "track": identity,
                    "first_t": _seconds(track.first_t),
                    "last_t": _seconds(track.last_t),
                    "frames": track.shares.faces,
                    **track.shares.to_dict(),
                }
                for (number, identity), track in sorted(self._tracks.items())
            ],
        }


def _seconds(t: float | None) -> float | None:
    return None if t is None else round(t, 6)
