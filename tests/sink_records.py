"""What the sink tests write: frames, results and small clips, made to order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.types import Face, Frame, FrameResult, SourceInfo

LABELS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)


def make_face(
    box: tuple[float, float, float, float] = (20.0, 10.0, 40.0, 50.0),
    emotion: str = "happiness",
    confidence: float = 0.72,
    *,
    track: int | None = 1,
    uncertain: bool = False,
    raw: float | None = None,
    landmarks: bool = False,
) -> Face:
    def spread(largest: float) -> dict[str, float]:
        rest = (1 - largest) / (len(LABELS) - 1)
        return {label: largest if label == emotion else rest for label in LABELS}

    x, y, w, h = box
    points = tuple((x + w * a, y + h * a) for a in (0.2, 0.4, 0.5, 0.6, 0.8))
    return Face(
        box,
        0.9,
        points if landmarks else None,
        track,
        emotion,
        confidence,
        uncertain,
        spread(confidence),
        spread(confidence if raw is None else raw),
    )


def make_frame(
    info: SourceInfo,
    index: int = 0,
    t: float = 0.0,
    faces: Sequence[Face] = (),
    *,
    image: NDArray[np.uint8] | None = None,
    error: str | None = None,
) -> tuple[Frame, FrameResult]:
    if error is not None:
        image = np.zeros((0, 0, 3), np.uint8)
    elif image is None:
        image = np.full((info.height or 96, info.width or 128, 3), 90 + index % 50, np.uint8)
    height, width = image.shape[:2]
    frame = Frame(info, index, t, image, error)
    return frame, FrameResult(info.name, index, t, width, height, tuple(faces), error)


def make_clip(
    path: Path,
    times: Sequence[float],
    *,
    audio: str | None = None,
    rate: int = 44100,
    layout: str = "mono",
    audio_seconds: float | None = None,
) -> Path:
    """A small real clip with these time stamps and, if asked for, a tone in this codec."""
    import av

    options = {} if path.suffix == ".mkv" else None
    with av.open(str(path), "w", options=options) as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        # MPEG-4 part 2 holds at most 65535 ticks a second.
        clock = Fraction(1, 1000)
        video.codec_context.time_base = clock
        sound: Any = None
        if audio is not None:
            sound = output.add_stream(audio, rate=rate)
            sound.codec_context.layout = layout
        for i, t in enumerate(times):
            picture = np.full((96, 128, 3), 40 + 3 * (i % 50), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round(t / clock), clock
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound is not None:
            seconds = times[-1] + 0.04 if audio_seconds is None else audio_seconds
            channels = 2 if layout == "stereo" else 1
            step = 1024
            for start in range(0, int(seconds * rate), step):
                tone = np.sin((start + np.arange(step)) * 2 * np.pi * 440 / rate) * 8000
                samples = np.repeat(tone.astype(np.int16), channels)[None]
                block = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
                block.pts, block.sample_rate = start, rate
                block.time_base = Fraction(1, rate)
                output.mux(sound.encode(block))
            output.mux(sound.encode(None))
    return path
