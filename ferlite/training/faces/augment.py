"""Random views of photographs with faces, down to faces of a few pixels.

Every picture is drawn from a generator seeded by (seed, epoch, index), so a run is repeatable and a
resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.training.faces.data import FaceData
from ferlite.training.faces.targets import (
    COLUMNS,
    CONFIDENCE,
    PLACE,
    POINTS,
    SIZE,
    Rows,
    moved,
    shown,
    target_rows,
)

Rng = np.random.Generator
Pixels = NDArray[np.uint8]
_UNIFORM_SIGMA = 74  # standard deviation of -128..127, 256 / sqrt(12)


@dataclass(frozen=True)
class FaceAugmentation:
    """Ranges of the random views; angles in degrees, sizes in pixels of the view.

    face_min, face_max_share: longer side of the face that a view is scaled for; the share is of the
        view's side.
    smallest_judged, least_visible: see `ferlite.training.faces.targets.shown`.
    enlarge_max: photographs are not enlarged beyond this.
    paste_max: longer side of a face that is set into another photograph.
    noise_sigma: largest standard deviation, levels.
    """

    mosaic_probability: float = 0.5
    face_min: float = 10.0
    face_max_share: float = 1.3
    smallest_judged: float = 7.0
    least_visible: float = 0.5
    rotation_probability: float = 0.4
    rotation_deg: float = 30.0
    enlarge_max: float = 3.0
    paste_probability: float = 0.3
    paste_max: float = 192.0
    light_probability: float = 0.8
    gray_probability: float = 0.15
    blur_probability: float = 0.12
    noise_probability: float = 0.12
    noise_sigma: float = 14.0
    compress_probability: float = 0.15
    occlude_probability: float = 0.12
    distract_probability: float = 0.6


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def _placed(
    image: Pixels,
    rows: Rows,
    size: tuple[int, int],
    scale: float,
    focus: NDArray[np.float64],
    options: FaceAugmentation,
    rng: Rng,
) -> tuple[Pixels, Rows, Pixels]:
    """The picture scaled, turned, perhaps mirrored, with its point `focus` somewhere in the view.

    Returns the view (width, height), its rows, and the mask of the pixels that the picture covers.
    """
    width, height = size
    angle = 0.0
    if rng.random() < options.rotation_probability:
        angle = np.deg2rad(rng.uniform(-options.rotation_deg, options.rotation_deg))
    flipped = bool(rng.random() < 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([-1.0 if flipped else 1.0, 1.0])
    # A warp does not average: shrink first, as the runtime does.
    if scale < 0.8:
        small = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        before = np.array([small[0] / image.shape[1], small[1] / image.shape[0]])
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        linear = turn @ mirror
    else:
        before = np.ones(2)
        linear = turn @ mirror * scale
    focus = focus * before
    target = rng.uniform(0.1, 0.9, 2) * (width, height)
    extent = np.array(image.shape[1::-1], float)
    # Keep the view filled where the picture is large enough to fill it.
    corners = np.array([[0, 0], [extent[0], 0], [0, extent[1]], extent]) @ linear.T
    shift = target - linear @ focus
    low, high = corners.min(axis=0) + shift, corners.max(axis=0) + shift
    for axis, side in enumerate((width, height)):
        if high[axis] - low[axis] >= side:
            shift[axis] -= max(low[axis], 0.0) + min(high[axis] - side, 0.0)
    view = np.zeros((height, width, 3), np.uint8)
    # Pixel centres lie at half a pixel, for boxes and for the warp alike.
    half = np.column_stack([linear, shift + linear @ [0.5, 0.5] - 0.5])
    cv2.warpAffine(image, half, size, dst=view, flags=cv2.INTER_LINEAR)
    mask = np.zeros((height, width), np.uint8)
    polygon = (
        np.array([[0, 0], [extent[0], 0], extent, [0, extent[1]]]) @ linear.T + shift
    ).round()
    cv2.fillConvexPoly(mask, polygon.astype(np.int32), 1)
    full = np.column_stack([linear * before, shift])
    return view, moved(rows, full, flipped), mask


def _view(
    data: FaceData,
    index: int,
    size: tuple[int, int],
    least: float,
    options: FaceAugmentation,
    rng: Rng,
) -> tuple[Pixels, Rows, Pixels]:
    """One photograph in a view of its own, at a scale that suits one of its faces.

    least: share of the view that the photograph's longer side takes at least.
    """
    image, rows = data.images[index], target_rows(data.faces[index])
    side = min(size)
    if len(rows):
        # Faces of all sizes as often: their logarithm is uniform.
        face = rows[rng.integers(len(rows))]
        wanted = _log_uniform(rng, options.face_min, options.face_max_share * side)
        scale = wanted / face[SIZE].max()
        focus = (face[PLACE] + face[SIZE] / 2).astype(float)
    else:
        scale = _log_uniform(rng, 0.4, 2.0) * side / max(image.shape[:2])
        focus = rng.uniform(0.2, 0.8, 2) * image.shape[1::-1]
    scale = float(np.clip(scale, least * side / max(image.shape[:2]), options.enlarge_max))
    view, rows, mask = _placed(image, rows, size, scale, focus, options, rng)
    return view, shown(rows, size, options.smallest_judged, options.least_visible), mask


def _mosaic(
    data: FaceData, index: int, side: int, options: FaceAugmentation, rng: Rng
) -> tuple[Pixels, Rows]:
    """Photographs side by side (Bochkovskiy et al., "YOLOv4", 2020), four or, smaller, nine."""
    count = 3 if rng.random() < 0.25 else 2
    across, down = (
        np.round((np.arange(1, count) + rng.uniform(-0.3, 0.3, count - 1)) * side / count)
        .astype(int)
        .tolist()
        for _ in range(2)
    )
    canvas = np.zeros((side, side, 3), np.uint8)
    parts: list[Rows] = []
    for top, bottom in pairwise([0, *down, side]):
        for left, right in pairwise([0, *across, side]):
            chosen = int(rng.integers(len(data))) if parts else index
            size = (right - left, bottom - top)
            view, rows, _ = _view(data, chosen, size, 0.8, options, rng)
            canvas[top:bottom, left:right] = view
            corner = np.array([left, top], np.float32)
            rows[:, PLACE] += corner
            rows[:, POINTS] += np.tile(corner, 5)
            parts.append(rows)
    return canvas, np.concatenate(parts)


def _filled(view: Pixels, mask: Pixels, data: FaceData, rng: Rng) -> Pixels:
    """What the picture does not cover: black as a letterbox, a grey, or a face-free photograph."""
    kind = rng.random()
    if kind < 0.5 or mask.all():
        return view
    if kind < 0.75:
        background = np.full_like(view, rng.integers(0, 256))
    else:
        free = [i for i in range(len(data)) if len(data.faces[i].boxes) == 0]
        if not free:
            return view
        other = data.images[free[int(rng.integers(len(free)))]]
        background = np.asarray(cv2.resize(other, view.shape[1::-1]), np.uint8)
    return np.where(mask[..., None] > 0, view, background)


def _free(rows: Rows, left: int, top: int, width: int, height: int) -> bool:
    """Whether a rectangle touches no face."""
    apart = (
        (rows[:, 0] > left + width)
        | (rows[:, 0] + rows[:, 2] < left)
        | (rows[:, 1] > top + height)
        | (rows[:, 1] + rows[:, 3] < top)
    )
    return bool(apart.all())


def _paste(
    view: Pixels, rows: Rows, data: FaceData, options: FaceAugmentation, rng: Rng
) -> tuple[Pixels, Rows]:
    """A face of another photograph, with what is around it, set into a free place."""
    index = int(rng.integers(len(data)))
    pasted = target_rows(data.faces[index])
    if len(pasted) != 1 or pasted[0, CONFIDENCE] < 1:
        return view, rows
    image, face = data.images[index], pasted[0]
    scale = _log_uniform(rng, 12, options.paste_max) / face[SIZE].max()
    margin = 0.35 * face[SIZE]
    extent = np.array(image.shape[1::-1], np.float32)
    x0, y0 = np.maximum(face[PLACE] - margin, 0).astype(int)
    x1, y1 = np.minimum(face[PLACE] + face[SIZE] + margin, extent).astype(int)
    width, height = round((x1 - x0) * scale), round((y1 - y0) * scale)
    if scale > options.enlarge_max or not (
        4 < width < view.shape[1] and 4 < height < view.shape[0]
    ):
        return view, rows
    patch = cv2.resize(image[y0:y1, x0:x1], (width, height), interpolation=cv2.INTER_AREA)
    left, top = rng.integers(view.shape[1] - width), rng.integers(view.shape[0] - height)
    if not _free(rows, left, top, width, height):
        return view, rows
    view[top : top + height, left : left + width] = patch
    zoom = np.array([width / (x1 - x0), height / (y1 - y0)])
    matrix = np.column_stack([np.diag(zoom), [left, top] - zoom * [x0, y0]])
    return view, np.concatenate([rows, moved(pasted, matrix)])


def _occlude(view: Pixels, rows: Rows, rng: Rng) -> None:
    """Cover a part of some faces with a plain or noisy rectangle, as hands and cups do."""
    for row in rows:
        if row[CONFIDENCE] <= 0 or row[2] < 16 or rng.random() < 0.5:
            continue
        width, height = np.maximum(1, rng.uniform(0.2, 0.5, 2) * row[SIZE]).astype(int)
        x = int(row[0] + rng.uniform(0, 1) * (row[2] - width))
        y = int(row[1] + rng.uniform(0.2, 1) * (row[3] - height))
        patch = view[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        patch[...] = rng.integers(0, 256, 3 if rng.random() < 0.5 else patch.shape)


def _distract(view: Pixels, rows: Rows, rng: Rng) -> None:
    """Balls and letters in the colours and the light of faces, some outlined, beside the faces.

    Without them the network took the dots of a logo's letters for small faces.
    """
    for _ in range(int(rng.integers(1, 9))):
        side = round(_log_uniform(rng, 8, min(96, view.shape[0] // 2)))
        left, top = (int(v) for v in rng.integers(0, view.shape[0] - side, 2))
        if not _free(rows, left, top, side, side):
            continue
        shape = np.zeros((side, side), np.uint8)
        middle = (side // 2, side // 2)
        if rng.random() < 0.5:
            axes = (round(side * rng.uniform(0.25, 0.5)), round(side * rng.uniform(0.3, 0.5)))
            cv2.ellipse(shape, middle, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
        else:
            letter, font = chr(rng.integers(33, 127)), int(rng.integers(0, 8))
            thick = 1 + round(side * rng.uniform(0.02, 0.2))
            corner = (side // 6, side * 5 // 6)
            cv2.putText(shape, letter, corner, font, side / 32, 255, thick, cv2.LINE_AA)
        color = rng.uniform(30, 255, 3)
        if rng.random() < 0.6:
            color.sort()  # blue below green below red, as skin of any tone
        x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
        slope = rng.uniform(-0.4, 0.4, 2)
        light = 1 + slope[0] * x + slope[1] * y - rng.uniform(0, 0.4) * (x * x + y * y)
        if rng.random() < 0.5:  # an outline, darker than the rest
            inner = cv2.erode(shape, np.ones((3, 3), np.uint8), iterations=1 + side // 16)
            light = light * (0.3 + 0.7 * inner / 255)
        cover = (shape / 255.0)[..., None]
        patch = view[top : top + side, left : left + side]
        patch[...] = np.clip(patch * (1 - cover) + light[..., None] * color * cover, 0, 255)


def _lit(view: Pixels, rng: Rng) -> Pixels:
    """Gain, gamma and offset for each colour, in one table; a third of the views become dark."""
    levels = np.arange(256, dtype=np.float32) / 255
    strength = _log_uniform(rng, 0.25, 1.1) if rng.random() < 0.3 else rng.uniform(0.7, 1.3)
    gamma = _log_uniform(rng, 0.6, 1.6)
    offset = rng.uniform(-0.12, 0.12)
    tint = 1 + rng.uniform(-0.15, 0.15, 3) * (rng.random() < 0.5)
    table = (levels[:, None] ** gamma * strength * tint + offset) * 255
    return np.asarray(cv2.LUT(view, np.clip(table, 0, 255).astype(np.uint8)[None]), np.uint8)


def _degraded(view: Pixels, options: FaceAugmentation, rng: Rng) -> Pixels:
    """Light, grey, blur, noise and compression, as cameras and codecs do."""
    if rng.random() < options.light_probability:
        view = _lit(view, rng)
    if rng.random() < options.gray_probability:
        gray = np.asarray(cv2.cvtColor(view, cv2.COLOR_BGR2GRAY), np.uint8)
        view = np.repeat(gray[..., None], 3, axis=2)
    if rng.random() < options.blur_probability:
        if rng.random() < 0.5:
            view = np.asarray(cv2.GaussianBlur(view, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
        else:
            length = int(rng.integers(3, 8))
            kernel = np.zeros((length, length), np.float32)
            if rng.random() < 0.5:
                kernel[length // 2] = 1 / length
            else:
                kernel[:, length // 2] = 1 / length
            view = np.asarray(cv2.filter2D(view, -1, kernel), np.uint8)
    if rng.random() < options.noise_probability:
        noise = rng.integers(-128, 128, view.shape, np.int8)  # uniform: as good, and fast
        gain = rng.uniform(0.1, options.noise_sigma) / _UNIFORM_SIGMA
        view = np.clip(view + noise * np.float32(gain), 0, 255).astype(np.uint8)
    if rng.random() < options.compress_probability:
        quality = int(rng.integers(25, 85))
        coded = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        view = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return view


def augmented(
    data: FaceData, index: int, side: int, most: int, options: FaceAugmentation, rng: Rng
) -> tuple[Pixels, Rows]:
    """One random view.

    Returns uint8 [side, side, 3] BGR and float32 [most, COLUMNS] (see targets.py), unused rows 0.
    Faces beyond `most` are painted over, the smallest first.
    """
    if rng.random() < options.mosaic_probability:
        view, rows = _mosaic(data, index, side, options, rng)
    else:
        view, rows, mask = _view(data, index, (side, side), 0.4, options, rng)
        view = _filled(view, mask, data, rng)
        if rng.random() < options.paste_probability:
            view, rows = _paste(view, rows, data, options, rng)
    view = np.ascontiguousarray(view)
    rows = rows[np.argsort(-rows[:, 2] * rows[:, 3])]
    for row in rows[most:]:
        x, y = np.maximum(row[PLACE], 0).astype(int)
        right, bottom = np.maximum(row[PLACE] + row[SIZE], 0).astype(int) + 1
        view[y:bottom, x:right] = 128
    rows = rows[:most]
    if rng.random() < options.occlude_probability:
        _occlude(view, rows, rng)
    if options.distract_probability and rng.random() < options.distract_probability:
        _distract(view, rows, rng)
    view = _degraded(view, options, rng)
    padded = np.zeros((most, COLUMNS), np.float32)
    padded[: len(rows)] = rows
    return view, padded
