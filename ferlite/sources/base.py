"""What every source is, and what a user may ask of one."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, get_args, runtime_checkable

import numpy as np

from ferlite.errors import UsageError
from ferlite.types import Color, Frame, SourceInfo

# The largest picture that is decoded, in pixels: 403 MB as BGR. Phones reach 50 million; a file
# of a few kilobytes can claim billions.
MAX_PIXELS = 2**27

MOST_FPS = 1e6

# A time stamp further ahead of the one before than this may be of a clock that was set, or damaged.
LEAP_S = 10.0

# Time stamps are rationals turned into floats; this is far under any frame's duration.
EPSILON_S = 1e-6


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Which frames to deliver, and how to wait for those that are late.

    every, start_s, duration_s and fps_limit choose among moving pictures (video, live, arrays);
    stills are all delivered. Frames that are not chosen are decoded, as later ones need them, but
    never converted.

    every: deliver each Nth frame, counted from the first one at or after start_s.
    start_s: seconds to skip, from the source's first picture.
    duration_s: seconds to deliver after start_s; None for all.
    fps_limit: at most this many frames per second on average, evenly spread; None for all.
    color: order of the channels in arrays handed over; "gray" takes only HxW. `Frame.image` is BGR
        whatever this says.
    array_fps: frames per second of arrays that come without time stamps.
    timeout_s: how long a stream may take to answer, or to send its next packet.
    reconnect_s: how long to try to get a lost camera or live stream back; 0 to end at the first
        loss, `math.inf` to try for ever.

    Raises UsageError naming the value that is out of range.
    """

    every: int = 1
    start_s: float = 0.0
    duration_s: float | None = None
    fps_limit: float | None = None
    color: Color = "bgr"
    array_fps: float = 25.0
    timeout_s: float = 10.0
    reconnect_s: float = 60.0

    def __post_init__(self) -> None:
        try:
            every = operator.index(self.every)
        except TypeError:
            every = 0
        if every < 1:
            raise UsageError(f"every={self.every!r}: give a whole number of at least 1")
        for name in ("duration_s", "fps_limit", "array_fps", "timeout_s"):
            value = getattr(self, name)
            optional = name in ("duration_s", "fps_limit")
            if not (value is None and optional) and not _finite(value, above=0):
                raise UsageError(f"{name}={value!r}: give a number above 0")
            if name.endswith(("_fps", "fps_limit")) and value is not None and value > MOST_FPS:
                raise UsageError(f"{name}={value!r}: give at most {MOST_FPS:g} frames a second")
        if not (_finite(self.start_s) and self.start_s >= 0):
            raise UsageError(f"start_s={self.start_s!r}: give seconds, 0 or more")
        if self.reconnect_s != math.inf and not (
            _finite(self.reconnect_s) and self.reconnect_s >= 0
        ):
            raise UsageError(f"reconnect_s={self.reconnect_s!r}: give seconds, 0 or more")
        if self.color not in get_args(Color):
            raise UsageError(f"color={self.color!r}: give one of {', '.join(get_args(Color))}")


def _finite(value: Any, above: float = -math.inf) -> bool:
    try:
        number = math.fsum([value])  # not float(), which reads texts as well
    except (TypeError, ValueError, OverflowError):
        return False
    return math.isfinite(number) and number > above


@runtime_checkable
class Source(Protocol):
    """An input: where frames come from.

    Iterating yields `Frame`s in order. A second iteration starts again from the beginning (stills,
    files, sequences of arrays), connects anew (cameras, streams), or goes on where the first one
    stopped (generators of arrays).
    """

    @property
    def info(self) -> SourceInfo:
        """What is known of the input; of several, the one being read."""

    @property
    def items(self) -> int:
        """How many inputs this source reads one after another."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """End every iteration at its next frame, and release what is held.

        May be called more than once and from any thread. A read that waits for the network ends
        by SourceOptions.timeout_s at the latest. A closed source yields nothing.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class SourceBase:
    """The part of Source that all implementations share.

    Closing only sets an event that the iterating thread looks at between frames: FFmpeg's contexts
    must not be freed by one thread while another one is inside them.
    """

    items = 1

    def __init__(self, info: SourceInfo, options: SourceOptions) -> None:
        self._info = info
        self._options = options
        self._closed = threading.Event()

    @property
    def info(self) -> SourceInfo:
        return self._info

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def error_frame(self, message: str, index: int = 0, t: float = 0.0) -> Frame:
        """A frame that says why there is no picture."""
        image = np.empty((0, 0, 3), np.uint8)
        return Frame(self._info, index, t, image, " ".join(message.split()))


class Sampler:
    """Decides for one time stamp after another whether its frame is wanted.

    origin: time stamp of the source's first picture, seconds; start_s counts from there.
    index: position of the last frame asked about, from 0 at start_s; -1 before.
    """

    def __init__(self, options: SourceOptions, origin: float) -> None:
        self.start = origin + options.start_s
        self.end = math.inf if options.duration_s is None else self.start + options.duration_s
        # With nothing to skip, a frame whose time is before the first one's is wanted all the same.
        self._from = self.start - EPSILON_S if options.start_s else -math.inf
        self.index = -1
        self._every = options.every
        self._gap = 1 / options.fps_limit if options.fps_limit else 0.0
        self._due = -math.inf

    def wants(self, t: float) -> bool:
        if t < self._from or self.ended(t):
            return False
        self.index += 1
        if self.index % self._every:
            return False
        # Due times advance by the gap itself: measured from the last frame taken, 20 of 30 frames
        # a second would become 15. The slack is for time stamps that jitter or are rounded.
        if self._due - 1.5 * self._gap < t < self._due - 0.1 * self._gap:
            return False
        late = abs(t - self._due) > self._gap  # a pause, or a clock that was set back
        self._due = (t if late else self._due) + self._gap
        return True

    def skip(self) -> int:
        """The index of a frame that has no picture; the next one has another."""
        self.index += 1
        return self.index

    def ended(self, t: float) -> bool:
        """No later frame can be wanted."""
        return t >= self.end - EPSILON_S


def expected(
    options: SourceOptions, frames: int | None, fps: float | None, duration_s: float | None
) -> tuple[int | None, float | None]:
    """Frames and seconds that will be delivered of a source that has so many; None if unknown."""
    if frames is None and fps is not None and duration_s is not None:
        frames = round(fps * duration_s)
    if duration_s is not None:
        window = max(0.0, duration_s - options.start_s)
        if options.duration_s is not None:
            window = min(window, options.duration_s)
        if frames is not None:
            frames = math.ceil(frames * window / duration_s - EPSILON_S) if duration_s else frames
        duration_s = window
    if frames is not None:
        frames = math.ceil(frames / options.every)
        if options.fps_limit is not None and duration_s is not None:
            frames = min(frames, math.ceil(duration_s * options.fps_limit))
    return frames, duration_s
