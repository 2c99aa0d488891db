"""A short clip with known faces, drawn from two portraits: nothing to fetch, always the same.

The portraits drift over a soft background like photographs on a table. One of them is away for
0.3 s, which a tracker has to bridge without giving out a new identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import SourceError
from ferlite.sources.base import SourceBase, SourceOptions
from ferlite.types import Frame, SourceInfo

WIDTH, HEIGHT = 640, 360
FPS = 25
DURATION_S = 4.0

# Absent, fully, for this span; the fades on both sides are short enough that no more than 0.5 s
# (what the tracker bridges by default) passes between two detections.
AWAY_S = (1.9, 2.2)
_FADE_S = 0.06

_BORDER = 10  # pixels of white around a portrait
_SHADOW = 24  # pixels that the shadow reaches beyond the border


@dataclass(frozen=True)
class _Path:
    """How one portrait moves: centre and drift in pixels, period in seconds, tilt in degrees."""

    center: tuple[float, float]
    drift: tuple[float, float]
    period_s: float
    phase: float
    scale: float
    tilt: float

    def matrix(self, t: float, card: NDArray[np.float32]) -> NDArray[np.float64]:
        """Affine map [2, 3] from the card's pixels to the frame's at time t."""
        angle = 2 * math.pi * t / self.period_s + self.phase
        scale = self.scale * (1 + 0.05 * math.sin(angle))
        height, width = card.shape[:2]
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, self.tilt * math.sin(angle + 1), scale)
        matrix[0, 2] += self.center[0] + self.drift[0] * math.sin(angle) - middle[0]
        matrix[1, 2] += self.center[1] + self.drift[1] * math.cos(0.7 * angle) - middle[1]
        return np.asarray(matrix, np.float64)


_PATHS = {
    "astronaut.jpg": _Path((176, 180), (28, 10), 5.0, 0.4, 0.68, 2.5),
    "hopper.jpg": _Path((468, 180), (24, 12), 4.2, 2.6, 0.68, -2.0),
}
_LEAVES = "hopper.jpg"


def portrait(name: str) -> NDArray[np.uint8]:
    """One of the two portraits, "astronaut.jpg" or "hopper.jpg": uint8 [400, 320, 3] BGR.

    Raises SourceError when the file is missing from the installation or damaged.
    """
    file = resources.files("ferlite.demo") / name
    if not file.is_file():
        raise SourceError(f"the demo's picture {name} is missing; install ferlite again")
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"the demo's picture {name} is damaged; install ferlite again")
    return np.asarray(image, np.uint8)


class DemoSource(SourceBase):
    """The clip as a source named "demo"; with `still`, its first frame as a picture."""

    def __init__(self, *, still: bool = False) -> None:
        info = SourceInfo("demo", "image", WIDTH, HEIGHT, frames=1)
        if not still:
            count = round(DURATION_S * FPS)
            info = SourceInfo("demo", "arrays", WIDTH, HEIGHT, count, FPS, DURATION_S)
        super().__init__(info, SourceOptions())

    def __iter__(self) -> Iterator[Frame]:
        for index, (t, image) in enumerate(frames()):
            if self._closed.is_set():
                return
            yield Frame(self._info, index, t, image)
            if self._info.kind == "image":
                return


def frames(duration_s: float = DURATION_S) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yields (t in seconds, image uint8 [HEIGHT, WIDTH, 3] BGR), FPS of them a second."""
    background = _background()
    cards = {name: _card(portrait(name)) for name in _PATHS}
    for index in range(round(duration_s * FPS)):
        t = index / FPS
        image = background.copy()
        for name, card in cards.items():
            _paste(image, card, _PATHS[name].matrix(t, card), _opacity(name, t))
        yield t, np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _opacity(name: str, t: float) -> float:
    if name != _LEAVES:
        return 1.0
    leave, back = AWAY_S
    return min(1.0, max((leave - t) / _FADE_S, (t - back) / _FADE_S, 0.0))


def _background() -> NDArray[np.float32]:
    """A light from the upper left on slate blue, with grain so that 8 bits show no bands."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = np.exp(-(((x - 200) / 420) ** 2 + ((y - 90) / 300) ** 2))[..., None]
    dark, bright = np.array([[92, 74, 60], [186, 172, 156]], np.float32)
    grain = np.random.default_rng(0).normal(0, 1.0, (HEIGHT, WIDTH, 1))
    return np.asarray(dark + (bright - dark) * light + grain, np.float32)


def _card(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The portrait as a print with border and shadow: float32 [h, w, 4], colour premultiplied."""
    height, width = image.shape[:2]
    margin = _BORDER + _SHADOW
    canvas = np.zeros((height + 2 * margin, width + 2 * margin, 4), np.float32)
    shadow = np.zeros(canvas.shape[:2], np.float32)
    shadow[margin:, margin:][: height + _BORDER // 2, : width + _BORDER // 2] = 0.55
    canvas[..., 3] = cv2.GaussianBlur(shadow, (0, 0), _SHADOW / 3)
    inner = slice(_SHADOW, -_SHADOW)
    canvas[inner, inner] = (244, 247, 248, 1)
    canvas[margin:-margin, margin:-margin, :3] = image
    return canvas


def _paste(
    image: NDArray[np.float32],
    card: NDArray[np.float32],
    matrix: NDArray[np.float64],
    opacity: float,
) -> None:
    """Lays the card over the image, in place."""
    if opacity == 0:
        return
    layer = cv2.warpAffine(card, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR) * opacity
    image *= 1 - layer[..., 3:]
    image += layer[..., :3]
