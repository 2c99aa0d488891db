"""Annotated video: H.264 in MP4, as browsers play it."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from ferlite.sinks.audio import SourceAudio
from ferlite.sinks.partfile import MARK, OutputNames, PartFile, sink_error

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from ferlite.types import Frame, FrameResult, SourceInfo

# MPEG's own clock: exact for all common frame rates, else wrong by at most 6 microseconds.
_CLOCK = 90_000
# veryfast keeps up with the analysis on two small cores; 23 is x264's default quality.
# Looking ahead costs memory: of 1080p 140 MB less without, for 7 % more bytes.
_X264 = {
    "preset": "veryfast",
    "crf": "23",
    "x264-params": "rc-lookahead=1:sync-lookahead=0:bframes=0",
}
# Between two pictures, in MP4: FFmpeg makes one tick of 2^31 - 1 and more. A second is to spare.
_LONGEST_GAP = 2**31 - _CLOCK
_LARGEST_H264 = 16384  # pixels a side, of libx264
# A browser can start playing before the whole file is there.
_FILE_FLAGS = "faststart"
# The index of an ordinary MP4 is kept in memory until the end, which a live source does not have.
_LIVE_FLAGS = "frag_keyframe+empty_moov+delay_moov+default_base_moof"
_BT709 = 1  # of ITU-T H.273: primaries, transfer and matrix
_LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG

_log = logging.getLogger(__name__)


class AnnotatedVideo:
    """<stem>.mp4 in the folder for each source that is not a still image.

    H.264, yuv420p, BT.709, size of the source; an odd width or height grows by one repeated pixel,
    which yuv420p needs. A frame of another size than the first is scaled into it between black
    bars; a source that begins with one over 16384 pixels a side gives no video. Frames keep their
    time stamps, variable frame rate too; only where the run begins later than the source (--start),
    or the source not within a second after zero, is the first frame at zero. The sound of a file is
    kept (see SourceAudio), cut to the pictures written. Error frames are left out; a source with
    nothing else gives no file.

    Each video is whole as soon as it has its final name, when the next source begins or the run
    ends; an abort removes only the unfinished one. Two sources of one stem give a.mp4 and a-2.mp4;
    so does a video that is there already, unless ferlite wrote it (its metadata tells).

    threads: of the encoder, 0 for as many as there are cores. Raises SinkError.
    """

    def __init__(self, folder: Path, threads: int = 0, *, replace: bool = True) -> None:
        self.written = ""
        self._names = OutputNames(folder, _ours if replace else None)
        self._threads = threads
        self._file: _Mp4 | None = None
        self._too_large = False

    def begin(self, info: SourceInfo) -> None:
        self.finish()
        self._too_large = False

    def write(self, frame: Frame, result: FrameResult) -> None:
        if frame.source.kind == "image" or frame.error is not None or self._too_large:
            return
        from ferlite.sinks.annotate import annotate

        if self._file is None:
            if max(frame.size) > _LARGEST_H264:
                self._too_large = True
                _log.warning(
                    "%s: no annotated video, H.264 holds at most %d pixels a side",
                    frame.source.name,
                    _LARGEST_H264,
                )
                return
            path = self._names.claim(frame.source, ".mp4")
            self._file = _Mp4(path, frame.source, self._threads)
            self._file.open(frame)
        self._file.write(annotate(frame.image, result.faces), frame.t)

    def finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.finish()
            self.written = "annotated video"

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.discard()


class _Mp4:
    """One output file, from its first frame on. Raises SinkError; call `discard` after one."""

    def __init__(self, path: Path, info: SourceInfo, threads: int) -> None:
        self._file = PartFile(path)  # FFmpeg writes to it by name; this holds the lock
        self._info = info
        self._threads = threads
        self._fps = Fraction(min(max(info.fps or 25.0, 1.0), 240.0)).limit_denominator(1001)
        self._output: OutputContainer | None = None
        self._audio: SourceAudio | None = None
        self._gap = round(_CLOCK / self._fps)  # between the last two pictures
        self._last: VideoFrame | None = None
        self._last_pts = -1
        self._last_t = 0.0

    def open(self, first: Frame) -> None:
        """Start the file; the first frame decides its size and where its time begins."""
        import av

        width, height = first.size
        self._size = (width + width % 2, height + height % 2)
        if self._info.kind == "video":
            self._audio = SourceAudio(self._info.name, self._info.location)
        begin_s = self._audio.begin_s if self._audio else None
        cut = begin_s is not None and first.t - begin_s > 0.5 / float(self._fps)
        origin_s = first.t if cut or not 0 <= first.t < 1 else None
        self._origin_s = origin_s or 0.0
        movflags = _LIVE_FLAGS if self._info.kind == "live" else _FILE_FLAGS
        with self._writing():
            self._output = av.open(
                f"file:{self._file.part}", "w", format="mp4", options={"movflags": movflags}
            )
            self._output.metadata["comment"] = MARK
            self._stream = self._output.add_stream("libx264", rate=self._fps, options=dict(_X264))
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = Fraction(1, _CLOCK)
            codec = self._stream.codec_context
            codec.time_base = Fraction(1, _CLOCK)
            codec.thread_count = self._threads
            codec.thread_type = "SLICE"  # a picture less in memory, for 0.7 % more bytes
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = _LIMITED_RANGE
            if self._audio is not None:
                self._audio.attach(self._output, from_s=origin_s)

    def write(self, picture: NDArray[np.uint8], t: float) -> None:
        import av

        raw = av.VideoFrame.from_ndarray(_fit(picture, self._size), format="bgr24")
        frame = raw.reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
        )
        # A muxer refuses time that does not advance.
        frame.pts = max(round((t - self._origin_s) * _CLOCK), self._last_pts + 1)
        frame.time_base = Fraction(1, _CLOCK)
        with self._writing():
            while self._last is not None and frame.pts - self._last_pts > _LONGEST_GAP:
                self._last_pts += _LONGEST_GAP
                self._last.pts = self._last_pts  # shown once more
                self._mux(self._stream.encode(self._last))
            if self._last is not None:
                self._gap = frame.pts - self._last_pts
            self._last, self._last_pts, self._last_t = frame, frame.pts, t
            self._mux(self._stream.encode(frame))
            if self._audio is not None:
                self._audio.write_until(t)

    def finish(self) -> None:
        try:
            with self._writing():
                self._mux(self._lasting(self._stream.encode(None)))
                if self._audio is not None:
                    self._audio.finish(self._end_s(self._audio.end_s))
                    self._audio.close()
                if self._output is not None:
                    self._output.close()
                self._file.commit()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        import av

        if self._audio is not None:
            self._audio.close()
        with contextlib.suppress(OSError, ValueError, av.FFmpegError):
            if self._output is not None:
                self._output.close()
        self._file.discard()

    def _end_s(self, source_end_s: float | None) -> float:
        """Until when sound belongs to the pictures written, in seconds of the source."""
        frame_s = 1 / float(self._fps)
        if source_end_s is not None and self._last_t + 2 * frame_s >= source_end_s:
            return math.inf  # the source was read to its end: so is its sound
        return self._last_t + frame_s

    def _lasting(self, packets: list[Packet[VideoStream]]) -> list[Packet[VideoStream]]:
        """The last packets: MP4 keeps no end, so the picture after the last gap lasts as long."""
        for packet in packets:
            packet.duration = round(self._gap / _CLOCK / packet.time_base)
        return packets

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        assert self._output is not None
        for packet in packets:
            self._output.mux(packet)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        import av

        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise sink_error(self._file.path, error) from error


def _ours(path: Path) -> bool:
    import av

    try:
        with av.open(f"file:{path}") as container:
            return container.metadata.get("comment") == MARK
    except (OSError, ValueError, av.FFmpegError):
        return False


def _fit(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`picture` (uint8 HxWx3) as a picture of exactly `size` (width, height)."""
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    right, below = size[0] - width, size[1] - height
    if right in (0, 1) and below in (0, 1):
        if right or below:
            padded = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
            return np.asarray(padded, np.uint8)
        return picture
    scale = min(size[0] / width, size[1] / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    x, y = (size[0] - wide) // 2, (size[1] - high) // 2
    canvas[y : y + high, x : x + wide] = cv2.resize(picture, (wide, high), interpolation=method)
    return canvas
