"""Faces to emotions: crops of a frame, one run of the network, calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite import arguments, crops, session
from ferlite.bundles import Bundle, CropGeometry, EmotionBundle, InputSpec
from ferlite.errors import ModelError
from ferlite.planes import Picture
from ferlite.precision import Trial, open_network
from ferlite.types import Emotion

# Larger batches run in parts, so that memory does not grow with the number of faces.
MAX_BATCH = 256
# Faces in a measured batch: a frame of video holds a few. Crops whose answers are compared.
TIMED = 4
COMPARED = 16


class EmotionClassifier:
    """An emotion network ready to run; safe to use from several threads.

    bundle: the model. threads: as for `session.create`. provider: "cpu", "openvino", precision:
        "fp32", "int8", or of both "auto" for the better on this machine (see `ferlite.precision`).
    After construction `precision`, `provider` and `file` say what really runs, and `choice` how it
    was chosen (None where there was nothing to choose); `model` is all of it for records.
    Raises ModelError when a file is missing, damaged, or no classifier that fits the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "auto",
        threads: int = 0,
        precision: str = "auto",
    ) -> None:
        if not isinstance(bundle, EmotionBundle):
            raise ModelError(f"{bundle.path}: is a model for {bundle.task}, not for emotion")
        self.bundle = bundle
        self.labels = bundle.labels
        self.threads = arguments.threads(threads) or session.default_threads()
        network = open_network(
            bundle,
            provider=provider,
            threads=self.threads,
            precision=precision,
            check=lambda opened: check(opened, bundle),
            trial=lambda: trial(bundle),
        )
        self._session, self.provider = network.session, network.session.provider
        self.precision, self.file, self.choice = network.precision, network.file, network.choice
        self.model = network.description(bundle)

    def crop(
        self,
        image: Picture,
        boxes: NDArray[np.float32],
        detector: str = "",
        landmarks: NDArray[np.float32] | None = None,
    ) -> NDArray[Any]:
        """The network's input for the faces of one frame.

        image: uint8 [h, w, 3] BGR or [h, w] grey, or the planes of a decoded one.
        boxes: float32 [n, 4] of the named detector. landmarks: float32 [n, 5, 2], used where the
            bundle asks for level eyes.
        """
        spec = self.bundle.input
        geometry = self.bundle.geometry(detector)
        angles = None
        if geometry.rotate and landmarks is not None:
            eyes = landmarks[:, 1] - landmarks[:, 0]
            angles = np.arctan2(eyes[:, 1], eyes[:, 0]).astype(np.float32)
        return crops.crop_faces(
            image,
            squares(boxes, geometry),
            size=(spec.width, spec.height),
            color=spec.color,
            image_color="gray" if len(image.shape) == 2 else "bgr",
            dtype=spec.dtype,
            scale=spec.scale,
            offset=spec.offset,
            layout=spec.layout,
            angles=angles,
            threads=self.threads,
        )

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities float32 [n, labels], each row summing to 1, of n crops from `crop`."""
        if not len(batch):
            return np.zeros((0, len(self.labels)), np.float32)
        parts = [
            self._session.run(batch[start : start + MAX_BATCH])[0]
            for start in range(0, len(batch), MAX_BATCH)
        ]
        return probabilities(self.bundle, np.concatenate(parts), self._session.name)

    def emotion(self, probabilities: NDArray[np.float32]) -> Emotion:
        """What one row of probabilities says."""
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        return Emotion(
            label=self.labels[best],
            confidence=confidence,
            uncertain=confidence < self.bundle.uncertain_below,
            emotions=dict(zip(self.labels, map(float, probabilities), strict=True)),
        )


def squares(boxes: NDArray[np.float32], geometry: CropGeometry) -> NDArray[np.float32]:
    """The squares to crop, float32 [n, 4], for a detector's boxes, float32 [n, 4]."""
    x, y, width, height = np.asarray(boxes, np.float32).reshape(-1, 4).T
    side = geometry.scale * np.maximum(width, height)
    left = x + (0.5 + geometry.dx) * width - side / 2
    top = y + (0.5 + geometry.dy) * height - side / 2
    return np.ascontiguousarray(np.stack([left, top, side, side], axis=1), np.float32)


def probabilities(
    bundle: EmotionBundle, output: NDArray[np.float32], network: str
) -> NDArray[np.float32]:
    """Of a network's output [n, labels], at the bundle's temperature; each row sums to 1.

    Raises ModelError, naming the network, when a score is not finite.
    """
    scores = output.astype(np.float64)
    if not np.isfinite(scores).all():
        raise ModelError(f"{network}: gave a score that is not a finite number")
    if bundle.output == "probabilities":
        # The same temperature then sharpens or flattens them.
        scores = np.log(np.maximum(scores, 1e-12))
    scores /= bundle.temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = np.divide(powers, powers.sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    return shares


def trial(bundle: EmotionBundle) -> Trial:
    """For the choice between the networks of a bundle."""
    pictures = _pictures(bundle.input)

    def difference(fp32: session.Session, int8: session.Session) -> float:
        exact, rough = (
            probabilities(bundle, one.run(pictures)[0], one.name) for one in (fp32, int8)
        )
        return float(np.abs(exact - rough).max())

    return Trial(pictures[:TIMED], difference)


def _pictures(spec: InputSpec) -> NDArray[Any]:
    """Soft blobs, the same everywhere: enlarged noise, which stirs the network as faces do."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (64, 64, 3), np.uint8)
    side = 6
    corners = draw.uniform(0, len(noise) - side, (COMPARED, 2))
    return crops.crop_faces(
        noise,
        np.hstack([corners, np.full_like(corners, side)]),
        size=(spec.width, spec.height),
        color=spec.color,
        dtype=spec.dtype,
        scale=spec.scale,
        offset=spec.offset,
        layout=spec.layout,
    )


def check(opened: session.Session, bundle: EmotionBundle) -> None:
    """ModelError unless the network is a classifier of the bundle's input into its labels."""
    spec = bundle.input
    wanted = spec.shape
    kind = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}[spec.dtype]
    if opened.input_type != kind or not _fits(opened.input_shape, ("n", *wanted)):
        raise ModelError(
            f"{opened.name}: takes {opened.input_type} {_shape(opened.input_shape)},"
            f" but its description says {kind} {_shape(('n', *wanted))}"
        )
    if not _fits(opened.output_shape, ("n", len(bundle.labels))):
        raise ModelError(
            f"{opened.name}: gives {_shape(opened.output_shape)}, no classifier of"
            f" {len(bundle.labels)} labels, which gives {_shape(('n', len(bundle.labels)))}"
        )
    # What it declares may still not be what it does.
    given = opened.run(np.zeros((2, *wanted), spec.dtype))[0].shape
    if given != (2, len(bundle.labels)):
        raise ModelError(
            f"{opened.name}: gives {_shape(given)} for 2 faces and {len(bundle.labels)} labels"
        )


def _fits(shape: Sequence[int | str | None], wanted: Sequence[int | str]) -> bool:
    """Free dimensions fit anything, but the first must be free: frames differ in faces."""
    return (
        len(shape) == len(wanted)
        and not isinstance(shape[0], int)
        and all(
            not isinstance(have, int) or have == want
            for have, want in zip(shape[1:], wanted[1:], strict=True)
        )
    )


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join(str(side or "?") for side in shape) + "]"
