"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ferlite remembers of this machine does not come from, or go to, the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny emotion model (see tiny_model.py); not to be changed."""
    import tiny_model

    return tiny_model.write_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clip in a file, at half its size: 100 frames, 320x180, 25/s, two real faces."""
    import cv2
    import media

    from ferlite.demo.clip import frames

    pictures = [
        np.asarray(cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA), np.uint8)
        for _, image in frames()
    ]
    return media.write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures=pictures)
