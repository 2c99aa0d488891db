"""The networks alone: batch sizes, precisions, providers and threads, in turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ferlite.bench.timing import Row, in_turns
from ferlite.emotion import EmotionClassifier
from ferlite.errors import ProviderError
from ferlite.faces import open_detector
from ferlite.faces.anchor_free import AnchorFreeDetector

if TYPE_CHECKING:
    from ferlite.bundles import EmotionBundle
    from ferlite.types import Detections

BATCHES = (1, 4, 16, 64)
# The batch with which threads are compared.
SHARED_BATCH = 16
# The rows of one comparison, each with what it times.
Calls = list[tuple[Row, Callable[[], object]]]


class Networks:
    """A network's variants, opened once.

    emotion, detector: rows of each; `differs` among their facts is the most by which a probability
        (of a detector: a score) is off from that of fp32 on the CPU provider, same input.
    """

    def __init__(
        self,
        emotion: EmotionBundle,
        detector: str,
        *,
        providers: list[str],
        threads: list[int],
        default: int,
    ) -> None:
        self.unavailable: list[dict[str, str]] = []
        self._providers, self._threads, self._default = providers, threads, default
        self.emotion: Calls = []
        self.detector: Calls = []
        self._groups: list[Calls] = []
        self._open_emotion(emotion)
        self._open_detector(detector)

    def round(self, seconds: float) -> None:
        """One more of every row; `seconds` for each batch size or other group of rows."""
        for group in self._groups:
            in_turns(group, seconds)

    def _variants(self, precisions: list[str]) -> list[tuple[str, str, int]]:
        """(provider, precision, threads): all pairs at the default threads, then the others."""
        pairs = [(one, kind) for one in self._providers for kind in precisions]
        others = [count for count in self._threads if count != self._default]
        return [(*pair, count) for count in (self._default, *others) for pair in pairs]

    def _open_emotion(self, bundle: EmotionBundle) -> None:
        reference: NDArray[np.float32] | None = None
        groups: dict[object, Calls] = {}
        for provider, precision, threads in self._variants(list(bundle.precisions)):
            try:
                opened = EmotionClassifier(
                    bundle, provider=provider, threads=threads, precision=precision
                )
            except ProviderError as error:
                self._missing(f"{bundle.name} {precision}", provider, error)
                continue
            crops = faces(opened, max(BATCHES))
            answers = opened.run(crops)
            reference = answers if reference is None else reference
            for batch in BATCHES if threads == self._default else (SHARED_BATCH,):
                facts = _facts(opened, threads) | {
                    "batch": batch,
                    "differs": round(float(np.abs(answers - reference).max()), 6),
                }
                call = (Row(facts, batch, alike=True), _run(opened, crops[:batch]))
                groups.setdefault(batch, []).append(call)
                self.emotion.append(call)
        self._groups += groups.values()

    def _open_detector(self, name: str) -> None:
        """Of ferlite's own kind; OpenCV's have one setting of threads for the whole process."""
        image = pair()
        reference: Detections | None = None
        group: Calls = []
        first = open_detector(name)
        if not isinstance(first, AnchorFreeDetector):
            return
        for provider, precision, threads in self._variants(list(first.bundle.precisions)):
            try:
                opened = open_detector(
                    name, provider=provider, threads=threads, precision=precision
                )
            except ProviderError as error:
                self._missing(f"{first.name} {precision}", provider, error)
                continue
            assert isinstance(opened, AnchorFreeDetector)
            found = opened.detect(image)
            reference = found if reference is None else reference
            facts = _facts(opened, threads) | {"batch": 1, "differs": _scores(found, reference)}
            group.append((Row(facts, alike=True), _detect(opened, image)))
        self.detector += group
        self._groups.append(group)

    def _missing(self, what: str, provider: str, error: ProviderError) -> None:
        told = {"network": what, "provider": provider, "reason": str(error)}
        if told not in self.unavailable:
            self.unavailable.append(told)


def pair() -> NDArray[np.uint8]:
    """The demo's two portraits side by side, uint8 [400, 640, 3] BGR."""
    from ferlite.demo.clip import portrait

    return np.concatenate([portrait("astronaut.jpg"), portrait("hopper.jpg")], axis=1)


def faces(classifier: EmotionClassifier, count: int) -> NDArray[Any]:
    """Crops of the two portraits' faces, more and less close, as the network takes them."""
    draw = np.random.default_rng(0)
    sides = draw.uniform(120, 220, (count, 1))
    # The faces' centres.
    centres = np.where(np.arange(count)[:, None] % 2, (480, 160), (160, 160))
    corners = centres + draw.uniform(-20, 20, (count, 2)) - sides / 2
    return classifier.crop(pair(), np.hstack([corners, sides, sides]).astype(np.float32))


def _facts(opened: EmotionClassifier | AnchorFreeDetector, threads: int) -> dict[str, Any]:
    """What really runs."""
    return {"provider": opened.provider, "precision": opened.precision, "threads": threads}


def _run(classifier: EmotionClassifier, crops: NDArray[Any]) -> Callable[[], object]:
    return lambda: classifier.run(crops)


def _detect(detector: AnchorFreeDetector, image: NDArray[np.uint8]) -> Callable[[], object]:
    return lambda: detector.detect(image)


def _scores(found: Detections, reference: Detections) -> float | None:
    """None where not as many faces were found."""
    if len(found) != len(reference):
        return None
    return round(float(np.abs(found.scores - reference.scores).max(initial=0)), 6)
