"""Faces and detector inputs cut from a decoder's planes, against those of the converted picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import crop_reference as reference
import cv2
import numpy as np
import pytest
from media import write_clip
from numpy.typing import NDArray

from ferlite import _core, crops, planes
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
    canvas = np.full(bgr.shape, 77, np.uint8)
    assert planes.letterbox(image, canvas) == (1.0, (0, 0))
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
    image = Planes(*arrays, matrix=matrix)
    height, width, _ = image.shape
    # What a converter would do, in floating point: colour enlarged, mixed, held.
    large = [
        reference.crop(
            a[..., None].astype(float), np.array([0, 0, *a.shape[::-1]]), (width, height)
        )
        for a in arrays
    ]
    mixed = np.concatenate([large[0] - matrix.black, large[1] - 128, large[2] - 128], axis=2)
    bgr = np.clip(mixed @ matrix.shares("bgr").T, 0, 255).round().astype(np.uint8)
    boxes = np.array([[10, 5, 60, 70], [-9, 40, 45, 45], [60.5, 20.25, 30, 30]], np.float32)
    options = {"size": (24, 20), "color": color, "scale": 0.5, "offset": -3.0}
    angles = [angle] * 3 if angle else None
    ours = planes.crop_faces(image, boxes, angles=angles, **options)  # type: ignore[arg-type]
    theirs = crops.crop_faces(bgr, boxes, angles=angles, **options)  # type: ignore[arg-type]
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    # Half a level of rounding and what repeating instead of interpolating colour makes, times 0.5.
    assert np.abs(ours - theirs).mean() < 0.25 and np.abs(ours - theirs).max() < 2.5


def test_crops_of_other_kinds() -> None:
    _, arrays = frame_of("yuv420p")
    image = Planes(*arrays, matrix=BT601)
    boxes = np.array([[10, 5, 60, 70]], np.float32)
    floats = planes.crop_faces(image, boxes, size=(9, 7), color="bgr")
    levels = planes.crop_faces(image, boxes, size=(9, 7), color="bgr", dtype="uint8")
    assert levels.dtype == np.uint8
    assert np.abs(floats - levels).max() <= 0.501
    planar = planes.crop_faces(image, boxes, size=(9, 7), color="bgr", layout="NCHW")
    np.testing.assert_array_equal(planar, floats.transpose(0, 3, 1, 2))
    assert planar.flags.c_contiguous
    assert planes.crop_faces(image, boxes[:0], size=(9, 7)).shape == (0, 7, 9, 1)


@pytest.mark.usefixtures("each_instruction_set")
@pytest.mark.parametrize("kind", SUBSAMPLED)
@pytest.mark.parametrize("shape", [(90, 122), (91, 61), (1, 1), (25, 200)])
@pytest.mark.parametrize("enlarge", [False, True])
def test_letterbox_is_that_of_the_converted_picture(
    kind: str, shape: tuple[int, int], enlarge: bool
) -> None:
    frame, _ = frame_of(kind, *shape)
    image, bgr = converted(frame)
    canvas = np.full((64, 96, 3), 99, np.uint8)
    zoom, offset = planes.letterbox(image, canvas, enlarge=enlarge)
    expected, same_zoom, same_offset = crops.letterbox(bgr, (96, 64), padding=0, enlarge=enlarge)
    assert (zoom, offset) == (same_zoom, same_offset)
    difference = np.abs(canvas.astype(int) - expected)
    # FFmpeg's quick conversion of halved colour is up to some levels off; ours is not.
    assert difference.mean() < 2 and difference.max() <= 12


@pytest.mark.usefixtures("each_instruction_set")
def test_what_is_far_out_of_range_is_held() -> None:
    bright = np.full((8, 8), 255, np.uint8)
    image = Planes(bright, bright, bright, BT601)
    canvas = np.zeros((8, 8, 3), np.uint8)
    planes.letterbox(image, canvas)
    assert (canvas[..., 0] == 255).all() and (canvas[..., 2] == 255).all()
    dark = Planes(np.zeros((8, 8), np.uint8), bright, bright, BT709)
    box = np.array([[0, 0, 8, 8]], np.float32)
    crop = planes.crop_faces(dark, box, size=(4, 4), color="bgr")
    assert crop.min() == 0 and crop.max() <= 255


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


@pytest.mark.usefixtures("each_instruction_set")
def test_the_core_refuses_what_it_cannot_read() -> None:
    plane, out = np.zeros((4, 6), np.uint8), np.zeros((1, 4, 6, 3), np.uint8)
    for y, matrix, target, why in [
        (plane[:, ::2], BT601.values, out, "differ in size"),
        (np.zeros((4, 12), np.uint8)[:, ::2], BT601.values, out, "must follow one another"),
        (plane, BT601.values, np.zeros((1, 3, 4, 6), np.uint8).transpose(0, 2, 3, 1), "follow"),
        (plane, (16, float("nan"), 0, 0, 0, 0), out, "out of range"),
        (plane, (-1, 1, 0, 0, 0, 0), out, "black"),
    ]:
        with pytest.raises(ValueError, match=why):
            _core.join_planes(y, plane, plane, matrix, target)
    with pytest.raises(ValueError, match="under 1"):
        _core.place(0, 1, 1, 1, True)


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
        canvas = np.zeros(frame.image.shape, np.uint8)
        planes.letterbox(frame.pixels, canvas)  # type: ignore[arg-type]
        assert np.abs(canvas.astype(int) - frame.image).mean() < 2
        assert frame.image is frame.image
        assert frame.size == frame.image.shape[1::-1]
