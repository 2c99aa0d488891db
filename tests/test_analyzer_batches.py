"""Frames of files go to the detector together; others do not. Sizes of the search."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import media
import numpy as np
import pytest
import tiny_face
import tiny_model
from numpy.typing import NDArray

from ferlite import Analyzer
from ferlite.errors import ModelError, UsageError
from ferlite.faces import open_detector
from ferlite.sources.base import SourceBase, SourceOptions
from ferlite.types import Detections, Frame, SourceInfo

Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def emotion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_bundle(tmp_path_factory.mktemp("models") / "tiny", int8=False)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_face.write_bundle(tmp_path_factory.mktemp("models") / "face")


def frame(i: int, side: int = 128) -> Image:
    """A bright square that moves by a pixel a frame."""
    image = np.zeros((side, side, 3), np.uint8)
    image[32:48, 32 + i : 48 + i] = 255
    return image


class Noted:
    """A detector that takes batches and notes their sizes; the first call waits for the source."""

    models: tuple[dict[str, str], ...] = ()

    def __init__(self, folder: Path, ready: threading.Event) -> None:
        self._detector: Any = open_detector(folder, provider="cpu", threads=1)
        self._ready = ready
        self.name = self._detector.name
        self.runs: list[int] = []

    def detect(self, image: Image) -> Detections:
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[Image]) -> list[Detections]:
        assert self._ready.wait(10)
        self.runs.append(len(images))
        found: list[Detections] = self._detector.detect_batch(images)
        return found

    def batch_size(self, height: int, width: int) -> int:
        size: int = self._detector.batch_size(height, width)
        return size


class Clip(SourceBase):
    """Frames of a kind of source; `ready` is set when so many were read that the queue is full."""

    def __init__(self, kind: Any, count: int, side: int = 128) -> None:
        super().__init__(SourceInfo("clip", kind, side, side, count), SourceOptions())
        self._count, self._side = count, side
        self.ready = threading.Event()

    def __iter__(self) -> Any:
        for i in range(self._count):
            if i == 3:
                # One is with the detector, which waits, and two are in the queue.
                threading.Timer(0.1, self.ready.set).start()
            yield Frame(self._info, i, i / 25, frame(i, self._side))
            if self._info.kind == "live":
                time.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "side", "together"),
    [("video", 128, True), ("image", 128, True), ("arrays", 128, False), ("video", 640, False)],
)
def test_waiting_frames_of_files_share_a_run_where_that_is_faster(
    emotion: Path, tmp_path: Path, kind: str, side: int, together: bool
) -> None:
    folder = tiny_face.write_bundle(tmp_path / "face", size=side)
    clip = Clip(kind, 8, side)
    detector = Noted(folder, clip.ready)
    analyzer = Analyzer(detector, emotion)
    with clip, analyzer.frames(clip) as results:
        found = [result for _, result in results]
    assert [one.frame for one in found] == list(range(8))
    single = Analyzer(open_detector(folder, provider="cpu", threads=1), emotion)
    for i, one in enumerate(found):
        expected = single.analyze(frame(i, side)).faces
        assert [face.box for face in one.faces] == [face.box for face in expected]
    assert sum(detector.runs) == 8 and max(detector.runs) == (2 if together else 1)


def test_live_frames_go_alone(emotion: Path, face: Path) -> None:
    clip = Clip("live", 12)
    detector = Noted(face, clip.ready)
    with clip, Analyzer(detector, emotion).frames(clip) as results:
        assert len(list(results)) + results.dropped == 12
    assert set(detector.runs) == {1}


def test_a_video_gives_the_same_faces_as_its_frames(
    emotion: Path, face: Path, tmp_path: Path
) -> None:
    clip = media.write_clip(tmp_path / "clip.mp4", pictures=[frame(i) for i in range(12)])
    analyzer = Analyzer(face, emotion, provider="cpu", threads=1)
    found = list(analyzer.stream(clip))
    assert len(found) == 12 and all(one.faces for one in found)
    assert {one.faces[0].track for one in found} == {1}
    centres = [one.faces[0].box[0] + one.faces[0].box[2] / 2 for one in found]
    assert centres[-1] > centres[0] + 5


def test_analyze_batch_is_one_run(
    emotion: Path, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzer = Analyzer(face, emotion, provider="cpu", threads=1)
    detector: Any = analyzer.detector
    runs: list[tuple[int, ...]] = []
    run = detector._session.run

    def noted(batch: Image) -> Any:
        runs.append(batch.shape)
        return run(batch)

    monkeypatch.setattr(detector._session, "run", noted)
    found = analyzer.analyze_batch([frame(i) for i in range(4)])
    assert runs == [(4, 128, 128, 3)] and all(one.faces for one in found)


def test_size_reaches_the_detector(emotion: Path, face: Path) -> None:
    image = np.zeros((640, 1280, 3), np.uint8)
    image[320:328, 640:648] = 255
    assert not Analyzer(face, emotion).analyze(image).faces
    for size in (1280, "auto"):
        (found,) = Analyzer(face, emotion, detect_size=size).analyze(image).faces  # type: ignore[arg-type]
        assert found.box == pytest.approx((636, 316, 16, 16), abs=0.01)
        assert found.landmarks is not None
    with pytest.raises(UsageError, match="detect_size is 7; use auto, or pixels from 32 to 8192"):
        Analyzer(face, emotion, detect_size=7)
    with pytest.raises(UsageError, match="detect_size and detection_threshold belong to"):
        Analyzer(open_detector(face), emotion, detect_size=320)


def test_precision_and_description(emotion: Path, tmp_path: Path) -> None:
    folder = tiny_face.write_bundle(tmp_path / "face", int8=tiny_face.network())
    both = tiny_model.write_bundle(tmp_path / "both")
    about = Analyzer(folder, both, provider="cpu", precision="int8").description()
    assert about["detector"] == "tiny-face"
    assert [one["file"] for one in about["models"]] == ["model.int8.onnx"] * 2
    assert [one["precision"] for one in about["models"]] == ["int8"] * 2
    assert [one["task"] for one in about["models"]] == ["emotion", "face"]
    with pytest.raises(ModelError, match=f"{emotion}: has no int8 network"):
        Analyzer(folder, emotion, precision="int8")
    with pytest.raises(ModelError, match="is a model for face, not for emotion"):
        Analyzer(model=folder)
