"""What every face detector must do; a new one joins the `opener` fixture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ferlite.errors import FerliteError, ModelError, UsageError
from ferlite.faces import DEFAULT_DETECTOR, DETECTORS, FERLITE_FACE, Detector, open_detector
from ferlite.faces.detector import WORKING_SIDE, searched_side, shrink
from ferlite.types import Detections

Image = NDArray[np.uint8]
Opener = Callable[..., Detector]
YUNET = Path("models") / "face_detection_yunet_2023mar.onnx"

# The faces of the `portraits` fixture, brow to chin, drawn by hand.
FACES = {"astronaut": (175, 65, 100, 110), "hopper": (200, 105, 165, 190)}


@pytest.fixture(
    scope="module",
    params=[FERLITE_FACE, "haar", pytest.param("yunet", marks=pytest.mark.shared)],
)
def opener(request: pytest.FixtureRequest) -> Opener:
    """Opens the detector with the options given."""
    name: str | Path = request.param
    if name == FERLITE_FACE and name != DEFAULT_DETECTOR:
        pytest.skip("its weights are not here yet")
    if name == "yunet":
        name = request.getfixturevalue("shared") / YUNET
    return lambda **options: open_detector(name, **options)


@pytest.fixture(scope="module")
def detector(opener: Opener) -> Detector:
    return opener()


def overlap(a: NDArray[np.float32], b: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def check(found: Detections) -> None:
    n = len(found)
    assert found.boxes.shape == (n, 4) and found.boxes.dtype == np.float32
    assert found.scores.shape == (n,) and found.scores.dtype == np.float32
    assert np.isfinite(found.boxes).all() and (found.boxes[:, 2:] > 0).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all(), "best score first"
    if found.landmarks is not None:
        assert found.landmarks.shape == (n, 5, 2) and found.landmarks.dtype == np.float32
        assert np.isfinite(found.landmarks).all()


def picture(kind: str, height: int, width: int) -> Image:
    if kind == "noise":
        return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.full((height, width, 3), {"black": 0, "grey": 128, "white": 255}[kind], np.uint8)


@pytest.mark.parametrize("kind", ["black", "grey", "white", "noise"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 500), (2, 3), (23, 23), (24, 24), (48, 48), (240, 320), (20, 8000), (8000, 20)],
)
def test_pictures_without_a_face(detector: Detector, kind: str, height: int, width: int) -> None:
    found = detector.detect(picture(kind, height, width))
    check(found)
    assert len(found) <= (2 if kind == "noise" else 0)


@pytest.mark.parametrize("name", sorted(FACES))
def test_a_real_face_is_found(detector: Detector, portraits: dict[str, Image], name: str) -> None:
    found = detector.detect(portraits[name])
    check(found)
    assert overlap(found.boxes[0], FACES[name]) > 0.4
    assert found.scores[0] > 0.6
    if found.landmarks is not None:
        left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks[0]
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


def test_boxes_are_in_frame_pixels_whatever_the_size(
    detector: Detector, portraits: dict[str, Image]
) -> None:
    """The same face in a frame four times as large, and beside a lot of nothing."""
    import cv2

    image = portraits["hopper"]
    wide = np.zeros((1600, 2600, 3), np.uint8)
    large = cv2.resize(image, None, fx=2.5, fy=2.5)
    wide[100 : 100 + large.shape[0], 900 : 900 + large.shape[1]] = large
    found = detector.detect(wide)
    check(found)
    x, y, width, height = (2.5 * side for side in FACES["hopper"])
    assert max(overlap(box, (x + 900, y + 100, width, height)) for box in found.boxes) > 0.4


def test_views_and_read_only_frames(detector: Detector, portraits: dict[str, Image]) -> None:
    image = portraits["astronaut"]
    expected = detector.detect(image)
    backing = np.zeros((600, 700, 3), np.uint8)
    view = backing[50:562, 60:572]
    view[:] = image
    np.testing.assert_array_equal(detector.detect(view).boxes, expected.boxes)
    turned = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_array_equal(detector.detect(turned).boxes, expected.boxes)
    frozen = image.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(detector.detect(frozen).boxes, expected.boxes)
    np.testing.assert_array_equal(frozen, image)


def test_min_face_and_threshold(opener: Opener, portraits: dict[str, Image]) -> None:
    image = portraits["astronaut"]
    box = opener().detect(image).boxes[0]
    least = float(box[2:].min())
    assert len(opener(min_face=least - 1).detect(image)) >= 1
    sides = opener(min_face=least + 1).detect(image).boxes[:, 2:]
    assert (sides > least).all()
    assert len(opener(threshold=1.0).detect(image)) == 0
    assert (opener(threshold=0.9).detect(image).scores >= 0.9).all()


def test_a_small_min_face_raises_the_resolution(
    opener: Opener, portraits: dict[str, Image]
) -> None:
    import cv2

    frame = np.full((2160, 3840, 3), 90, np.uint8)
    small = cv2.resize(portraits["astronaut"], (256, 256), interpolation=cv2.INTER_AREA)
    frame[900:1156, 1900:2156] = small
    place = (1900 + FACES["astronaut"][0] / 2, 900 + FACES["astronaut"][1] / 2, 50, 55)
    found = opener(min_face=40).detect(frame)
    check(found)
    assert max(overlap(box, place) for box in found.boxes) > 0.4


def test_many_threads_agree(detector: Detector, portraits: dict[str, Image]) -> None:
    """Frames of different sizes at the same time; a detector's state must not mix them up."""
    images = [portraits["astronaut"], portraits["hopper"], portraits["astronaut"][:400, :420]]
    expected = [detector.detect(image) for image in images]
    wrong: list[str] = []

    def work(start: int) -> None:
        for step in range(6):
            k = (start + step) % len(images)
            found = detector.detect(images[k])
            if not np.array_equal(found.boxes, expected[k].boxes):
                wrong.append(f"image {k}: {found.boxes} for {expected[k].boxes}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_name_and_models(detector: Detector) -> None:
    assert detector.name in DETECTORS
    for model in detector.models:
        assert model["task"] == "face" and model["name"] == detector.name
        assert model["file"].endswith(".onnx") and len(model["sha256"]) == 64


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"threshold": 1.5}, "detection threshold is 1.5"),
        ({"threshold": float("nan")}, "detection threshold is nan"),
        ({"min_face": -1}, "min_face is -1"),
        ({"min_face": float("nan")}, "min_face is nan"),
        ({"min_face": float("inf")}, "min_face is inf; use 0 or a size in pixels"),
        ({"min_face": "40"}, "min_face is '40'"),
        ({"size": 0}, "detect_size is 0; use auto, or pixels from 32 to 8192"),
        ({"size": 31}, "detect_size is 31"),
        ({"size": 8193}, "detect_size is 8193"),
        ({"size": 640.0}, "detect_size is 640.0"),
        ({"size": "640"}, "detect_size is '640'"),
        ({"size": "large"}, "detect_size is 'large'"),
        ({"threads": -2}, "threads is -2"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"threads": 100_000}, "threads is 100000; use 0 for the default, or .* up to 256"),
    ],
)
def test_wrong_options(opener: Opener, options: dict[str, float], shown: str) -> None:
    with pytest.raises(UsageError, match=shown):
        opener(**options)


@pytest.mark.parametrize("min_face", [99_999_999_999, 1e308])
def test_no_face_is_larger_than_the_picture(
    opener: Opener, portraits: dict[str, Image], min_face: float
) -> None:
    assert len(opener(min_face=min_face).detect(portraits["astronaut"])) == 0


def test_unknown_detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="unknown detector 'mtcnn'; use ferlite-face, haar, yunet"):
        open_detector("mtcnn")
    with pytest.raises(UsageError, match=r"yunet needs its model file, .*ferlite models add"):
        open_detector("yunet")


def test_a_file_that_is_no_yunet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import tiny_model

    wrong = tmp_path / "wrong.onnx"
    with pytest.raises(ModelError, match="no such model file"):
        open_detector(wrong)
    for content in (b"", b"junk", b"\0" * 5000, tiny_model.network(), tiny_model.negation()):
        wrong.write_bytes(content)
        with pytest.raises(ModelError, match=r"wrong\.onnx") as caught:
            open_detector(wrong)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
def test_other_detectors_networks_are_refused(
    shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((shared / "models").glob("*.onnx")):
        if "yunet" not in path.name:
            with pytest.raises(ModelError, match="not a YuNet face detector"):
                open_detector(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
def test_opencv_that_keeps_its_log_level_in_cv2(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As 4.10 and 4.11 do, without cv2.utils.logging."""
    import cv2

    level = getattr(cv2.utils, "logging", cv2)
    for name in ("getLogLevel", "setLogLevel"):
        monkeypatch.setattr(cv2, name, getattr(level, name), raising=False)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    before = cv2.getLogLevel()
    assert open_detector(shared / "models" / "face_detection_yunet_2023mar.onnx").name == "yunet"
    with pytest.raises(ModelError, match="not a YuNet face detector"):
        open_detector(shared / "models" / "sepcnn_ferplus_173k.onnx")
    assert cv2.getLogLevel() == before
    assert capfd.readouterr() == ("", "")


def test_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5 has no CascadeClassifier."""
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(FerliteError, match=r"needs OpenCV 4, and OpenCV .*; pip install"):
        open_detector("haar")


@pytest.mark.parametrize(
    ("frame", "size", "min_face", "side"),
    [
        ((480, 640), None, 0, 640),
        ((1080, 1920), None, 0, 640),
        ((1080, 1920), None, 24, 1920),
        ((1080, 1920), "auto", 48, 960),
        ((1080, 1920), "auto", 1000, 640),
        ((1080, 1920), "auto", 0, 640),
        ((1080, 1920), 320, 24, 320),
        ((1080, 1920), 2000, 0, 1920),
        ((100, 30_000), None, 1, 8192),
    ],
)
def test_working_resolution(
    frame: tuple[int, int], size: int | None, min_face: float, side: int
) -> None:
    longest = max(frame)
    searched = searched_side(longest, size, default=WORKING_SIDE, min_face=min_face, smallest=24)
    small, back_x, back_y = shrink(np.zeros((*frame, 3), np.uint8), searched)
    assert max(small.shape) == side == searched
    assert back_x * small.shape[1] == pytest.approx(frame[1])
    assert back_y * small.shape[0] == pytest.approx(frame[0])


@pytest.mark.parametrize("side", [200, 1000])
def test_size(opener: Opener, portraits: dict[str, Image], side: int) -> None:
    found = opener(size=side).detect(portraits["hopper"])
    check(found)
    assert overlap(found.boxes[0], FACES["hopper"]) > 0.4


def test_automatic_size(opener: Opener, portraits: dict[str, Image]) -> None:
    found = opener(size="auto").detect(portraits["hopper"])
    check(found)
    assert overlap(found.boxes[0], FACES["hopper"]) > 0.4
