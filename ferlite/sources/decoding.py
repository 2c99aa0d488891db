"""PyAV, as the video, camera and stream sources use it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from ferlite.errors import SourceError
from ferlite.planes import Planes, YuvMatrix
from ferlite.sources.base import MAX_PIXELS
from ferlite.types import DecodedPicture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Demuxers of text-mode art: they take any text or binary file for a film.
_NO_VIDEO = frozenset({"tty", "bin", "xbin", "adf", "idf"})

Matrix = tuple[int, int, int, int]  # a, b, c, d of FFmpeg's display matrix

# Planes of 8 bits, and whether their names say that all 256 levels are used.
_PLANAR = {f"yuv{full}{kind}p": bool(full) for full in ("", "j") for kind in (420, 422, 444)}
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# Shares of red and blue in brightness by AVColorSpace (ITU-T H.273): BT.709, FCC, BT.601 twice,
# SMPTE 240M, BT.2020. What is not specified (0, 2) is BT.601, as FFmpeg takes it.
_SHARES = {
    **dict.fromkeys((0, 2, 5, 6), (0.299, 0.114)),
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


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
        container = av.open(
            location,
            "r",
            format,
            options=options or {},
            metadata_errors="replace",  # titles are in any encoding
            timeout=timeout_s,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = explain(error, timeout_s)
        if timeout_s is not None and time.monotonic() - began >= timeout_s:
            reason = _silence(timeout_s)  # RTSP calls it invalid data
        raise SourceError(f"{name}: {reason}") from error
    if container.format.name in _NO_VIDEO:
        container.close()
        raise SourceError(f"{name}: not a picture or video file")
    return container


def ends_s(container: InputContainer) -> float | None:
    """When a file ends by its header, seconds of its own clock; None where it does not say."""
    import av

    if not container.duration:
        return None
    # What FFmpeg writes to Matroska as the duration is when the file ends.
    matroska = container.format.name.startswith("matroska")
    begins = 0 if matroska else container.start_time or 0
    return (begins + container.duration) / av.time_base


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
    """Decoded frames as pictures, the container's rotation and mirroring applied.

    Frames of 8-bit planes stay so until somebody wants BGR. Non-square pixels are not stretched.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        # One for all frames: frame.to_ndarray(format=...) sets up a new scaler for each.
        self._reformatter = VideoReformatter()
        self._lock = threading.Lock()
        self._tiny = VideoReformatter()
        self._turn: Matrix | None = None
        self._turn_of: tuple[int, int, int] | None = None

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8] | DecodedPicture:
        """The picture, or uint8 [height, width, 3] BGR; SourceError for one over MAX_PIXELS."""
        if frame.width * frame.height > MAX_PIXELS:
            raise SourceError(f"a picture of {frame.width}x{frame.height} pixels is refused")
        matrix = self._matrix(frame)
        planes = _planes(frame)
        if planes is None:
            return self._bgr(frame, matrix)
        if matrix is not None:
            y, u, v = (_shown(plane, *matrix) for plane in (planes.y, planes.u, planes.v))
            planes = Planes(y, u, v, planes.matrix)
        return DecodedPicture(planes, lambda: self._bgr(frame, matrix))

    def _bgr(self, frame: VideoFrame, matrix: Matrix | None) -> NDArray[np.uint8]:
        """SourceError where that fails, for lack of memory above all."""
        import av

        try:
            with self._lock:
                pixels = self._reformatter.reformat(frame, format="bgr24").to_ndarray()
            image = np.ascontiguousarray(pixels, np.uint8)
            return image if matrix is None else _shown(image, *matrix)
        except (av.FFmpegError, MemoryError) as error:
            reason = explain(error) or "out of memory"
            size = f"{frame.width}x{frame.height}"
            raise SourceError(f"a picture of {size} pixels is not converted: {reason}") from error

    def shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """(width, height) of a frame once it is turned."""
        matrix = self._matrix(frame)
        if matrix is not None and abs(matrix[1]) > abs(matrix[0]):
            return frame.height, frame.width
        return frame.width, frame.height

    def _matrix(self, frame: VideoFrame) -> Matrix | None:
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


def _planes(frame: VideoFrame) -> Planes | None:
    """The frame's own memory, where it is of a kind that can be read as it is."""
    named_full = _PLANAR.get(frame.format.name)
    shares = _SHARES.get(int(frame.colorspace))
    # Bottom-up pictures have negative lines.
    upright = all(plane.line_size >= plane.width > 0 for plane in frame.planes)
    if named_full is None or shares is None or not upright:
        return None
    full = named_full or int(frame.color_range) == _FULL_RANGE
    y, u, v = (
        np.frombuffer(memoryview(plane).toreadonly(), np.uint8).reshape(-1, plane.line_size)[
            : plane.height, : plane.width
        ]
        for plane in frame.planes
    )
    if u.shape[0] == y.shape[0] != 1 and u.shape[1] < y.shape[1]:
        u, v = u[::2], v[::2]  # 4:2:2 read as 4:2:0
    return Planes(y, u, v, YuvMatrix.of(*shares, full))


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
