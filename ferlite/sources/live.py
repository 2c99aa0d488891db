"""What cameras and live streams have in common: a clock of their own, and outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ferlite.errors import SourceError
from ferlite.sources.base import LEAP_S, Sampler, SourceBase, SourceOptions
from ferlite.sources.decoding import Converter, explain, video_stream
from ferlite.types import NEW_CLOCK_S, Frame, SourceInfo

if TYPE_CHECKING:
    from av.container import InputContainer

FIRST_RETRY_S = 0.5
SLOWEST_RETRY_S = 10.0
# How long pictures may arrive that cannot be decoded: the next one that stands alone comes by then.
UNDECODED_S = 60.0

_NO_TIMESTAMPS = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS


class LiveSource(SourceBase):
    """Frames as they happen, from a camera or a stream.

    `Frame.t` is 0 at the first frame and follows the sender's time stamps; over an outage, and
    where the sender's clock leaps, it is carried on by this machine's clock, so that it never goes
    back. `Frame.received` is the time of day. Every frame that arrives is delivered: whoever cannot
    keep up must drop some, which the pipeline does.

    An outage (an error, an end, or no picture for timeout_s) gives one frame with `error` when it
    begins. The connection is then tried again after 0.5 s, 1 s, 2 s ... at most 10 s, and `index`
    goes on counting, these frames included. If it is not back within reconnect_s, one more frame
    with `error` says so and the source ends.

    connect: opens the container, raising SourceError; called at once, so that a camera or stream
        that cannot be reached at all raises here.
    """

    def __init__(
        self, name: str, connect: Callable[[], InputContainer], options: SourceOptions | None = None
    ) -> None:
        super().__init__(SourceInfo(name, "live"), options or SourceOptions())
        self._connect = connect
        self._held_lock = threading.Lock()
        self._held: InputContainer | None = None
        container = connect()
        try:
            stream = video_stream(container, name)
        except SourceError:
            container.close()
            raise
        context, rate = stream.codec_context, stream.average_rate
        self._info = SourceInfo(
            name,
            "live",
            context.width,
            context.height,
            fps=float(rate) if rate else None,
            duration_s=self._options.duration_s,
        )
        self._held = container  # the first iteration's

    def close(self) -> None:
        super().close()
        if container := self._take_held():
            container.close()

    def _take_held(self) -> InputContainer | None:
        with self._held_lock:
            container, self._held = self._held, None
        return container

    def __iter__(self) -> Iterator[Frame]:
        import av

        name, options = self._info.name, self._options
        clock = _Clock()
        sampler = Sampler(options, 0.0)
        outage_began: float | None = None  # by this machine's clock
        retry_s = FIRST_RETRY_S
        while not self._closed.is_set():
            try:
                with self._take_held() or self._connect() as container:
                    for frame in self._connected(container, clock, sampler):
                        outage_began, retry_s = None, FIRST_RETRY_S
                        if frame is not None:
                            yield frame
                reason = "the stream ended"
            except (SourceError, av.FFmpegError) as error:
                reason = explain(error, options.timeout_s).removeprefix(f"{name}: ")
            if self._closed.is_set() or sampler.ended(clock.waited()):
                return
            t = clock.now()
            if outage_began is None:
                outage_began = time.monotonic()
                yield self.error_frame(f"{name}: connection lost: {reason}", sampler.skip(), t)
                if not options.reconnect_s:
                    return
            left = outage_began + options.reconnect_s - time.monotonic()
            if left <= 0:
                message = f"{name}: not back within {options.reconnect_s:g} s, gave up: {reason}"
                yield self.error_frame(message, sampler.skip(), t)
                return
            self._closed.wait(min(retry_s, left))
            retry_s = min(2 * retry_s, SLOWEST_RETRY_S)

    def error_frame(self, message: str, index: int = 0, t: float = 0.0) -> Frame:
        return replace(super().error_frame(message, index, t), received=datetime.now(UTC))

    def _connected(
        self, container: InputContainer, clock: _Clock, sampler: Sampler
    ) -> Iterator[Frame | None]:
        """Frames of one connection, None for those that are not wanted."""
        import av

        stream = video_stream(container, self._info.name)
        # Demuxers of bare pictures make their time stamps up, at 25 pictures a second.
        stamped = not container.format.flags & _NO_TIMESTAMPS
        convert = Converter()
        clock.connected()
        timeout_s = self._options.timeout_s
        undecoded_s = max(timeout_s, UNDECODED_S)
        seen = decoded = time.monotonic()
        # All streams: while sound goes on, asking for pictures alone would wait for ever.
        for packet in container.demux():
            if self._closed.is_set():
                return
            if packet.stream is not stream:
                if time.monotonic() - seen > timeout_s:
                    raise SourceError(f"no picture for {timeout_s:g} s")
                continue
            try:
                pictures = stream.decode(packet)
            except av.InvalidDataError:
                pictures = []  # joined between keyframes, or lost on the way: the next ones will do
            for picture in pictures:
                if picture.pts is None or stream.time_base is None or not stamped:
                    t = clock.read(None)
                else:
                    t = clock.read(float(picture.pts * stream.time_base))
                if sampler.ended(t):
                    return
                if sampler.wants(t):
                    image = convert(picture)
                    yield Frame(self._info, sampler.index, t, image, received=datetime.now(UTC))
                else:
                    yield None
            seen = time.monotonic()
            if pictures:
                decoded = seen
            elif seen - decoded > undecoded_s:
                raise SourceError(f"no picture that can be decoded for {undecoded_s:g} s")


class _Clock:
    """Seconds since the first frame, over any number of connections."""

    def __init__(self) -> None:
        self._made = time.monotonic()
        self._began: float | None = None  # this machine's clock at the first frame
        self._offset: float | None = None  # what turns the sender's time into ours
        self._last = 0.0
        self._read_at = 0.0  # this machine's clock at the last frame

    def connected(self) -> None:
        """The sender's clock may have started anew."""
        self._offset = None

    def read(self, stamp: float | None) -> float:
        """Seconds for a frame that came with this time stamp, or with none."""
        now, at = self.now(), time.monotonic()
        if self._began is None:
            self._began = self._read_at = at
        t = now
        if stamp is not None:
            waited = at - self._read_at
            if self._offset is not None:
                t = stamp + self._offset
            if not -NEW_CLOCK_S <= t - self._last <= waited + LEAP_S:
                t = now
            self._offset = t - stamp
        self._read_at = at
        self._last = max(self._last, t)
        return self._last

    def now(self) -> float:
        """Seconds by this machine's clock; never before a time already given."""
        if self._began is None:
            return 0.0
        return max(self._last, time.monotonic() - self._began)

    def waited(self) -> float:
        """The same, but counted from the beginning where no frame has come yet."""
        return time.monotonic() - self._made if self._began is None else self.now()
