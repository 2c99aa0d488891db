"""Any face detector, by file or name, as something that can be scored and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ferlite import bundles, crops, session
from ferlite.errors import ModelError, UsageError
from ferlite.faces import Detector, open_detector
from ferlite.faces.anchor_free import AnchorFreeDetector
from ferlite.faces.detector import check_min_face, check_size, check_threshold
from ferlite.training.classifier import count_parameters, load_keras
from ferlite.types import Detections

Image = NDArray[np.uint8]
SearchSize = int | Literal["native"]
TIMED_SIDE = 320  # pixels of the square on which networks are timed
# Of a .keras file, which knows neither; an exported bundle says them itself.
KERAS_THRESHOLD, KERAS_NMS_IOU = 0.5, 0.45


@dataclass(frozen=True)
class Candidate:
    """One detector in a comparison.

    open: (least score or None for its own, longest side searched) -> the detector.
    threshold: its own least score. parameters: numbers it learned, or None.
    size: bytes of its file.
    network: one run of its network on a `TIMED_SIDE` square with one thread of ONNX Runtime's CPU
        provider; None where it is no ONNX network.
    """

    name: str
    open: Callable[[float | None, int], Detector]
    threshold: float
    parameters: int | None
    size: int
    network: Callable[[], object] | None


def open_candidate(model: str, picture: Image, threads: int = 1) -> Candidate:
    """A .keras file of `ferlite train --task face`, an .onnx of ferlite or a YuNet, or a name.

    picture: what the network is timed on. Raises ModelError, UsageError.
    """
    if model.lower().endswith(".keras"):
        return _keras(Path(model))

    def opened(threshold: float | None, size: int | None) -> Detector:
        return open_detector(model, threshold=threshold, size=size, threads=threads, provider="cpu")

    detector = opened(None, None)
    if isinstance(detector, AnchorFreeDetector):
        return _anchor_free(model, detector, opened, picture)
    if detector.name == "haar":
        return _haar(opened)
    return _yunet(model, opened, picture)


def search(detector: Detector, image: Image, size: SearchSize) -> Detections:
    """Faces of a photograph brought to `size` on its longest side, in its own pixels.

    The detector itself shrinks; a photograph that is smaller is enlarged for it. "native": as is.
    """
    large, back = enlarged(image, size)
    found = detector.detect(large)
    points = found.landmarks
    return Detections(
        found.boxes * np.tile(back, 2),
        found.scores,
        None if points is None else points * back,
    )


def enlarged(image: Image, size: SearchSize) -> tuple[Image, NDArray[np.float32]]:
    """The photograph with at least `size` pixels on its longest side, and the factors back."""
    import cv2

    height, width = image.shape[:2]
    if size == "native" or size <= max(height, width):
        return image, np.ones(2, np.float32)
    zoom = size / max(height, width)
    to = (round(width * zoom), round(height * zoom))
    large = np.asarray(cv2.resize(image, to, interpolation=cv2.INTER_LINEAR), np.uint8)
    return large, np.array([width / to[0], height / to[1]], np.float32)


def searched(size: SearchSize) -> int:
    """What a detector is told: photographs at native size are never shrunk."""
    return bundles.LARGEST_SIZE if size == "native" else size


def interleaved(runs: Sequence[Callable[[], object] | None], rounds: int) -> list[float]:
    """Milliseconds of each, best of `rounds` taken in turn; nan for None.

    In turn, so that whatever else the machine does falls on all of them alike.
    """
    best = [float("nan") if run is None else float("inf") for run in runs]
    for run in runs:
        if run is not None:
            run()
    for _ in range(rounds):
        for i, run in enumerate(runs):
            if run is not None:
                start = time.perf_counter()
                run()
                best[i] = min(best[i], (time.perf_counter() - start) * 1000)
    return best


def _anchor_free(
    model: str, detector: AnchorFreeDetector, opened: Callable[..., Detector], picture: Image
) -> Candidate:
    bundle = detector.bundle
    content = bundle.load(detector.file)
    path = bundle.path if bundle.path.is_file() else bundle.path / detector.file
    network = session.create(content, provider="cpu", threads=1, name=model)
    batch = _timed(picture)[np.newaxis]
    # Export merges and quantization adds numbers; the network's own count is in its facts.
    stated = network.metadata.get(bundles.METADATA_KEY)
    parameters = json.loads(stated).get("parameters") if stated else None
    return Candidate(
        name=path.name,
        open=opened,
        threshold=bundle.threshold,
        parameters=parameters or count_parameters(path),
        size=len(content),
        network=lambda: network.run(batch),
    )


def _haar(opened: Callable[..., Detector]) -> Candidate:
    import cv2.data

    from ferlite.faces.haar import CASCADE

    size = (Path(cv2.data.haarcascades) / CASCADE).stat().st_size
    return Candidate("haar", opened, 0.0, None, size, None)


def _yunet(model: str, opened: Callable[..., Detector], picture: Image) -> Candidate:
    import onnx

    from ferlite.faces.yunet import THRESHOLD

    path = Path(model)
    if not path.is_file():
        bundle = bundles.find(model)
        path = bundle.path / next(iter(bundle.precisions.values()))
    # The official file states 640x640; nothing but the stated shapes ties it to that.
    network = onnx.load(str(path))
    del network.graph.value_info[:]
    sides = network.graph.input[0].type.tensor_type.shape.dim
    for side, length in zip(sides, (1, 3, TIMED_SIDE, TIMED_SIDE), strict=True):
        side.dim_value = length
    for output in network.graph.output:
        output.type.tensor_type.ClearField("shape")
    timed = session.create(network.SerializeToString(), provider="cpu", threads=1, name=model)
    planes = _timed(picture).transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    return Candidate(
        name=path.name,
        open=opened,
        threshold=THRESHOLD,
        parameters=count_parameters(path),
        size=path.stat().st_size,
        network=lambda: timed.run(planes),
    )


def _keras(path: Path) -> Candidate:
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name a .keras or .onnx file")
    trained = load_keras(path)
    strides = _strides(path, trained)
    model = _of_any_size(trained)

    def opened(threshold: float | None, size: int) -> Detector:
        return _KerasDetector(path, model, strides, threshold, size)

    return Candidate(
        name=path.name,
        open=opened,
        threshold=KERAS_THRESHOLD,
        parameters=int(model.count_params()),
        size=path.stat().st_size,
        network=None,
    )


def _strides(path: Path, model: Any) -> tuple[int, ...]:
    """Of the maps that a detector gives; UsageError for other weights."""
    names = [str(name) for name in getattr(model, "output_names", ())]
    if not names or not all(name[:6] == "stride" and name[6:].isdigit() for name in names):
        raise UsageError(
            f"{path} gives {', '.join(names)}, a face detector gives stride8 and so on;"
            " name weights of `ferlite train --task face`"
        )
    return tuple(int(name[6:]) for name in names)


def _of_any_size(model: Any) -> Any:
    """The same weights without the picture size that they were trained at."""
    import keras

    if len(model.inputs) != 1 or len(model.input_shape) != 4 or model.input_shape[1] is None:
        return model
    inputs = keras.Input((None, None, 3), dtype=model.inputs[0].dtype, name=model.inputs[0].name)
    free = keras.models.clone_model(model, input_tensors=inputs)
    free.set_weights(model.get_weights())
    return free


class _KerasMaps:
    """A Keras detector in the place of a Session: maps channels first."""

    def __init__(self, path: Path, model: Any) -> None:
        self.name = str(path)
        self._model = model
        self.output_names = tuple(model.output_names)

    def run(self, batch: Image) -> list[NDArray[np.float32]]:
        import keras

        maps = keras.tree.flatten(self._model(batch, training=False))
        return [np.asarray(keras.ops.convert_to_numpy(m)).transpose(0, 3, 1, 2) for m in maps]


class _KerasDetector(AnchorFreeDetector):
    """The runtime's detector over weights that are not exported yet."""

    def __init__(
        self,
        path: Path,
        model: Any,
        strides: tuple[int, ...],
        threshold: float | None,
        size: int,
    ) -> None:
        self.bundle = bundles.FaceBundle(
            path=path,
            name="ferlite-face",
            task="face",
            version="0",
            license="",
            files={},
            strides=strides,
            landmarks=5,
            threshold=KERAS_THRESHOLD,
            nms_iou=KERAS_NMS_IOU,
            size=bundles.SMALLEST_SIZE,
            smallest=bundles.SMALLEST_FACE,
        )
        self.name = self.bundle.name
        self._threshold = check_threshold(threshold, KERAS_THRESHOLD)
        self._min_face = check_min_face(0)
        self._size = check_size(size)
        self._session = cast(session.Session, _KerasMaps(path, model))


def _timed(picture: Image) -> Image:
    return crops.letterbox(picture, (TIMED_SIDE, TIMED_SIDE), padding=0)[0]
