"""Faces and detector inputs cut from a decoder's planes, against those of the converted picture."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import crop_reference as reference
import cv2
import numpy as np
import pytest
from media import write_clip
from numpy.typing import NDArray

from ferlite import _core, crops
from ferlite.errors import UsageError
from ferlite.planes import Planes, YuvMatrix
from ferlite.sources import open_source
from ferlite.sources.decoding import Converter
from ferlite.types import DecodedPicture

BT601 = YuvMatrix.of(0.299, 0.114, full_range=False)
BT709 = YuvMatrix.of(0.2126, 0.0722, full_range=False)
Levels = NDArray[np.uint8]
SUBSAMPLED = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}


@pytest.fixture(params=_core.instruction_sets())
def each_instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _core.instruction_set()
    _core.use_instruction_set(request.param)
    yield
    _core.use_instruction_set(before)


def soft(
    rng: np.random.Generator, height: int, width: int, low: int, high: int
) -> NDArray[np.uint8]:
    """Levels that change slowly, so that where colour is between its pixels hardly matters."""
    few = rng.integers(low, high, (3, 4), np.uint8)
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def frame_of(
    kind: str, height: int = 90, width: int = 122, seed: int = 0
) -> tuple[av.VideoFrame, tuple[Levels, Levels, Levels]]:
    """A frame of FFmpeg's, and the planes written to it; colours stay inside of 0..255."""
    rng = np.random.default_rng(seed)
    down, across = SUBSAMPLED[kind.replace("j", "")]
    small = -(-height // down), -(-width // across)
    arrays = (
        soft(rng, height, width, 70, 170),
        soft(rng, *small, 105, 150),
        soft(rng, *small, 105, 150),
    )
    frame = av.VideoFrame(width, height, kind)
    for plane, array in zip(frame.planes, arrays, strict=True):
        lines = np.zeros((array.shape[0], plane.line_size), np.uint8)
        lines[:, : array.shape[1]] = array
        plane.update(lines.tobytes())
    return frame, arrays


def converted(frame: av.VideoFrame) -> tuple[Planes, NDArray[np.uint8]]:
    picture = Converter()(frame)
    assert isinstance(picture, DecodedPicture)
    return picture.planes, picture.bgr()


@pytest.mark.parametrize("kind", ["yuv444p", "yuvj444p"])
@pytest.mark.parametrize("space", [0, 1, 2, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_colours_are_ffmpegs(kind: str, space: int, levels: int) -> None:
    frame, _ = frame_of(kind)
    frame.colorspace, frame.color_range = space, levels
    image, bgr = converted(frame)
    canvas, zoom, offset = crops.letterbox(image, bgr.shape[1::-1])
    assert (zoom, offset) == (1.0, (0, 0))
    difference = np.abs(canvas.astype(int) - bgr)
    assert difference.max() <= 1 and difference.mean() < 0.02


@pytest.mark.usefixtures("each_instruction_set")
@pytest.mark.parametrize("kind", SUBSAMPLED)
@pytest.mark.parametrize("matrix", [BT601, BT709])
@pytest.mark.parametrize("color", ["gray", "bgr", "rgb"])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_crops_are_those_of_the_converted_picture(
    kind: str, matrix: YuvMatrix, color: str, angle: float
) -> None:
    _, arrays = frame_of(kind)
    y, u, v = arrays
    image = Planes(y, u[::2], v[::2], matrix) if kind == "yuv422p" else Planes(y, u, v, matrix)
    height, width, _ = image.shape
    # What a converter would do, in floating point: colour enlarged, mixed, held.
    large = [
        reference.crop(
            a[..., None].astype(float), np.array([0, 0, *a.shape[::-1]]), (width, height)
        )
        for a in arrays
    ]
    mixed = np.concatenate([large[0] - matrix.black, large[1] - 128, large[2] - 128], axis=2)
    gain = matrix.y_gain
    shares = [
        [gain, matrix.u_blue, 0],
        [gain, matrix.u_green, matrix.v_green],
        [gain, 0, matrix.v_red],
    ]
    bgr = np.clip(mixed @ np.array(shares).T, 0, 255).round().astype(np.uint8)
    boxes = np.array([[10, 5, 60, 70], [-9, 40, 45, 45], [60.5, 20.25, 30, 30]], np.float32)
    options = {"size": (24, 20), "color": color, "scale": 0.5, "offset": -3.0}
    angles = [angle] * 3 if angle else None
    ours = crops.crop_faces(image, boxes, angles=angles, **options)  # type: ignore[arg-type]
    theirs = crops.crop_faces(bgr, boxes, angles=angles, **options)  # type: ignore[arg-type]
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    # Half a level of rounding and what repeating instead of interpolating colour makes, times 0.5.
    assert np.abs(ours - theirs).mean() < 0.25 and np.abs(ours - theirs).max() < 2.5


def test_crops_of_other_kinds() -> None:
    _, arrays = frame_of("yuv420p")
    image = Planes(*arrays, matrix=BT601)
    boxes = np.array([[10, 5, 60, 70]], np.float32)
    floats = crops.crop_faces(image, boxes, size=(9, 7), color="bgr")
    levels = crops.crop_faces(image, boxes, size=(9, 7), color="rgb", dtype="uint8")
    assert levels.dtype == np.uint8
    assert np.abs(floats[..., ::-1] - levels).max() <= 0.501
    # Bytes in BGR, as detectors take them, are joined from planes that are rounded already.
    quick = crops.crop_faces(image, boxes, size=(9, 7), color="bgr", dtype="uint8")
    assert np.abs(floats - quick).max() <= 2.1
    planar = crops.crop_faces(image, boxes, size=(9, 7), color="bgr", layout="NCHW")
    np.testing.assert_array_equal(planar, floats.transpose(0, 3, 1, 2))
    assert planar.flags.c_contiguous
    assert crops.crop_faces(image, boxes[:0], size=(9, 7)).shape == (0, 7, 9, 1)


@pytest.mark.usefixtures("each_instruction_set")
@pytest.mark.parametrize("kind", SUBSAMPLED)
@pytest.mark.parametrize("shape", [(90, 122), (91, 61), (1, 1), (25, 200)])
@pytest.mark.parametrize("enlarge", [False, True])
def test_letterbox_is_that_of_the_converted_picture(
    kind: str, shape: tuple[int, int], enlarge: bool
) -> None:
    frame, _ = frame_of(kind, *shape)
    image, bgr = converted(frame)
    for options in (
        {},
        {"color": "rgb", "layout": "NCHW"},
        {"color": "gray", "dtype": "float32", "scale": 0.5, "offset": 20.0},
    ):
        options |= {"enlarge": enlarge, "padding": 50}
        canvas, zoom, offset = crops.letterbox(image, (96, 64), **options)
        expected, *place = crops.letterbox(bgr, (96, 64), **options)
        assert [zoom, offset] == place
        assert canvas.shape == expected.shape and canvas.dtype == expected.dtype
        difference = np.abs(canvas.astype(float) - expected)
        # FFmpeg's quick conversion of halved colour is up to some levels off; ours is not.
        assert difference.mean() < 2 and difference.max() <= 12


@pytest.mark.usefixtures("each_instruction_set")
def test_what_is_far_out_of_range_is_held() -> None:
    bright = np.full((8, 8), 255, np.uint8)
    image = Planes(bright, bright, bright, BT601)
    canvas = crops.letterbox(image, (8, 8))[0]
    assert (canvas[..., 0] == 255).all() and (canvas[..., 2] == 255).all()
    dark = Planes(np.zeros((8, 8), np.uint8), bright, bright, BT709)
    box = np.array([[0, 0, 8, 8]], np.float32)
    crop = crops.crop_faces(dark, box, size=(4, 4), color="bgr")
    assert crop.min() == 0 and crop.max() <= 255


def test_planes_without_a_share_are_no_trap() -> None:
    plane = np.full((8, 8), 200, np.uint8)
    for matrix in (YuvMatrix(0, 1, 0, 0, 0, 0), YuvMatrix(0, 0, 0, 0, 0, 0)):
        image = Planes(plane, plane, plane, matrix)
        for color in ("bgr", "rgb", "gray"):
            canvas = crops.letterbox(image, (8, 8), color=color)[0]
            assert (canvas == 200 * matrix.y_gain).all()


def test_threads_leave_the_reference_counts_as_they_are() -> None:
    plane = np.zeros((64, 64), np.uint8)
    image = Planes(plane, plane, plane, BT601)
    before = sys.getrefcount(plane)
    work = [threading.Thread(target=lambda: crop_often(image)) for _ in range(3)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sys.getrefcount(plane) == before


def crop_often(image: Planes) -> None:
    boxes = np.array([[0, 0, 40, 40]], np.float32)
    for _ in range(3000):
        crops.crop_faces(image, boxes, size=(4, 4))


def test_planes_of_something_else_are_refused() -> None:
    plane = np.zeros((4, 4), np.uint8)
    with pytest.raises(UsageError, match="make no picture"):
        Planes([[1]], plane, plane, BT601)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="matrix of planes is None; give a YuvMatrix"):
        Planes(plane, plane, plane, None)  # type: ignore[arg-type]
    numbers = YuvMatrix(*(np.float32(v) for v in BT601.values))
    assert crops.letterbox(Planes(plane, plane, plane, numbers), (4, 4))[1] == 1.0


@pytest.mark.parametrize(
    "shapes",
    [
        ((4, 4), (3, 2), (3, 2)),
        ((4, 4), (2, 2), (2, 1)),
        ((4, 4, 1), (2, 2), (2, 2)),
        ((0, 4), (0, 2), (0, 2)),
    ],
)
def test_planes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UsageError, match="make no picture"):
        y, u, v = (np.zeros(shape, np.uint8) for shape in shapes)
        Planes(y, u, v, BT601)
    with pytest.raises(UsageError, match="make no picture"):
        Planes(np.zeros((4, 4)), np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), BT601)  # type: ignore[arg-type]


def test_the_core_refuses_what_it_cannot_read() -> None:
    plane, matrix = np.zeros((4, 6), np.uint8), BT601.values
    box, angles = np.array([[0, 0, 4, 4]], np.float32), np.empty(0)
    out = np.zeros((1, 4, 6, 3), np.uint8)
    for y, u, numbers, why in [
        (plane, plane[:, ::2], matrix, "differ in size"),
        (plane[:3], plane, matrix, "neither as large"),
        (plane[:0], plane, matrix, "empty"),
        (plane, plane, (16, float("nan"), 0, 0, 0, 0), "out of range"),
        (plane, plane, (-1, 1, 0, 0, 0, 0), "black"),
    ]:
        with pytest.raises(ValueError, match=why):
            _core.crop_planes(y, u, plane, numbers, box, angles, out, "bgr", 1, 0, 1)
        with pytest.raises(ValueError, match=why):
            _core.letterbox_planes(y, u, plane, numbers, out, "bgr", 1, 0, 0, True, 1)
    image = Planes(plane, plane, plane, BT601)
    for boxes in ([[0, 0, -1, 2]], [[0, 0, float("nan"), 2]]):
        with pytest.raises(UsageError, match="boxes"):
            crops.crop_faces(image, boxes, size=(4, 4))


def test_other_formats_are_converted_at_once() -> None:
    frame, _ = frame_of("yuv444p")
    for kind in ("yuv420p10le", "nv12", "gbrp", "gray", "rgb24"):
        assert isinstance(Converter()(frame.reformat(format=kind)), np.ndarray)


def test_frames_of_a_video_are_planes(tmp_path: Path) -> None:
    frames = list(open_source(write_clip(tmp_path / "clip.mp4", 30)))
    assert len(frames) == 30
    assert all(isinstance(frame.pixels, Planes) for frame in frames)
    # Planes are the decoder's memory: they must outlive the decoding of the frames behind them.
    for frame in frames:
        canvas = crops.letterbox(frame.pixels, frame.size)[0]
        assert np.abs(canvas.astype(int) - frame.image).mean() < 2
        assert frame.image is frame.image
        assert frame.size == frame.image.shape[1::-1]
