"""What flows through ferlite: frames, detections, faces, results.

Pixels are uint8 HxWx3 BGR unless a name says otherwise. Boxes are (x, y, width, height) in pixels
of the frame as shown, landmarks (x, y) in the same pixels. Times are seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from ferlite.planes import Picture, Planes

# Time stamps that go back by more than this are of a clock that started anew, as where two MPEG-TS
# files were joined or a camera restarted; by less, of a stamp that was written wrongly.
NEW_CLOCK_S = 1.0

Color = Literal["bgr", "rgb", "gray"]
Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of one input before its first frame.

    name: as the user wrote it (a path, URL, "camera:0", "arrays").
    kind: "image" is a still (no identity over time), "video" a file with an end, "live" a camera
        or stream where a slow reader must skip frames, "arrays" frames handed over by the caller.
    width, height: pixels as shown, rotation applied; 0 when not known before decoding.
    frames: expected number of frames that will be yielded, or None when unknown.
    fps: average frame rate, or None when unknown.
    duration_s: expected length, or None when unknown.
    location: what to open to read it a second time, where that is not `name`: a URL with user and
        password, which are kept out of `name`. Never in records, messages or the repr.
    """

    name: str
    kind: Literal["image", "video", "live", "arrays"]
    width: int = 0
    height: int = 0
    frames: int | None = None
    fps: float | None = None
    duration_s: float | None = None
    location: str | None = field(default=None, repr=False, compare=False)


class DecodedPicture:
    """A picture as a decoder gave it; BGR is made when it is first asked for, and kept.

    planes: what was decoded. convert: makes BGR of it; called once, on the thread that asks.
    """

    __slots__ = ("_bgr", "_convert", "_lock", "planes")

    def __init__(self, planes: Planes, convert: Callable[[], NDArray[np.uint8]]) -> None:
        self.planes = planes
        self._convert = convert
        self._lock = threading.Lock()
        self._bgr: NDArray[np.uint8] | None = None

    def bgr(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3]."""
        with self._lock:
            if self._bgr is None:
                self._bgr = self._convert()
            return self._bgr


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    index: position in the source as decoded, from 0 (with --every 5: 0, 5, 10, ...).
    t: seconds, from the container's own time stamps.
    picture: uint8 [height, width, 3] BGR, or as it was decoded; shape (0, 0, 3) when `error` is
        set.
    error: why this picture could not be read, one line, or None.
    received: when a camera or stream gave it, by this machine's clock, UTC; None of other sources.
    """

    source: SourceInfo
    index: int
    t: float
    picture: NDArray[np.uint8] | DecodedPicture
    error: str | None = None
    received: datetime | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] BGR, converted at the first use."""
        picture = self.picture
        return picture.bgr() if isinstance(picture, DecodedPicture) else picture

    @property
    def pixels(self) -> Picture:
        """What is there without conversion."""
        picture = self.picture
        return picture.planes if isinstance(picture, DecodedPicture) else picture

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces found in one frame, before classification.

    boxes: float32 [n, 4]; scores: float32 [n] in 0..1; landmarks: float32 [n, 5, 2] (the eye, then
    nose, then mouth corner; left before right as seen in the picture) or None.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Emotion:
    """What was read from one crop; `label` is the largest of `emotions`, as in `Face`."""

    label: str
    confidence: float
    uncertain: bool
    emotions: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Face:
    """One face of one frame.

    box: x, y, width, height in pixels of the frame. landmarks: x, y there of the eyes, the nose and
        the corners of the mouth, left before right as seen in the picture; None from a detector
        without.
    emotions: label -> probability, smoothed over the track's time constant where there is a
        track; `raw_emotions` is this frame's alone. Both sum to 1.
    emotion, confidence: the largest of `emotions`.
    uncertain: confidence is under the model's own threshold; treat `emotion` as unknown. The
        threshold was fitted on single crops; smoothing_s=0 judges them by it.
    track: identity over frames, from 1; None in still images.
    score: the detector's confidence that this is a face, 0..1.
    """

    box: Box
    score: float
    landmarks: tuple[Point, ...] | None
    track: int | None
    emotion: str
    confidence: float
    uncertain: bool
    emotions: Mapping[str, float]
    raw_emotions: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, rounded to what the numbers mean (0.01 px, 0.0001 probability)."""
        points = self.landmarks
        return {
            "track": self.track,
            "box": [round(v, 2) for v in self.box],
            "score": round(self.score, 4),
            "landmarks": points and [[round(x, 2), round(y, 2)] for x, y in points],
            "emotion": self.emotion,
            "confidence": round(self.confidence, 4),
            "uncertain": self.uncertain,
            "emotions": {k: round(v, 4) for k, v in self.emotions.items()},
            "raw_emotions": {k: round(v, 4) for k, v in self.raw_emotions.items()},
        }


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Everything read from one frame; a frame without a face has an empty `faces`.

    source: name of the input. frame: number of the frame in it, from 0.
    t: seconds; of a file its own time stamp, of a camera or stream since its first frame.
    width, height: pixels of the frame as shown.
    error: why the frame could not be read, or how a camera was lost, one line; None otherwise.
    received: when a camera or stream gave it, by this machine's clock, UTC; None of other sources.
    """

    source: str
    frame: int
    t: float
    width: int
    height: int
    faces: tuple[Face, ...] = ()
    error: str | None = None
    received: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON Lines record of this frame; `error` and `received` only where there is one."""
        record: dict[str, Any] = {
            "source": self.source,
            "frame": self.frame,
            "t": round(self.t, 6),
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
        }
        if self.received is not None:
            record["received"] = self.received.isoformat(timespec="milliseconds")
        if self.error is not None:
            record["error"] = self.error
        return record
