"""The public way in: frames of any source to faces with emotions."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

import ferlite
from ferlite import bundles
from ferlite.emotion import EmotionClassifier
from ferlite.errors import UsageError
from ferlite.faces import (
    DEFAULT_DETECTOR,
    Detector,
    Size,
    find_faces,
    open_detector,
    seen_by,
    takes_batches,
)
from ferlite.pipeline import Pipeline, Stage, Together
from ferlite.planes import Picture
from ferlite.sources import Source, SourceOptions, open_source
from ferlite.sources.arrays import check_picture, is_one_picture, to_bgr
from ferlite.tracks import Tracker, TrackOptions
from ferlite.types import Color, Detections, Emotion, Face, Frame, FrameResult

VERSIONED = ("numpy", "opencv-python-headless", "av")

# Of the frames under way, as BGR: 20 of 1080p, more than the queues hold, but one of 48 megapixels.
PIXEL_BYTES = 2**27
# Frames waiting to be searched. Decoders give several at a time and pause; of a file, where nobody
# waits for the newest, more of them keep the stages behind busy.
FILE_DEPTH, LIVE_DEPTH = 4, 2

Probabilities = NDArray[np.float32]


class Analyzer:
    """Finds the faces of frames and reads their emotions.

    detector: a name, folder or file that `ferlite.faces.open_detector` takes, or any `Detector`: it
        has `name`, and `detect` of a uint8 [h, w, 3] BGR picture that gives `Detections`.
    model: name of an installed model, a folder with bundle.json, or a `.onnx` file.
    provider: "auto", "cpu" or "openvino". threads: of each network; 0 for the physical cores, at
        most 4. precision: of each network, "auto" (the faster on this machine), "fp32" or "int8".
    min_face: pixels, least width and height of a face; 0 for no limit.
    detect_size: pixels of the longest side of the picture searched for faces, 32 to 8192; None for
        the detector's own, or as many as faces of `min_face` need; "auto" to look again at frames
        with small faces or none, closer (see `ferlite.faces.open_detector`).
    detection_threshold: least score of a face, 0..1; None for the detector's own.
    smoothing_s: time constant of the smoothing of emotions along a track, seconds; 0 for none.
        `Face.uncertain` is judged on the smoothed distribution, though the model's temperature and
        threshold were fitted on single crops: along a track a face is then called uncertain less
        or more often than the model's card says. 0 gives the single crop's own answer.
    track_memory_s: how long a face may be missed and keep its identity, seconds; where no frame
        came since, four times as long, and half a second at least.
    color: of the arrays that callers hand over: "bgr", "rgb" or "gray"; HxW is always grey.

    Safe to use from several threads: networks run concurrently, OpenCV takes turns, and each
    `frames` or `stream` has threads and tracks of its own.
    Raises UsageError, ModelError, ProviderError.
    """

    def __init__(
        self,
        detector: str | Path | Detector = DEFAULT_DETECTOR,
        model: str | Path = "emotion",
        *,
        provider: str = "auto",
        threads: int = 0,
        min_face: float = 0,
        detect_size: Size = None,
        detection_threshold: float | None = None,
        precision: str = "auto",
        smoothing_s: float = 0.5,
        track_memory_s: float = 0.5,
        color: Color = "bgr",
    ) -> None:
        if color not in get_args(Color):
            raise UsageError(f"unknown color {color!r}; use one of {', '.join(get_args(Color))}")
        self._color: Color = color
        self._tracks = TrackOptions(memory_s=track_memory_s, smoothing_s=smoothing_s)
        self.classifier = EmotionClassifier(
            bundles.find(model), provider=provider, threads=threads, precision=precision
        )
        given = not isinstance(detector, str | Path)
        if given and not (
            callable(getattr(detector, "detect", None))
            and isinstance(getattr(detector, "name", None), str)
        ):
            raise UsageError(
                f"detector is {detector!r:.80}; give a name such as {DEFAULT_DETECTOR!r}, a path,"
                " or an object with detect() and name"
            )
        if isinstance(detector, str | Path):
            detector = open_detector(
                detector,
                threshold=detection_threshold,
                min_face=min_face,
                size=detect_size,
                provider=provider,
                precision=precision,
                threads=threads,
            )
        elif min_face or detect_size is not None or detection_threshold is not None:
            raise UsageError(
                "min_face, detect_size and detection_threshold belong to the detector handed over"
            )
        self.detector = detector
        self._seconds: dict[str, float] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions, in the model's order."""
        return self.classifier.labels

    def analyze(self, frame: NDArray[np.uint8]) -> FrameResult:
        """The faces of one picture, uint8 [h, w, 3] in `color` or [h, w]; without tracks."""
        return self.analyze_batch([frame])[0]

    def analyze_batch(self, frames: Iterable[NDArray[np.uint8]]) -> list[FrameResult]:
        """The faces of unrelated pictures, all faces classified in one run.

        Pictures of equal size share the runs of a detector that can do so.

        frames: a list of pictures or an array [n, h, w, 3]; UsageError for a single picture.
        """
        images = [self._bgr(frame, f"frame {i}") for i, frame in enumerate(_several(frames))]
        found = find_faces(self.detector, images)
        parts = [self._crop(image, one) for image, one in zip(images, found, strict=True)]
        if not parts:
            return []
        rows = self.classifier.run(np.concatenate(parts))
        splits = np.split(rows, np.cumsum([len(part) for part in parts])[:-1])
        return [
            FrameResult(
                source="arrays",
                frame=number,
                t=0.0,
                width=image.shape[1],
                height=image.shape[0],
                faces=self._faces(one, raw, raw, None),
            )
            for number, (image, one, raw) in enumerate(zip(images, found, splits, strict=True))
        ]

    def classify(self, crops: Iterable[NDArray[np.uint8]]) -> list[Emotion]:
        """The emotions of pictures that each hold one face, of any size, in one run.

        A picture that is not square is extended to a square by repeating its edges. crops: as the
        frames of `analyze_batch`, cut at the face, forehead to chin, without a margin: hair and
        shoulders around it spoil the answer.
        """
        parts = []
        for number, crop in enumerate(_several(crops)):
            image = self._bgr(crop, f"crop {number}")
            whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
            parts.append(self.classifier.crop(image, whole))
        if not parts:
            return []
        return [self.classifier.emotion(row) for row in self.classifier.run(np.concatenate(parts))]

    def stream(
        self,
        source: Any,
        *,
        every: int = 1,
        start_s: float = 0.0,
        duration_s: float | None = None,
        fps_limit: float | None = None,
        reconnect_s: float = 60.0,
        tracks: bool = True,
    ) -> Iterator[FrameResult]:
        """The results of a source's frames as they come, in order.

        source: anything `ferlite.sources.open_source` takes: a file, folder, pattern, camera
            number, URL, iterable of arrays, or a list of these; or an opened source.
        every: analyse each N-th frame. start_s, duration_s: the part to read, in seconds.
        fps_limit: analyse at most so many frames a second. tracks: follow faces over time.
        reconnect_s: how long to try to get a lost camera or live stream back, seconds; `math.inf`
            to try for ever. Each outage gives one result with `error`; when the time is over, the
            results end.
        These options, `tracks` apart, are the source's: one that is opened already has its own.
        """
        options = SourceOptions(
            every=every,
            start_s=start_s,
            duration_s=duration_s,
            fps_limit=fps_limit,
            reconnect_s=reconnect_s,
            color=self._color,
        )
        opened = source if isinstance(source, Source) else open_source(source, options)
        return self._stream(opened, tracks)

    def _stream(self, source: Source, tracks: bool) -> Iterator[FrameResult]:
        with source, self.frames(source, tracks=tracks) as results:
            for frame, result in results:
                del frame  # not held while the caller is busy
                yield result

    def frames(self, source: Source, *, tracks: bool = True) -> Pipeline[tuple[Frame, FrameResult]]:
        """Each frame of an opened source with its result, in order; close it when done.

        Decoding, detection and classification run on threads of their own. Frames of live sources
        that come faster than they can be analysed are dropped (`Pipeline.dropped`). A caller's
        iterator of arrays that blocks keeps its thread after `close`, until it gives an array.
        """
        if not isinstance(source, Source):
            raise UsageError(
                f"frames() of {type(source).__name__}: give an opened source, as "
                "ferlite.sources.open_source gives it"
            )
        classify = _Classify(self, self._tracks if tracks else None)
        pipeline: Pipeline[tuple[Frame, FrameResult]] = Pipeline(
            source,
            [self._detection(), ("classify", classify)],
            depth=FILE_DEPTH if source.info.kind == "video" else LIVE_DEPTH,
            behind=1 if source.info.kind == "live" else 2,
            expendable=_is_live,
            weigh=lambda frame: math.prod(frame.pixels.shape),
            limit=PIXEL_BYTES,
            # Arrays come from the caller's iterator.
            stubborn=lambda: source.info.kind == "arrays",
        )
        self._seconds = pipeline.seconds
        return pipeline

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent in each stage by the latest `frames` or `stream`, without waiting."""
        return dict(self._seconds)

    def description(self) -> dict[str, Any]:
        """What runs: provider, threads, detector, models with SHA-256, versions; JSON types."""
        import onnxruntime

        return {
            "provider": self.classifier.provider,
            "threads": self.classifier.threads,
            "detector": self.detector.name,
            "models": [self.classifier.model, *getattr(self.detector, "models", ())],
            "versions": {
                "ferlite": ferlite.__version__,
                "python": platform.python_version(),
                **{name: _version(name) for name in VERSIONED},
                # Its distribution may be another, such as onnxruntime-openvino.
                "onnxruntime": onnxruntime.__version__,
            },
        }

    def _detection(self) -> Stage:
        """The stage that finds faces: several frames a run where that is faster.

        Only frames of files that are decoded already go together, so that no result comes later
        for it: those of a camera or a caller go alone.
        """
        detector = self.detector
        if not takes_batches(detector):
            return "detect", self._detect

        def most(frame: Frame) -> int:
            if frame.error is not None or frame.source.kind not in ("image", "video"):
                return 1
            return detector.batch_size(*frame.pixels.shape[:2])

        def detect(frames: list[Frame]) -> list[tuple[Frame, Detections | None]]:
            if len(frames) == 1:
                return [self._detect(frames[0])]
            found = find_faces(detector, [seen_by(detector, frame) for frame in frames])
            return list(zip(frames, found, strict=True))

        return "detect", Together(detect, most)

    def _detect(self, frame: Frame) -> tuple[Frame, Detections | None]:
        if frame.error is not None:
            return frame, None
        (found,) = find_faces(self.detector, [seen_by(self.detector, frame)])
        return frame, found

    def _crop(self, image: Picture, found: Detections) -> NDArray[Any]:
        return self.classifier.crop(image, found.boxes, self.detector.name, found.landmarks)

    def _faces(
        self,
        found: Detections,
        raw: Probabilities,
        shown: Probabilities,
        tracks: Sequence[int] | None,
    ) -> tuple[Face, ...]:
        faces = []
        for i, row in enumerate(shown):
            emotion = self.classifier.emotion(row)
            points = found.landmarks
            x, y, width, height = map(float, found.boxes[i])
            faces.append(
                Face(
                    box=(x, y, width, height),
                    score=float(found.scores[i]),
                    landmarks=None
                    if points is None
                    else tuple((float(x), float(y)) for x, y in points[i]),
                    track=None if tracks is None else tracks[i],
                    emotion=emotion.label,
                    confidence=emotion.confidence,
                    uncertain=emotion.uncertain,
                    emotions=emotion.emotions,
                    # A copy: changing one must not change the other.
                    raw_emotions=dict(emotion.emotions)
                    if shown is raw
                    else self.classifier.emotion(raw[i]).emotions,
                )
            )
        return tuple(faces)

    def _bgr(self, frame: Any, what: str) -> NDArray[np.uint8]:
        """A caller's picture as uint8 [h, w, 3] BGR, copied only when its layout differs."""
        return to_bgr(check_picture(frame, self._color, what), self._color)


def _several(pictures: Iterable[Any]) -> Iterable[Any]:
    """UsageError for what holds no pictures, or is one, whose rows would pass for grey ones."""
    if is_one_picture(pictures) or (isinstance(pictures, np.ndarray) and not pictures.ndim):
        shape = getattr(pictures, "shape", None)
        raise UsageError(f"a single array of shape {shape} was given; give a list of pictures")
    if not isinstance(pictures, Iterable):
        raise UsageError(f"{type(pictures).__name__} was given; give a list of pictures")
    return pictures


class _Classify:
    """The stage that turns detections into results; holds the tracks of one run."""

    def __init__(self, analyzer: Analyzer, options: TrackOptions | None) -> None:
        self._analyzer = analyzer
        self._options = options
        self._tracker = Tracker(options)
        self._source = ("", "")  # name and kind
        self._index = -1
        self._size = (0, 0)  # width and height of its last frame
        # The first free number of each source left, for when it comes again.
        self._numbers: dict[tuple[str, str], int] = {}

    def __call__(self, item: tuple[Frame, Detections | None]) -> tuple[Frame, FrameResult]:
        frame, found = item
        width, height = frame.size
        faces: tuple[Face, ...] = ()
        self._follow(frame)
        if found is not None:
            analyzer = self._analyzer
            raw = shown = analyzer.classifier.run(analyzer._crop(frame.pixels, found))
            tracks = None
            if self._options is not None and frame.source.kind != "image":
                tracks = self._tracker.update(frame.t, found.boxes, found.scores)
                shown = self._tracker.smooth(frame.t, tracks, raw)
            faces = analyzer._faces(found, raw, shown, tracks)
        return frame, FrameResult(
            source=frame.source.name,
            frame=frame.index,
            t=frame.t,
            width=width,
            height=height,
            faces=faces,
            error=frame.error,
            received=frame.received,
        )

    def _follow(self, frame: Frame) -> None:
        """Forget the tracks where another source begins, or the same one from its start.

        Numbers go on where a source has had some: in one run they are never used twice.
        """
        if frame.source.kind == "image":
            return
        if frame.error is not None:
            # Behind a camera's outage somebody else may sit there.
            if frame.source.kind == "live":
                self._tracker.update(frame.t, [])
            return
        source = (frame.source.name, frame.source.kind)
        if source != self._source or frame.index <= self._index:
            self._numbers[self._source] = self._tracker.next_number
            self._source = source
            self._tracker = Tracker(self._options, first=self._numbers.get(source, 1))
        elif frame.size != self._size:
            (width, height), (width_before, height_before) = frame.size, self._size
            self._tracker.rescale(width / width_before, height / height_before)
        self._index, self._size = frame.index, frame.size


def _is_live(frame: Frame) -> bool:
    # The record of an outage is not repeated by a later frame.
    return frame.source.kind == "live" and frame.error is None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
