"""PyAV, as the video, camera and stream sources use it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from ferlite.errors import SourceError
from ferlite.sources.base import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Demuxers of text-mode art: they take any text or binary file for a film.
_NO_VIDEO = frozenset({"tty", "bin", "xbin", "adf", "idf"})


def open_container(
    location: str,
    *,
    name: str,
    format: str | None = None,
    options: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> InputContainer:
    """Open a file, URL or device; SourceError, naming `name`, when it cannot be."""
    import av

    began = time.monotonic()
    try:
        container = av.open(location, "r", format, options=options or {}, timeout=timeout_s)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = explain(error, timeout_s)
        if timeout_s is not None and time.monotonic() - began >= timeout_s:
            reason = _silence(timeout_s)  # RTSP calls it invalid data
        raise SourceError(f"{name}: {reason}") from error
    if container.format.name in _NO_VIDEO:
        container.close()
        raise SourceError(f"{name}: not a picture or video file")
    return container


def explain(error: BaseException, timeout_s: float | None = None) -> str:
    """An FFmpeg error in words for a person, one line."""
    import av

    if isinstance(error, av.error.ExitError) and timeout_s is not None:
        return _silence(timeout_s)
    if isinstance(error, av.InvalidDataError):
        return "not a picture or video file that can be read (damaged, truncated or another format)"
    if isinstance(error, av.EOFError):
        return "truncated: ends before its first picture"
    return str(getattr(error, "strerror", None) or error)


def _silence(timeout_s: float) -> str:
    return f"nothing received for {timeout_s:g} s"


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first stream of moving pictures; an album cover in an audio file is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic or stream.codec_context is None:
            continue
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise SourceError(f"{name}: {width}x{height} pixels is over the limit of {MAX_PIXELS}")
        return stream
    raise SourceError(f"{name}: has no video stream that can be decoded")


class Converter:
    """Decoded frames to BGR as shown: the container's rotation and mirroring applied.

    Non-square pixels are not stretched.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        # One for all frames: frame.to_ndarray(format=...) sets up a new scaler for each.
        self._reformatter = VideoReformatter()
        self._tiny = VideoReformatter()
        self._turn: tuple[int, int, int, int] | None = None
        self._turn_of: tuple[int, int, int] | None = None

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] BGR; SourceError for a picture over MAX_PIXELS."""
        if frame.width * frame.height > MAX_PIXELS:
            raise SourceError(f"a picture of {frame.width}x{frame.height} pixels is refused")
        pixels = self._reformatter.reformat(frame, format="bgr24").to_ndarray()
        image = np.ascontiguousarray(pixels, np.uint8)
        matrix = self._matrix(frame)
        return image if matrix is None else _shown(image, *matrix)

    def shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """(width, height) of a frame once it is turned."""
        matrix = self._matrix(frame)
        if matrix is not None and abs(matrix[1]) > abs(matrix[0]):
            return frame.height, frame.width
        return frame.width, frame.height

    def _matrix(self, frame: VideoFrame) -> tuple[int, int, int, int] | None:
        """a, b, c, d of the display matrix, or None; looked up when angle or size change."""
        key = (frame.width, frame.height, frame.rotation)
        if key != self._turn_of:
            self._turn_of, self._turn = key, None
            # From a tiny copy: PyAV's side data and its frame hold each other, so that the frame
            # asked stays in memory until Python collects its garbage.
            tiny = self._tiny.reformat(frame, width=16, height=16, format="gray")
            data = tiny.side_data.get("DISPLAYMATRIX")
            if data is not None:
                a, b, _, c, d = np.frombuffer(data, np.int32, 5).tolist()  # type: ignore[call-overload]
                self._turn = (a, b, c, d)
        return self._turn


def _shown(image: NDArray[np.uint8], a: int, b: int, c: int, d: int) -> NDArray[np.uint8]:
    """Apply FFmpeg's display matrix: x' = a x + c y, y' = b x + d y (libavutil/display.h).

    Angles that are no multiple of 90 degrees go to the nearest one.
    """
    import cv2

    turned = abs(b) > abs(a)
    mirror_x = (c if turned else a) < 0
    mirror_y = (b if turned else d) < 0
    shown = cv2.transpose(image) if turned else image
    if mirror_x or mirror_y:
        shown = cv2.flip(shown, -1 if mirror_x and mirror_y else int(mirror_x))
    return np.asarray(shown, np.uint8)
