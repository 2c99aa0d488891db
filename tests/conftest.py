"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, data and reference models; the test is skipped without it."""
    folder = Path(os.environ.get("FERLITE_SHARED", ROOT.parent / "shared"))
    if not (folder / "DATA.md").is_file():
        pytest.skip(f"no shared data at {folder}; set FERLITE_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def portraits() -> dict[str, NDArray[np.uint8]]:
    """Two real public-domain portraits, uint8 HxWx3 BGR: "astronaut" 512x512, "hopper" 512x600."""
    import cv2
    import matplotlib
    import skimage.data

    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    image = cv2.imread(str(hopper), cv2.IMREAD_COLOR)
    assert image is not None
    return {
        "astronaut": np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1]),
        "hopper": np.asarray(image, np.uint8),
    }
