"""ferlite's own kind of detector, with a network made by hand: faces are bright squares."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_face
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ferlite import bundles, precision
from ferlite.errors import ModelError, UsageError
from ferlite.faces import anchor_free, open_detector, takes_batches
from ferlite.faces.anchor_free import AnchorFreeDetector
from ferlite.types import Detections

Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MEASURE_S", 0.01)


def opened(folder: Path, *, write: dict[str, Any] | None = None, **options: Any) -> Any:
    tiny_face.write_bundle(folder, **(write or {}))
    options = {"provider": "cpu", "threads": 1} | options
    return AnchorFreeDetector(bundles.find(folder), **options)


@pytest.fixture
def tiny(tmp_path: Path) -> AnchorFreeDetector:
    found: AnchorFreeDetector = opened(tmp_path / "tiny")
    return found


def square(shape: tuple[int, int], x: int, y: int, side: int, level: int = 255) -> Image:
    """A black frame with one bright square."""
    image = np.zeros((*shape, 3), np.uint8)
    image[y : y + side, x : x + side] = level
    return image


def spy(detector: AnchorFreeDetector, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the network's inputs, as they are run."""
    runs: list[tuple[int, ...]] = []
    run = detector._session.run

    def noted(batch: Image) -> list[NDArray[np.float32]]:
        runs.append(batch.shape)
        return run(batch)

    monkeypatch.setattr(detector._session, "run", noted)
    return runs


def same(a: Detections, b: Detections) -> None:
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-4)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
    assert a.landmarks is not None and b.landmarks is not None
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1e-4)


@pytest.mark.parametrize("stride", tiny_face.STRIDES)
def test_a_cell_of_each_map_in_frame_pixels(tiny: AnchorFreeDetector, stride: int) -> None:
    """The frame fits the input: box and points follow from the cell by hand."""
    x, y = 2 * stride, 3 * stride
    found = tiny.detect(square((160, 192), x, y, stride))
    boxes, points = found.boxes, found.landmarks
    assert points is not None
    # Larger strides see a part of the square only; smaller ones fill it with their own cells.
    best = np.flatnonzero(boxes[:, 2] == 2 * stride)
    assert len(best) == 1
    np.testing.assert_allclose(
        boxes[best[0]], [x - stride / 2, y - stride / 2, 2 * stride, 2 * stride], atol=1e-3
    )
    assert found.scores[best[0]] == pytest.approx(tiny_face.score(255), abs=1e-4)
    centre = np.array([x, y]) + stride / 2
    expected = centre + np.array(tiny_face.POINTS) * stride
    np.testing.assert_allclose(points[best[0]], expected, atol=1e-3)


def test_a_frame_that_is_shrunk(tiny: AnchorFreeDetector) -> None:
    """640x480 is searched at 320x256, black below: the picture lies at (0, 8)."""
    found = tiny.detect(square((480, 640), 304, 224, 64))
    # A square of 32 pixels there, from (152, 120); the cell of stride 32 is only partly in it.
    centre = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    assert len(found) and (np.abs(centre - [336, 256]) < 32).all()
    assert set(np.round(found.boxes[:, 2]).astype(int)) == {32, 64}


def test_scores_fall_with_brightness_and_the_best_comes_first(tiny: AnchorFreeDetector) -> None:
    image = np.zeros((64, 320, 3), np.uint8)
    for i, level in enumerate((210, 250, 195, 230)):
        image[24:32, 16 + 80 * i : 24 + 80 * i] = level
    found = tiny.detect(image)
    assert found.scores.tolist() == pytest.approx(
        [tiny_face.score(level) for level in (250, 230, 210)], abs=1e-4
    )
    assert np.round(found.boxes[:, 0]).astype(int).tolist() == [92, 252, 12]


def test_threshold_and_suppression_come_from_the_bundle(tmp_path: Path) -> None:
    image = np.zeros((64, 320, 3), np.uint8)
    for i, level in enumerate((210, 250, 195, 230)):
        image[24:32, 16 + 80 * i : 24 + 80 * i] = level
    strict = opened(tmp_path / "strict", write={"threshold": 0.95})
    assert len(strict.detect(image)) == 2
    assert (
        len(opened(tmp_path / "strict", write={"threshold": 0.95}, threshold=0.3).detect(image))
        == 4
    )
    # Neighbouring cells of 16 pixels, 8 apart, overlap by a third.
    pair = square((32, 64), 16, 8, 8) | square((32, 64), 24, 8, 8)
    assert len(opened(tmp_path / "a", write={"nms_iou": 0.32}).detect(pair)) == 1
    assert len(opened(tmp_path / "b", write={"nms_iou": 0.34}).detect(pair)) == 2


def test_all_frames_of_a_batch_at_once(tiny: AnchorFreeDetector) -> None:
    """Whatever their sizes, and in parts when they are many."""
    draw = np.random.default_rng(3)
    shapes = [(64, 64), (480, 640), (64, 64), (1, 1), (480, 640), (60, 50), (64, 64)]
    images = []
    for height, width in shapes:
        cells = draw.integers(0, 256, (-(-height // 8), -(-width // 8), 1), np.uint8)
        image = np.repeat(np.repeat(cells, 8, axis=0), 8, axis=1)[:height, :width]
        images.append(np.repeat(image, 3, axis=2))
    together = tiny.detect_batch(images)
    assert sum(map(len, together)) > 20
    for image, found in zip(images, together, strict=True):
        same(found, tiny.detect(image))
    assert tiny.detect_batch([]) == []


def test_runs_of_a_batch(tiny: AnchorFreeDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = spy(tiny, monkeypatch)
    small, large = np.zeros((60, 90, 3), np.uint8), np.zeros((480, 640, 3), np.uint8)
    tiny.detect_batch([small, large, small, small])
    assert runs == [(3, 64, 96, 3), (1, 256, 320, 3)]
    runs.clear()
    monkeypatch.setattr(anchor_free, "RUN_PIXELS", 2 * 320 * 256)
    tiny.detect_batch([large] * 5)
    assert runs == [(2, 256, 320, 3), (2, 256, 320, 3), (1, 256, 320, 3)]
    runs.clear()
    monkeypatch.setattr(anchor_free, "RUN_PIXELS", 1)
    tiny.detect_batch([large] * 2)
    assert runs == [(1, 256, 320, 3)] * 2


def test_batches_pay_only_for_small_inputs(tmp_path: Path) -> None:
    small = opened(tmp_path / "a", size=320)
    assert takes_batches(small)
    assert small.batch_size(1080, 1920) == 2 and small.batch_size(8, 8) == 2
    large = opened(tmp_path / "b", size=640)
    assert large.batch_size(1080, 1920) == 1 and large.batch_size(320, 320) == 2
    assert opened(tmp_path / "c", min_face=20).batch_size(1080, 1920) == 1


def test_size_decides_what_is_seen(tmp_path: Path) -> None:
    """A square of 8 pixels in 1280: a cell at full size, a grey smear at 320."""
    image = square((640, 1280), 640, 320, 8)
    assert len(opened(tmp_path / "own").detect(image)) == 0
    assert len(opened(tmp_path / "own", size=640).detect(image)) == 0
    full = opened(tmp_path / "own", size=1280).detect(image)
    np.testing.assert_allclose(full.boxes, [[636, 316, 16, 16]], atol=1e-3)
    # The bundle's smallest face has 16 pixels: one of 16 needs all of the frame.
    same(opened(tmp_path / "own", min_face=16).detect(image), full)
    assert len(opened(tmp_path / "own", min_face=32).detect(image)) == 0
    # A size that is given stays, and the limit still holds.
    assert len(opened(tmp_path / "own", min_face=17, size=1280).detect(image)) == 0
    assert len(opened(tmp_path / "own", min_face=16, size=320).detect(image)) == 0
    assert len(opened(tmp_path / "twice", write={"size": 1280}).detect(image)) == 1


def test_the_second_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = opened(tmp_path / "auto", size="auto")
    runs = spy(auto, monkeypatch)
    small = square((640, 1280), 640, 320, 8)
    # No face in the first look.
    found = auto.detect(small)
    np.testing.assert_allclose(found.boxes, [[636, 316, 16, 16]], atol=1e-3)
    assert runs == [(1, 160, 320, 3), (1, 640, 1280, 3)]
    # One of 16 of its pixels: what the first look misses is found beside it.
    both = small | square((640, 1280), 128, 128, 32)
    runs.clear()
    found = auto.detect(both)
    assert (np.abs(found.boxes - [636, 316, 16, 16]).max(axis=1) < 0.01).any()
    assert (np.diff(found.scores) <= 0).all() and len(runs) == 2
    first = opened(tmp_path / "own").detect(both)
    assert len(first) and (np.abs(first.boxes[:, :2] - [636, 316]).max(axis=1) > 100).all()
    assert (np.abs(found.boxes - first.boxes[0]).max(axis=1) < 0.01).any(), "both looks count"
    # In a batch, only the frames that need it.
    runs.clear()
    auto.detect_batch([square((160, 320), 32, 32, 8), small])
    assert runs == [(2, 160, 320, 3), (1, 640, 1280, 3)]
    # Frames over the second look's size are shrunk to it.
    huge = auto.detect(square((1280, 2560), 1280, 640, 16))
    np.testing.assert_allclose(huge.boxes, [[1272, 632, 32, 32]], atol=1e-2)


def test_clear_faces_need_no_second_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of 64 pixels of the first look; the smallest face has 16."""
    large = tiny_face.network(rest=[np.log(4.0)] * 4 + [0.0] * 10)
    auto = opened(tmp_path / "large", size="auto", write={"fp32": large})
    runs = spy(auto, monkeypatch)
    found = auto.detect(square((640, 1280), 256, 256, 32))
    assert len(found) and found.boxes[:, 2].min() >= 4 * 64
    assert runs == [(1, 160, 320, 3)]


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 500), (31, 33), (20, 8000), (8000, 20), (4320, 7680)]
)
@pytest.mark.parametrize("size", [None, "auto", 32])
def test_any_frame_gives_an_answer(
    tmp_path: Path, shape: tuple[int, int], kind: str, size: Any
) -> None:
    image = np.full((*shape, 3), 255 * (kind == "white"), np.uint8)
    if kind == "noise":
        image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    found = opened(tmp_path / "tiny", size=size).detect(image)
    assert np.isfinite(found.boxes).all()
    # Strips of a few pixels fill no cell, and noise is grey on average.
    assert (len(found) > 0) == (kind == "white" and min(shape) > 30)


def test_memory_does_not_grow_with_the_frame(tmp_path: Path) -> None:
    """An 8K frame searched at 640 costs what the frame and a picture of 640 pixels take."""
    tiny_face.write_bundle(tmp_path / "tiny", size=640)
    code = f"""
import resource, numpy as np
from ferlite.faces import open_detector
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
detector = open_detector({str(tmp_path / "tiny")!r}, provider="cpu", threads=1)
detector.detect(np.zeros((64, 64, 3), np.uint8))
frame = np.full((4320, 7680, 3), 7, np.uint8)
before = peak()
detector.detect(frame)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40, "MiB"


HOSTILE = [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, 100.0, -100.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), min_size=14, max_size=14))
def test_outputs_that_are_no_faces_are_passed_over(
    tmp_path_factory: pytest.TempPathFactory, rest: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    detector = opened(folder, write={"fp32": tiny_face.network(rest=rest)})
    found = detector.detect(np.full((700, 500, 3), 255, np.uint8))
    assert found.landmarks is not None
    for array in (found.boxes, found.scores, found.landmarks):
        assert np.isfinite(array).all()
    assert (found.boxes[:, 2:] > 0).all()


def test_faces_everywhere_are_bounded(tmp_path: Path) -> None:
    """Every one of 27,000 cells a face that overlaps no other."""
    net = tiny_face.network(rest=[-1.0] * 4 + [0.0] * 10)
    detector = opened(tmp_path / "many", size=1280, write={"fp32": net}, threshold=0.0)
    found = detector.detect(np.full((1280, 1280, 3), 255, np.uint8))
    assert 1000 < len(found) <= anchor_free.TOP_K


@pytest.mark.parametrize(
    ("net", "changes", "shown"),
    [
        ({"channels": 4}, {}, r"takes tensor\(uint8\) \[batch, height, width, 4\]"),
        ({"batch": 1}, {}, r"takes tensor\(uint8\) \[1, height, width, 3\]"),
        ({"sides": (320, 320)}, {}, r"\[batch, 320, 320, 3\]; a detector takes .* n, h and w free"),
        ({"strides": (8, 16)}, {}, "output stride32 is missing"),
        ({}, {"strides": [4, 8]}, "output stride4 is missing"),
        ({"rest": [0.0] * 12}, {}, r"output stride8 is float32 \[2, 13, 4, 8\] for an input of"),
    ],
)
def test_a_network_that_is_no_detector(
    tmp_path: Path, net: dict[str, Any], changes: dict[str, Any], shown: str
) -> None:
    with pytest.raises(ModelError, match=shown) as caught:
        opened(tmp_path / "odd", write={"fp32": tiny_face.network(**net), **changes})
    assert "model.onnx" in str(caught.value) and "\n" not in str(caught.value)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    import tiny_model

    for data in (b"junk", tiny_model.network(), tiny_model.negation()):
        with pytest.raises(ModelError, match=r"model\.onnx"):
            opened(tmp_path / "odd", write={"fp32": data})
    emotion = tiny_model.write_bundle(tmp_path / "emotion")
    for path in (emotion, emotion / "model.onnx"):
        with pytest.raises(ModelError, match="is a model for emotion, no face detector"):
            open_detector(path)


def test_precision(tmp_path: Path) -> None:
    """INT8 by name; by itself only where it finds the faces that fp32 finds."""
    good, wrong = tiny_face.network(), tiny_face.network(drift=-20)
    by_name = opened(tmp_path / "a", write={"int8": good}, precision="int8")
    assert by_name.models[0]["file"] == "model.int8.onnx" and by_name.choice is None
    auto = opened(tmp_path / "a", write={"int8": good})
    assert auto.choice.measured[1].difference == 0 and auto.precision == auto.choice.way.precision
    other = opened(tmp_path / "b", write={"int8": wrong})
    assert other.precision == "fp32" and other.choice.measured[1].difference > precision.AGREE
    with pytest.raises(ModelError, match="has no int8 network, only fp32"):
        opened(tmp_path / "c", precision="int8")
    with pytest.raises(UsageError, match="unknown precision 'fp16'"):
        opened(tmp_path / "c", precision="fp16")


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    detector = opened(tmp_path / "tiny")
    (about,) = detector.models
    assert detector.name == "tiny-face" and json.dumps(about)
    assert about == {
        "task": "face",
        "name": "tiny-face",
        "version": "1.0.0",
        "precision": "fp32",
        "provider": "cpu",
        "file": "model.onnx",
        "sha256": detector.bundle.files["model.onnx"],
    }


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = tiny_face.write_bundle(tmp_path / "tiny")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match=r"model\.onnx: SHA-256 is"):
        open_detector(folder)


def test_opened_by_name_folder_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    """A file is opened by what it is: one that ferlite exported, or a YuNet."""
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path))
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path / "came-with-ferlite")
    tiny_face.write_bundle(tmp_path / "came-with-ferlite" / "face", name="ferlite-face")
    mine = tiny_face.write_bundle(tmp_path / "models" / "mine")
    assert open_detector("ferlite-face").name == "ferlite-face"
    for path in ("mine", mine, mine / "model.onnx"):
        assert open_detector(path).name == "tiny-face"
    yunet = tmp_path / "models" / "yunet"
    tiny_face.write_bundle(
        yunet,
        name="yunet",
        fp32=(shared / "models" / "face_detection_yunet_2023mar.onnx").read_bytes(),
    )
    for path in ("yunet", yunet, yunet / "model.onnx"):
        assert open_detector(path).name == "yunet"
    with (yunet / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="SHA-256"):
        open_detector("yunet")
    with pytest.raises(ModelError, match="so not a model"):
        open_detector(tmp_path)


def test_many_threads_agree(tiny: AnchorFreeDetector) -> None:
    images = [square((64, 96), 8 * i, 16, 8) for i in range(6)]
    expected = [tiny.detect(image).boxes for image in images]
    wrong: list[int] = []

    def work(start: int) -> None:
        for step in range(30):
            k = (start + step) % len(images)
            if not np.array_equal(tiny.detect(images[k]).boxes, expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_int8_that_invents_faces_is_told_from_fp32(tmp_path: Path) -> None:
    write = {"fp32": tiny_face.network(drift=-20), "int8": tiny_face.network()}
    choice = opened(tmp_path / "tiny", write=write).choice
    assert choice.measured[1].difference > precision.AGREE


def test_of_too_many_faces_the_best_are_kept(
    tiny: AnchorFreeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_free, "TOP_K", 2)
    image = np.zeros((64, 320, 3), np.uint8)
    for i, level in enumerate((210, 220, 230, 250)):
        image[24:32, 16 + 80 * i : 24 + 80 * i] = level
    scores = tiny.detect(image).scores.tolist()
    assert scores == pytest.approx([tiny_face.score(level) for level in (250, 230)], abs=1e-4)


def test_no_second_look_where_small_faces_are_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = opened(tmp_path / "tiny", size="auto", min_face=40)
    runs = spy(auto, monkeypatch)
    auto.detect(np.zeros((640, 1280, 3), np.uint8))
    assert runs == [(1, 256, 512, 3)]


def test_beside_the_frame_the_input_is_black(
    tiny: AnchorFreeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, run = list[Image](), tiny._session.run

    def watched(batch: Image) -> Any:
        seen.append(batch.copy())
        return run(batch)

    monkeypatch.setattr(tiny._session, "run", watched)
    tiny.detect(np.full((480, 640, 3), 255, np.uint8))
    assert not seen[0][0, :8].any() and not seen[0][0, -8:].any() and seen[0][0, 200].all()
