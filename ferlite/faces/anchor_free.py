"""ferlite's own detectors: an anchor-free network, several frames a run, decoded in C++.

Frames of equal size share a run of the pipeline only where the network's input is small. Of a
network of 0.2 million parameters in INT8, on one core of an AMD EPYC, a frame took (median of 60,
frames of 640x360 searched at 320, 480 and 640 pixels) 1.10, 2.08 and 2.70 ms alone, 0.92, 1.89 and
2.68 ms in pairs, and 0.88, 1.77 and 2.80 ms in fours, which would wait too long for their results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ferlite import arguments, crops, session
from ferlite.bundles import Bundle, FaceBundle
from ferlite.errors import ModelError
from ferlite.faces import detector
from ferlite.planes import Picture
from ferlite.precision import Trial, open_network
from ferlite.types import Detections

# Sides of the network's input are multiples of this.
STEP = 32
# The best candidates that suppression compares, as in OpenCV's FaceDetectorYN.
TOP_K = 5000
# A network's input up to this many pixels is worth a run of two frames; see above.
SHARED_PIXELS = 480 * 320
# Pixels of one run: at about 25 bytes each the network's own memory stays near 40 MB, unless one
# frame alone is larger.
RUN_PIXELS = 4 * 640 * 640
# The second look of size "auto": its longest side, and how large, in multiples of the smallest face
# that the network finds, a face must have been in the first look to speak against one.
SECOND_SIDE = 1280
CLEAR = 2


class AnchorFreeDetector:
    """Faces with five landmarks; see `ferlite.faces.open_detector`.

    size: with "auto" and without `min_face`, a frame in which the first look found no face, or one
        so small that smaller ones may be near, is searched again at up to `SECOND_SIDE` pixels, and
        the faces of both looks count.
    After construction `precision`, `provider` and `file` say what really runs, and `choice` how it
    was chosen (None where there was nothing to choose).
    Raises UsageError, ProviderError, and ModelError when a file is missing, damaged, or no detector
    that fits the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threshold: float | None = None,
        min_face: float = 0,
        size: detector.Size = None,
        provider: str = "auto",
        precision: str = "auto",
        threads: int = 0,
    ) -> None:
        if not isinstance(bundle, FaceBundle):
            raise ModelError(f"{bundle.path}: is a model for {bundle.task}, no face detector")
        self.bundle = bundle
        self.name = bundle.name
        self._threshold = detector.check_threshold(threshold, bundle.threshold)
        self._min_face = detector.check_min_face(min_face)
        self._size = detector.check_size(size)
        network = open_network(
            bundle,
            provider=provider,
            threads=arguments.threads(threads) or session.default_threads(),
            precision=precision,
            check=lambda opened: check(opened, bundle),
            trial=lambda: _trial(bundle),
        )
        self._session, self.provider = network.session, network.session.provider
        self.precision, self.file, self.choice = network.precision, network.file, network.choice
        self.models = (network.description(bundle),)

    takes_planes = True

    def detect(self, image: Picture) -> Detections:
        """See `Detector.detect`."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[Picture]) -> list[Detections]:
        """See `BatchDetector.detect_batch`; a run has at most `RUN_PIXELS` or one frame."""
        sides = [self._side(*image.shape[:2]) for image in images]
        found = self._look(images, sides)
        if self._size == "auto" and not self._min_face:
            again = [i for i, one in enumerate(found) if self._unclear(images[i], sides[i], one)]
            closer = self._look([images[i] for i in again], [SECOND_SIDE] * len(again))
            for i, one in zip(again, closer, strict=True):
                found[i] = _suppress(_join(found[i], one), self.bundle.nms_iou)
        return [detector.select(one, threshold=0.0, min_face=self._min_face) for one in found]

    def batch_size(self, height: int, width: int) -> int:
        """See `BatchDetector.batch_size`."""
        columns, rows = _canvas(height, width, self._side(height, width))
        return 2 if rows * columns <= SHARED_PIXELS else 1

    def _side(self, height: int, width: int) -> float:
        return detector.searched_side(
            max(height, width),
            self._size,
            default=self.bundle.size,
            min_face=self._min_face,
            smallest=self.bundle.smallest,
        )

    def _unclear(self, image: Picture, side: float, found: Detections) -> bool:
        """Whether a frame deserves a second look; `side` is that of the first."""
        longest = max(image.shape[:2])
        if side >= min(longest, SECOND_SIDE):
            return False
        clear = CLEAR * self.bundle.smallest * longest / side
        return not len(found) or float(found.boxes[:, 2:].min()) < clear

    def _look(self, images: Sequence[Picture], sides: Sequence[float]) -> list[Detections]:
        """The faces of each image at that many pixels of its longest side."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, (image, side) in enumerate(zip(images, sides, strict=True)):
            height, width = image.shape[:2]
            groups.setdefault(_canvas(height, width, side), []).append(i)
        found: dict[int, Detections] = {}
        for (width, height), members in groups.items():
            most = max(1, RUN_PIXELS // (width * height))
            for start in range(0, len(members), most):
                part = members[start : start + most]
                batch = np.empty((len(part), height, width, 3), np.uint8)
                places = [_place(images[i], canvas) for i, canvas in zip(part, batch, strict=True)]
                maps = _run(self._session, self.bundle, batch)
                for k, (i, (zoom, offset)) in enumerate(zip(part, places, strict=True)):
                    found[i] = _decode(
                        self.bundle, [one[k] for one in maps], self._threshold, zoom, offset
                    )
        return [found[i] for i in range(len(images))]


def _canvas(height: int, width: int, side: float) -> tuple[int, int]:
    """(width, height) of the network's input for a frame with at most `side` pixels a side.

    The side is rounded up to whole steps, as the input is.
    """
    zoom = min(1.0, math.ceil(side / STEP) * STEP / max(height, width))
    # Rounded first: 640.0000001 is not one step more than 640.
    return (
        math.ceil(round(width * zoom, 6) / STEP) * STEP,
        math.ceil(round(height * zoom, 6) / STEP) * STEP,
    )


def _place(image: Picture, canvas: NDArray[np.uint8]) -> tuple[float, tuple[int, int]]:
    """Fits a frame onto its canvas; returns zoom and offset."""
    size = canvas.shape[1], canvas.shape[0]
    _, zoom, offset = crops.letterbox(image, size, padding=0, enlarge=False, out=canvas)
    return zoom, offset


def _run(
    network: session.Session, bundle: FaceBundle, batch: NDArray[np.uint8]
) -> list[NDArray[np.float32]]:
    """The maps of a batch, in the order of `strides`; ModelError when they are none."""
    outputs = dict(zip(network.output_names, network.run(batch), strict=True))
    maps = []
    for stride in bundle.strides:
        name = f"stride{stride}"
        count, height, width, _ = batch.shape
        wanted = (count, 5 + 2 * bundle.landmarks, height // stride, width // stride)
        given = outputs.get(name)
        if given is None or given.shape != wanted or given.dtype != np.float32:
            shown = "missing" if given is None else f"{given.dtype} {list(given.shape)}"
            raise ModelError(
                f"{network.name}: output {name} is {shown} for an input of {list(batch.shape)};"
                f" a detector gives float32 {list(wanted)}"
            )
        maps.append(given)
    return maps


def _decode(
    bundle: FaceBundle,
    maps: Sequence[NDArray[np.float32]],
    threshold: float,
    zoom: float = 1.0,
    offset: tuple[int, int] = (0, 0),
) -> Detections:
    """The faces of one frame, best score first."""
    found = Detections(
        *crops.decode_boxes(maps, bundle.strides, threshold=threshold, scale=zoom, offset=offset)
    )
    if len(found) > TOP_K:
        found = _take(found, np.argpartition(-found.scores, TOP_K)[:TOP_K])
    return _suppress(found, bundle.nms_iou)


def _suppress(found: Detections, iou: float) -> Detections:
    return _take(found, crops.nms(found.boxes, found.scores, iou))


def _take(found: Detections, kept: NDArray[np.int64]) -> Detections:
    points = found.landmarks
    return Detections(
        found.boxes[kept], found.scores[kept], None if points is None else points[kept]
    )


def _join(a: Detections, b: Detections) -> Detections:
    pairs = ((a.boxes, b.boxes), (a.scores, b.scores), (a.landmarks, b.landmarks))
    return Detections(*(np.concatenate(pair) for pair in pairs))  # type: ignore[arg-type]


def check(opened: session.Session, bundle: FaceBundle) -> None:
    """ModelError unless the network is a detector of frames of any size."""
    shape = opened.input_shape
    free = len(shape) == 4 and not any(isinstance(side, int) for side in shape[:3])
    if opened.input_type != "tensor(uint8)" or not free or shape[3] != 3:
        shown = ", ".join(str(side or "?") for side in shape)
        raise ModelError(
            f"{opened.name}: takes {opened.input_type} [{shown}]; a detector takes tensor(uint8)"
            " [n, h, w, 3] with n, h and w free"
        )
    # What it declares may still not be what it does.
    _run(opened, bundle, np.zeros((2, STEP, 2 * STEP, 3), np.uint8))


def _trial(bundle: FaceBundle) -> Trial:
    """For the choice between the networks of a bundle: the two faces that come with ferlite."""
    from ferlite.demo.clip import portrait

    pair = np.concatenate([portrait("astronaut.jpg"), portrait("hopper.jpg")], axis=1)
    side = math.ceil(bundle.size / STEP) * STEP
    height = math.ceil(side * pair.shape[0] / pair.shape[1] / STEP) * STEP
    batch = crops.letterbox(pair, (side, height), padding=0)[0][np.newaxis]

    def difference(fp32: session.Session, int8: session.Session) -> float:
        a, b = (
            _decode(bundle, [one[0] for one in _run(network, bundle, batch)], bundle.threshold)
            for network in (fp32, int8)
        )
        return max(_unlike(a, b, bundle.threshold), _unlike(b, a, bundle.threshold))

    return Trial(batch, difference)


def _unlike(found: Detections, other: Detections, threshold: float) -> float:
    """The most by which the score of a face in `found` exceeds that of the same face in `other`.

    A face that is not there has a score just under the threshold.
    """
    most = 0.0
    for box, score in zip(found.boxes, found.scores, strict=True):
        same = other.scores[_overlaps(box, other.boxes) > 0.5]
        most = max(most, float(score) - float(same.max(initial=threshold)))
    return most


def _overlaps(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a box [4] with each of `boxes` [n, 4]."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    overlap: NDArray[np.float32] = shared / (box[2:].prod() + boxes[:, 2:].prod(axis=1) - shared)
    return overlap
