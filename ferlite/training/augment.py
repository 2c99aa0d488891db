"""Random views of small grey faces: geometry, light, occlusion, blur, mixup.

Every batch is drawn from a generator seeded by (seed, epoch, batch), so a run is repeatable and
a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random views; angles in degrees, shifts in pixels of the 48x48 picture.

    Zoom and shift are those that the crops of detected faces have (docs/crop-geometry.md).
    """

    rotation_deg: float = 18.0
    scale_min: float = 0.77
    scale_max: float = 1.45
    shift_px: float = 6.0
    shear: float = 0.08
    contrast: float = 0.35
    brightness: float = 35.0
    gamma: float = 0.3
    erase_probability: float = 0.4
    erase_area_max: float = 0.2
    blur_probability: float = 0.15
    noise_probability: float = 0.15
    noise_sigma: float = 10.0
    mixup_alpha: float = 0.2


def _view(
    image: NDArray[np.uint8], options: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    height, width = image.shape
    angle = np.deg2rad(rng.uniform(-options.rotation_deg, options.rotation_deg))
    scale = np.exp(rng.uniform(np.log(options.scale_min), np.log(options.scale_max)))
    shear = rng.uniform(-options.shear, options.shear)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1.0, shear], [0.0, 1.0]])
    if rng.random() < 0.5:
        linear = linear @ np.array([[-1.0, 0.0], [0.0, 1.0]])
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = rng.uniform(-options.shift_px, options.shift_px, 2) * (width / 48)
    matrix = np.column_stack([linear, center + shift - linear @ center])
    view = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if rng.random() < options.blur_probability:
        if rng.random() < 0.5:
            view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 1.4))
        else:  # a face of few pixels, enlarged
            small = int(rng.integers(width // 3, width - 4))
            view = cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA)
            view = cv2.resize(view, (width, height), interpolation=cv2.INTER_LINEAR)
    out = view.astype(np.float32)
    if rng.random() < 0.5:
        gamma = np.float32(np.exp(rng.uniform(-options.gamma, options.gamma)))
        out = np.float32(255) * (out / np.float32(255)) ** gamma
    mean = out.mean()
    gain = np.float32(rng.uniform(1 - options.contrast, 1 + options.contrast))
    out = (
        (out - mean) * gain
        + mean
        + np.float32(rng.uniform(-options.brightness, options.brightness))
    )
    if rng.random() < options.noise_probability:
        sigma = rng.uniform(0, options.noise_sigma)
        out += rng.standard_normal(out.shape, np.float32) * np.float32(sigma)
    if rng.random() < options.erase_probability:
        area = rng.uniform(0.02, options.erase_area_max) * height * width
        aspect = np.exp(rng.uniform(np.log(0.4), np.log(2.5)))
        h = min(height, max(1, round(np.sqrt(area * aspect))))
        w = min(width, max(1, round(np.sqrt(area / aspect))))
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        patch = out[y : y + h, x : x + w]
        patch[...] = (
            rng.uniform(0, 255)
            if rng.random() < 0.5
            else rng.uniform(0, 255, patch.shape).astype(np.float32)
        )
    return np.asarray(np.clip(out, 0, 255), np.float32)


def augment_batch(
    images: NDArray[np.uint8],
    targets: NDArray[np.float32],
    options: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random views of a batch, mixed up in pairs.

    images: uint8 [n, h, w]; targets: float32 [n, classes].
    Returns float32 [n, h, w, 1] in 0..255 and float32 [n, classes].
    Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    views = np.stack([_view(image, options, rng) for image in images])[..., None]
    if options.mixup_alpha > 0:
        share = np.float32(rng.beta(options.mixup_alpha, options.mixup_alpha))
        order = rng.permutation(len(views))
        views = share * views + (1 - share) * views[order]
        targets = share * targets + (1 - share) * targets[order]
    return views, targets
