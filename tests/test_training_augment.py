"""Random views of faces."""

from __future__ import annotations

import numpy as np
import pytest

from ferlite.training.augment import Augmentation, augment_batch

IMAGES = np.random.default_rng(1).integers(0, 256, (16, 48, 48), np.uint8)
TARGETS = np.eye(8, dtype=np.float32)[np.arange(16) % 8]
STILL = Augmentation(
    rotation_deg=0,
    scale_min=1,
    scale_max=1,
    shift_px=0,
    shear=0,
    contrast=0,
    brightness=0,
    gamma=0,
    erase_probability=0,
    blur_probability=0,
    noise_probability=0,
    mixup_alpha=0,
)


def test_views_stay_pictures() -> None:
    views, targets = augment_batch(IMAGES, TARGETS, Augmentation(), np.random.default_rng(2))
    assert views.shape == (16, 48, 48, 1) and views.dtype == np.float32
    assert views.min() >= 0 and views.max() <= 255
    assert np.abs(views[..., 0] - IMAGES).mean() > 5
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_the_generator_decides_everything() -> None:
    one, same, other = (
        augment_batch(IMAGES, TARGETS, Augmentation(), np.random.default_rng(seed))[0]
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_without_ranges_a_view_is_the_picture_or_its_mirror() -> None:
    views, targets = augment_batch(IMAGES, TARGETS, STILL, np.random.default_rng(5))
    np.testing.assert_array_equal(targets, TARGETS)
    mirrored = 0
    for view, image in zip(views[..., 0], IMAGES, strict=True):
        if np.allclose(view, image[:, ::-1], atol=0.01):
            mirrored += 1
        else:
            np.testing.assert_allclose(view, image, atol=0.01)
    assert 0 < mirrored < len(IMAGES)


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_mixup_mixes_targets_as_it_mixes_pictures(share: float) -> None:
    flat = np.repeat(np.arange(0, 160, 10, dtype=np.uint8), 48 * 48).reshape(16, 48, 48)
    options = Augmentation(**{**vars(STILL), "mixup_alpha": share})
    ramp = np.stack([np.linspace(0, 1, 16), np.linspace(1, 0, 16)], 1).astype(np.float32)
    views, targets = augment_batch(flat, ramp, options, np.random.default_rng(6))
    np.testing.assert_allclose(views[:, 24, 24, 0] / 150, targets[:, 0], atol=1e-5)
