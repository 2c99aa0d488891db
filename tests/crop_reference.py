"""What crop_faces and letterbox must compute: float64, written to be read, slow."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_SAMPLES = 32  # an axis and output pixel, of a turned crop


def recolored(image: NDArray[np.uint8], image_color: str, color: str) -> Floats:
    """The frame as float64 [height, width, channels] in the colour asked for."""
    pixels = image.astype(np.float64)
    if image.ndim == 2:
        return pixels[:, :, None] if color == "gray" else np.stack([pixels] * 3, axis=2)
    rgb = pixels if image_color == "rgb" else pixels[:, :, ::-1]
    if color == "gray":
        return (rgb @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    return rgb if color == "rgb" else rgb[:, :, ::-1]


def coverage(origin: float, side: float, count: int, length: int) -> Floats:
    """[count, length]: the share of each frame pixel in each output pixel along one axis."""
    step = side / count
    reach = max(step, 1.0) / 2
    centres = origin + (np.arange(count) + 0.5) * step
    low, high = centres[:, None] - reach, centres[:, None] + reach
    left = np.arange(length, dtype=np.float64)
    right = left + 1
    left[0], right[-1] = -np.inf, np.inf  # the edge pixels go on outside the frame
    shares = np.minimum(high, right) - np.maximum(low, left)
    return np.clip(shares, 0, None) / (2 * reach)


def bilinear(pixels: Floats, x: Floats, y: Floats) -> Floats:
    """The frame at points between pixel centres; edge pixels are repeated."""
    height, width, _ = pixels.shape
    x = np.clip(x - 0.5, 0, width - 1)
    y = np.clip(y - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    return upper * (1 - down) + lower * down


def crop(pixels: Floats, box: Floats, size: tuple[int, int], angle: float = 0.0) -> Floats:
    """One box of a recoloured frame: [height, width, channels], not normalised, not rounded."""
    x, y, box_width, box_height = (float(side) for side in box)
    width, height = size
    if angle == 0:
        columns = coverage(x, box_width, width, pixels.shape[1])
        rows = coverage(y, box_height, height, pixels.shape[0])
        return np.einsum("ij,jkc,lk->ilc", rows, pixels, columns, optimize=True)
    across = math.ceil(min(max(box_width / width, 1.0), MOST_SAMPLES))
    down = math.ceil(min(max(box_height / height, 1.0), MOST_SAMPLES))
    u = (np.arange(width * across) + 0.5) * box_width / (width * across) - box_width / 2
    v = (np.arange(height * down) + 0.5) * box_height / (height * down) - box_height / 2
    u, v = np.meshgrid(u, v)
    samples = bilinear(
        pixels,
        x + box_width / 2 + u * math.cos(angle) - v * math.sin(angle),
        y + box_height / 2 + u * math.sin(angle) + v * math.cos(angle),
    )
    return samples.reshape(height, down, width, across, -1).mean(axis=(1, 3))


def letterbox(
    pixels: Floats, size: tuple[int, int], padding: float
) -> tuple[Floats, float, tuple[int, int]]:
    """The canvas [height, width, channels], the zoom, and where the frame's corner lies."""
    height, width, channels = pixels.shape
    zoom = min(size[0] / width, size[1] / height)
    inner = [max(1, math.floor(side * zoom + 0.5)) for side in (width, height)]
    dx, dy = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.full((size[1], size[0], channels), float(padding))
    box = np.array([0, 0, inner[0] / zoom, inner[1] / zoom])
    canvas[dy : dy + inner[1], dx : dx + inner[0]] = crop(pixels, box, (inner[0], inner[1]))
    return canvas, zoom, (dx, dy)


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes x, y, width, height; 0 for two without area."""
    shared = 1.0
    for axis in (0, 1):
        low = max(a[axis], b[axis])
        high = min(a[axis] + a[axis + 2], b[axis] + b[axis + 2])
        shared *= max(0.0, high - low)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


def nms(boxes: Floats, scores: Floats, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(int(i))
    return kept
