"""Video files, and finite videos behind a URL, through PyAV."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ferlite.errors import SourceError
from ferlite.sources.base import (
    EPSILON_S,
    LEAP_S,
    Sampler,
    SourceBase,
    SourceOptions,
    expected,
)
from ferlite.sources.decoding import Converter, ends_s, explain, open_container, video_stream
from ferlite.types import NEW_CLOCK_S, Frame, SourceInfo

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers whose header says how long the whole is, so that an early end is a truncated file.
# The others' durations are estimates.
_DECLARES_DURATION = ("matroska", "mov")
# Shorter differences come from rounding and from the padding of audio codecs.
_TRUNCATED_S = 0.5
# How far to look for a first picture when opening.
_PROBE_PACKETS = 200


class VideoSource(SourceBase):
    """A file of moving pictures.

    `Frame.t` is the presentation time in the container, pts * time_base, after its edit list; a
    file whose clock starts at 1.4 s (MPEG-TS) has its first frame at t 1.4. Where a format has no
    time stamps at all (a bare H.264 stream), t is the position over the nominal frame rate. Within
    one pass t never goes back: where the stamps do, a clock that started anew is carried on, and a
    stamp that is wrong is raised to the one before. start_s is looked for by the stamps themselves:
    in MPEG-TS files that were joined, in the first one that has them.
    `Frame.index` counts from the first frame at or after start_s. Rotation and mirroring written
    in the container are applied; a resolution that changes midway changes the frames' shape.

    A file that ends early or is damaged gives the frames that can be read, then one with `error`.

    path: the file; or `location`, what FFmpeg opens in its place, with its `av_options`.
    Raises SourceError when there is no video to open, or start_s is past the end that its header
    states; where only reading shows that, one frame with `error` says it.
    """

    def __init__(
        self,
        path: str | Path,
        options: SourceOptions | None = None,
        *,
        location: str | None = None,
        av_options: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            SourceInfo(str(path), "video", location=location), options or SourceOptions()
        )
        # The prefix keeps FFmpeg from taking a colon in a file name for a protocol.
        self._location = location or f"file:{path}"
        self._av_options = av_options
        self._timeout_s = self._options.timeout_s if location else None
        with self._open() as container:
            self._info = self._describe(container)

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            return
        with self._open() as container:
            reading = _Reading(container, video_stream(container, self._info.name))
            sampler = Sampler(self._options, reading.origin)
            if not self._options.start_s or reading.seek(sampler.start):
                yield from self._frames(reading, sampler)
                return
        # No index, or one that leads past the target: an exact start matters more than a fast one.
        with self._open() as container:
            reading = _Reading(container, video_stream(container, self._info.name))
            yield from self._frames(reading, sampler)

    def _open(self) -> InputContainer:
        return open_container(
            self._location,
            name=self._info.name,
            options=self._av_options,
            timeout_s=self._timeout_s,
        )

    def _describe(self, container: InputContainer) -> SourceInfo:
        import av

        name, options = self._info.name, self._options
        stream = video_stream(container, name)
        # FFmpeg counts the pictures of a GIF; its "jpeg_pipe" and the like read single pictures, as
        # "image2" does, which it takes by the name in a URL.
        format_name = container.format.name
        if (
            format_name.endswith("_pipe")
            or format_name == "image2"
            or (format_name == "gif" and stream.frames == 1)
        ):
            self._options = options = SourceOptions()
            kind: Literal["image", "video"] = "image"
        else:
            kind = "video"
        fps = float(stream.average_rate) if stream.average_rate else None
        duration_s = None
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif (end_s := ends_s(container)) is not None:
            duration_s = max(0.0, end_s - (container.start_time or 0) / av.time_base)
        sure = format_name.startswith(_DECLARES_DURATION)
        if sure and duration_s is not None and options.start_s >= duration_s:
            raise SourceError(_past_the_end(name, options.start_s, duration_s))
        width, height = stream.codec_context.width, stream.codec_context.height
        try:
            # The display matrix comes with the decoded frame, not with the stream.
            for packet in itertools.islice(container.demux(stream), _PROBE_PACKETS):
                if pictures := packet.decode():
                    width, height = Converter().shown_size(pictures[0])
                    break
        except av.FFmpegError:
            pass  # iterating reports the damage, with the frames that can be read around it
        location = self._info.location
        if kind == "image":
            return SourceInfo(name, kind, width, height, frames=1, location=location)
        frames, duration_s = expected(options, stream.frames or None, fps, duration_s)
        return SourceInfo(name, kind, width, height, frames, fps, duration_s, location)

    def _frames(self, reading: _Reading, sampler: Sampler) -> Iterator[Frame]:
        import av

        convert = Converter()
        t = reading.origin
        for t, picture in reading:
            if self._closed.is_set() or sampler.ended(t):
                return
            if not sampler.wants(t):
                continue
            try:
                image = convert(picture)
            except (SourceError, av.FFmpegError, MemoryError) as error:
                reading.damage(str(error))
                continue
            yield Frame(self._info, sampler.index, t, image)
        name, start_s = self._info.name, self._options.start_s
        if problem := reading.problem():
            yield self.error_frame(f"{name}: {problem}", sampler.skip(), t)
        elif start_s and sampler.index < 0:
            message = _past_the_end(name, start_s, t - reading.origin)
            yield self.error_frame(message, sampler.skip(), t)


def _past_the_end(name: str, start_s: float, end_s: float) -> str:
    return f"{name}: start at {start_s:g} s is past its end at {end_s:.2f} s"


class _Reading:
    """Decodes one stream to its end, and keeps count of what was wrong on the way.

    origin: time stamp of the first picture, seconds.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        stream.thread_type = "AUTO"
        self._container = container
        self._stream = stream
        self._rate = float(stream.average_rate) if stream.average_rate else 25.0
        self.origin = (
            float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        )
        # AVI stores no presentation times. Where pictures are stored in another order than shown,
        # FFmpeg takes the storage times for them; the n-th picture shown has the n-th of these.
        self._waiting: list[float] | None = None
        if container.format.name == "avi" and stream.codec_context.has_b_frames:
            self._waiting = []
        # Pictures without a time stamp follow the last one that has one at the nominal rate.
        self._stamped_s, self._since = self.origin, 0
        self._shift_s = 0.0
        self._last_s = -math.inf
        self._pictures = self._carried_on(self._decode_all())
        self._joined_midway = False
        self._decoded = 0
        self._reached_s = 0.0
        self._damaged = 0
        self._reasons: list[str] = []

    def seek(self, target: float) -> bool:
        """Go on from the last keyframe at or before `target` seconds; False if that fails."""
        import av

        # Behind a keyframe may come pictures shown before it, which cannot be decoded from there;
        # nothing would tell whose time is whose.
        if not self._stream.time_base or self._waiting is not None:
            return False
        if self._container.format.name == "mpeg":  # FFmpeg's first stamps behind a seek are wrong
            return False
        try:
            self._container.seek(int(target / self._stream.time_base), stream=self._stream)
        except (av.FFmpegError, OverflowError):
            return False
        self._joined_midway = True
        first = next(self._pictures, None)
        if first is None or first[0] > target + EPSILON_S:
            return False
        self._pictures = itertools.chain([first], self._pictures)
        return True

    def __iter__(self) -> Iterator[tuple[float, VideoFrame]]:
        """Pictures with their time stamps in seconds."""
        return self._pictures

    def damage(self, reason: str) -> None:
        self._damaged += 1
        if reason not in self._reasons and len(self._reasons) < 3:
            self._reasons.append(reason)

    def _decode_all(self) -> Iterator[tuple[float, VideoFrame]]:
        import av

        # All streams: where a file is cut, it is as often an audio packet that is incomplete.
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.damage(explain(error))
                yield from self._decode(None)
                return
            if packet is None:
                return
            if packet.is_corrupt:
                self.damage("incomplete packet")
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._reached_s = max(self._reached_s, end)
            if packet.stream is self._stream:
                if self._waiting is not None and packet.size and packet.dts is not None:
                    heapq.heappush(self._waiting, float(packet.dts * packet.time_base))
                yield from self._decode(packet)

    def _decode(self, packet: av.Packet[Any] | None) -> Iterator[tuple[float, VideoFrame]]:
        import av

        try:
            pictures = self._stream.decode(packet)
        except av.FFmpegError:
            # After a seek, packets before the first keyframe are not expected to decode.
            if self._decoded or not self._joined_midway:
                self.damage("packet that cannot be decoded")
            if self._waiting:
                heapq.heappop(self._waiting)
            return
        for picture in pictures:
            stamp_s = self._stamp(picture)
            self._decoded += 1
            yield stamp_s, picture

    def _stamp(self, picture: VideoFrame) -> float:
        if self._waiting:
            return heapq.heappop(self._waiting)
        # Not picture.time: PyAV knows it only for pictures that came out with a packet.
        if picture.pts is not None and self._stream.time_base is not None:
            self._stamped_s, self._since = float(picture.pts * self._stream.time_base), 0
        stamp_s = self._stamped_s + self._since / self._rate
        self._since += 1
        return stamp_s

    def _carried_on(
        self, pictures: Iterator[tuple[float, VideoFrame]]
    ) -> Iterator[tuple[float, VideoFrame]]:
        """With times that never go back. A stamp that leaps ahead waits for the one behind it."""
        before_s, held = math.inf, None
        for stamp_s, picture in pictures:
            if held is not None:
                wrong = before_s - NEW_CLOCK_S <= stamp_s <= before_s + LEAP_S
                yield self._time(before_s if wrong else held[0]), held[1]
                before_s, held = before_s if wrong else held[0], None
            if stamp_s > before_s + LEAP_S:
                held = stamp_s, picture
                continue
            before_s = stamp_s
            yield self._time(stamp_s), picture
        if held is not None:
            yield self._time(held[0]), held[1]

    def _time(self, stamp_s: float) -> float:
        t = stamp_s + self._shift_s
        if t < self._last_s - NEW_CLOCK_S:
            next_s = self._last_s + 1 / self._rate
            self._shift_s += next_s - t
            t = next_s
        self._last_s = max(self._last_s, t)
        return self._last_s

    def problem(self) -> str | None:
        """What was wrong, one line, once the pictures have run out."""
        container = self._container
        if container.format.name.startswith(_DECLARES_DURATION):
            declared_s = ends_s(container) or 0.0
            if declared_s - self._reached_s > _TRUNCATED_S:
                return f"truncated: ends at {self._reached_s:.2f} s of {declared_s:.2f} s"
        if self._damaged:
            places = "place" if self._damaged == 1 else "places"
            reasons = "; ".join(self._reasons)
            return f"damaged in {self._damaged} {places} ({reasons}); the rest was read"
        if not self._decoded:
            return "holds no picture that can be decoded"
        return None
