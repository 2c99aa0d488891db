"""Annotated images, read back."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sink_records import make_face, make_frame

from ferlite.sinks import AnnotatedImages
from ferlite.sinks.annotate import annotate
from ferlite.types import SourceInfo


def test_the_picture_with_its_faces(
    tmp_path: Path, portraits: dict[str, NDArray[np.uint8]]
) -> None:
    sink = AnnotatedImages(tmp_path)
    image = portraits["astronaut"]
    face = make_face((165, 60, 115, 135), track=None)
    for folder in ("a", "b", "c"):
        info = SourceInfo(f"{folder}/eileen.png", "image", 512, 512)
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, [face], image=image))
    sink.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "eileen-2.jpg",
        "eileen-3.jpg",
        "eileen.jpg",
    ]
    back = cv2.imread(str(tmp_path / "eileen.jpg"), cv2.IMREAD_COLOR)
    assert back is not None
    assert back.shape == image.shape
    drawn = annotate(image, [face]).astype(int)
    assert np.abs(back - drawn).mean() < 4  # what JPEG costs
    changed = np.abs(drawn - image).max(axis=2) > 0
    assert changed[60:63, 170:270].all()  # the upper side of the box


def test_a_video_gives_no_image(tmp_path: Path) -> None:
    sink = AnnotatedImages(tmp_path)
    info = SourceInfo("a.mp4", "video", 128, 96)
    sink.begin(info)
    sink.write(*make_frame(info, 0, 0.0, [make_face()]))
    sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_wider_than_a_jpeg_can_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = AnnotatedImages(tmp_path)
    info = SourceInfo("strip.png", "image")
    with caplog.at_level(logging.WARNING):
        sink.write(*make_frame(info, image=np.zeros((1, 65536, 3), np.uint8)))
    assert "strip.png: no annotated image, JPEG holds at most 65500 pixels" in caplog.text
    assert list(tmp_path.iterdir()) == []
