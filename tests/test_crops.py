"""crop_faces and letterbox against the NumPy reference, OpenCV, and hostile arguments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import crop_reference as reference
import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ferlite import _core, crops
from ferlite.errors import FerliteError, UsageError

IMAGE_KINDS = ["bgr", "rgb", "gray"]


@pytest.fixture(scope="module", autouse=True, params=_core.instruction_sets())
def each_instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for every instruction set that this machine has."""
    before = _core.instruction_set()
    _core.use_instruction_set(request.param)
    yield
    _core.use_instruction_set(before)


def noise(rng: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, shape, np.uint8)


def views(rng: np.random.Generator, height: int, width: int) -> dict[str, NDArray[np.uint8]]:
    """The frames a caller may hand over, each height x width x 3, one contiguous."""
    return {
        "contiguous": noise(rng, height, width, 3),
        "padded rows": noise(rng, height, width + 5, 3)[:, 2:-3],
        "every second": noise(rng, 2 * height, 3 * width, 3)[::2, ::3],
        "mirrored": noise(rng, height, width, 3)[:, ::-1],
        "upside down": noise(rng, height, width, 3)[::-1],
        "channels swapped": noise(rng, height, width, 3)[:, :, ::-1],
        "of BGRA": noise(rng, height, width, 4)[:, :, :3],
        "of ABGR": noise(rng, height, width, 4)[:, :, :0:-1],
        "planes": noise(rng, 3, height, width).transpose(1, 2, 0),
        "turned": noise(rng, width, height, 3).transpose(1, 0, 2)[::-1],
        "one row repeated": np.broadcast_to(noise(rng, 1, width, 3), (height, width, 3)),
        "one color": np.broadcast_to(noise(rng, 3), (height, width, 3)),
    }


def expected(
    image: NDArray[np.uint8],
    boxes: NDArray[Any],
    size: tuple[int, int],
    angles: NDArray[Any] | None = None,
    image_color: str = "bgr",
    color: str = "gray",
) -> NDArray[np.float64]:
    pixels = reference.recolored(image, image_color, color)
    turned = np.zeros(len(boxes)) if angles is None else angles
    return np.stack(
        [reference.crop(pixels, b, size, a) for b, a in zip(boxes, turned, strict=True)]
    )


def random_boxes(rng: np.random.Generator, n: int, height: int, width: int) -> NDArray[np.float32]:
    """Inside, across an edge, outside, larger than the frame, thin, and under a pixel."""
    corner = rng.uniform(-1.5, 1.5, (n, 2)) * (width, height)
    side = 10 ** rng.uniform(-2, 1, (n, 2)) * (width, height)
    return np.concatenate([corner, side], axis=1).astype(np.float32)


sides = st.integers(1, 40)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frame=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    turned=st.booleans(),
)
@example(seed=0, frame=(1, 1), size=(7, 5), turned=False)
@example(seed=1, frame=(1, 1), size=(7, 5), turned=True)
@example(seed=2, frame=(33, 1), size=(1, 1), turned=False)
def test_crops_match_the_reference(
    seed: int, frame: tuple[int, int], size: tuple[int, int], turned: bool
) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 6, *frame)
    angles = rng.uniform(-7, 7, 6) if turned else None
    kind, color = rng.choice(IMAGE_KINDS), rng.choice(IMAGE_KINDS)
    image = noise(rng, *frame) if kind == "gray" else noise(rng, *frame, 3)
    got = crops.crop_faces(
        image, boxes, size=size, angles=angles, image_color=kind, color=color, threads=2
    )
    want = expected(image, boxes, size, angles, kind, color)
    assert got.shape == want.shape == (6, size[1], size[0], 1 if color == "gray" else 3)
    # Floats come closer than the level that is promised: what is left is single precision.
    np.testing.assert_allclose(got, want, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", views(np.random.default_rng(0), 4, 4))
@pytest.mark.parametrize("color", IMAGE_KINDS)
@pytest.mark.parametrize("image_color", ["bgr", "rgb"])
def test_any_strides(name: str, color: str, image_color: str) -> None:
    rng = np.random.default_rng(7)
    image = views(rng, 37, 29)[name]
    boxes = random_boxes(rng, 12, 37, 29)
    angles = np.where(np.arange(12) % 2, rng.uniform(-3, 3, 12), 0)
    got = crops.crop_faces(
        image, boxes, size=(9, 11), angles=angles, image_color=image_color, color=color
    )
    want = expected(image, boxes, (9, 11), angles, image_color, color)
    np.testing.assert_allclose(got, want, rtol=0, atol=0.02)


@pytest.mark.parametrize("color", IMAGE_KINDS)
@pytest.mark.parametrize("kind", IMAGE_KINDS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_formats(dtype: Any, layout: Any, kind: Any, color: Any) -> None:
    rng = np.random.default_rng(11)
    image = noise(rng, 50, 60) if kind == "gray" else noise(rng, 50, 60, 3)
    boxes = random_boxes(rng, 10, 50, 60)
    want = expected(image, boxes, (8, 12), None, kind, color)
    if layout == "NCHW":
        want = want.transpose(0, 3, 1, 2)
    scale, offset = (1 / 64, -2.0) if dtype == "float32" else (1.5, -40.0)
    options: dict[str, Any] = {"color": color, "image_color": kind}
    options |= {"dtype": dtype, "layout": layout, "scale": scale, "offset": offset}
    got = crops.crop_faces(image, boxes, size=(8, 12), **options)
    assert got.dtype == dtype and got.flags.c_contiguous
    if dtype == "float32":
        np.testing.assert_allclose(got, want * scale + offset, rtol=0, atol=0.02 * scale)
    else:
        levels = np.clip(want * scale + offset, 0, 255)
        assert np.abs(got - levels).max() <= 0.52  # rounded, not cut off
    out = np.zeros_like(got)
    assert crops.crop_faces(image, boxes, size=(8, 12), out=out, **options) is out
    np.testing.assert_array_equal(out, got)


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_beyond_all_reason(turned: bool) -> None:
    """Far, huge and tiny boxes neither overflow nor take long: each sees edges or a mean."""
    rng = np.random.default_rng(3)
    image = noise(rng, 40, 30, 3)
    huge, tiny = 3e38, 1e-38
    boxes = np.array(
        [
            [5e8, 0, 1e9, 1e9],
            [-5e8, -5e8, 1e9, 1e9],
            [-1e9, -1e9, 1e3, 1e3],
            [-huge, -huge, huge, huge],
            [huge, huge, huge, huge],
            [huge, -huge, tiny, tiny],
            [0, 0, huge, tiny],
            [10, 10, tiny, tiny],
        ]
    )
    angles = np.linspace(0.1, 1e6, len(boxes)) if turned else None
    got = crops.crop_faces(image, boxes, size=(6, 6), angles=angles)[..., 0]
    gray = reference.recolored(image, "bgr", "gray")[..., 0]
    assert np.isfinite(got).all()
    assert got.min() >= gray.min() - 0.01 and got.max() <= gray.max() + 0.01
    np.testing.assert_allclose(got[2], gray[0, 0], atol=0.01)
    np.testing.assert_allclose(got[5], gray[0, -1], atol=0.01)
    np.testing.assert_allclose(
        got[7],
        reference.bilinear(gray[..., None], np.array([10.0]), np.array([10.0]))[0, 0],
        atol=0.01,
    )
    if not turned:
        np.testing.assert_allclose(got[4], gray[-1, -1], atol=0.01)
        want = expected(image, boxes[:2], (6, 6))[..., 0]
        np.testing.assert_allclose(got[:2], want, atol=0.01)


def test_a_frame_too_large_to_copy() -> None:
    """3 TB of pixels behind one row of memory: only a view can be read from."""
    rng = np.random.default_rng(5)
    side = 1_000_000
    image = np.broadcast_to(noise(rng, 1, 3), (side, side, 3))
    boxes = [[side - 70, side - 90, 64, 64], [3, 4, 48, 48], [side / 2, 8, 96, 20]]
    for angles in (None, [0.5, 1.0, 2.0]):
        got = crops.crop_faces(image, boxes, size=(48, 48), color="bgr", angles=angles)
        np.testing.assert_allclose(got, np.broadcast_to(image[0, 0], got.shape), atol=0.01)


@pytest.mark.parametrize("shape", [(1, 2**60), (2**60, 1), (1, 2**31)])
def test_a_side_beyond_counting_is_refused(shape: tuple[int, int]) -> None:
    image = np.broadcast_to(np.zeros((1, 1), np.uint8), shape)
    for size, wide, high in (((16, 1), 3e38, 1), ((1, 16), 1, 3e38)):
        with pytest.raises(UsageError, match="a side has at most 2147483647"):
            crops.crop_faces(image, [[0, 0, wide, high]], size=size)
    with pytest.raises(UsageError, match="a side has at most 2147483647"):
        crops.letterbox(image, (32, 32))


@pytest.mark.parametrize("turned", [False, True])
def test_threads_do_not_change_the_result(turned: bool) -> None:
    rng = np.random.default_rng(13)
    image = noise(rng, 400, 600, 3)  # large enough for many threads to start
    boxes = random_boxes(rng, 33, 400, 600)
    angles = rng.uniform(-3, 3, 33) if turned else None
    one = crops.crop_faces(image, boxes, size=(48, 48), angles=angles)
    canvas, *_ = crops.letterbox(image, (320, 320))
    for threads in (2, 5, 64):
        many = crops.crop_faces(image, boxes, size=(48, 48), angles=angles, threads=threads)
        np.testing.assert_array_equal(many, one)
        bands, *_ = crops.letterbox(image, (320, 320), threads=threads)
        np.testing.assert_array_equal(bands, canvas)


def test_bands_of_a_gray_letterbox_meet_without_a_seam() -> None:
    """A band's first row is added up anew, where the row before had begun it."""
    image = noise(np.random.default_rng(3), 1379, 1479, 3)
    canvas, *_ = crops.letterbox(image, (399, 201), color="gray", dtype="float32")
    for threads in (2, 3):
        bands, *_ = crops.letterbox(
            image, (399, 201), color="gray", dtype="float32", threads=threads
        )
        np.testing.assert_array_equal(bands, canvas)


def test_a_frame_wider_than_any_camera_s() -> None:
    image = noise(np.random.default_rng(4), 2, 70_000, 3)
    boxes = np.array([[0, 0, 70_000, 2], [69_990, 0, 20, 2]], np.float32)
    for color in ("gray", "bgr"):
        wide = crops.crop_faces(image, boxes, size=(7, 2), color=color)
        first = crops.crop_faces(
            np.ascontiguousarray(image[:, :10_000]), [[0, 0, 10_000, 2]], size=(1, 2), color=color
        )
        np.testing.assert_allclose(wide[:1, :, :1], first, atol=1e-2)
        assert np.isfinite(wide).all()


def test_no_boxes() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    for boxes in ([], np.empty((0, 4), np.float32), np.empty((0, 4))):
        got = crops.crop_faces(image, boxes, size=(48, 32), layout="NCHW", threads=4)
        assert got.shape == (0, 1, 32, 48)


def test_shrinking_agrees_with_opencv(portraits: dict[str, NDArray[np.uint8]]) -> None:
    for image, side in itertools.product(portraits.values(), (48, 100, 333, 512)):
        got = crops.crop_faces(
            image, [[0, 0, side, side]], size=(48, 48), color="bgr", dtype="uint8"
        )[0]
        want = cv2.resize(image[:side, :side], (48, 48), interpolation=cv2.INTER_AREA)
        assert np.abs(got.astype(int) - want).max() <= 1


def test_growing_agrees_with_opencv(portraits: dict[str, NDArray[np.uint8]]) -> None:
    for image in portraits.values():
        patch = np.ascontiguousarray(image[100:140, 200:240])
        got = crops.crop_faces(patch, [[0, 0, 40, 40]], size=(96, 112), color="bgr", dtype="uint8")
        want = cv2.resize(patch, (96, 112), interpolation=cv2.INTER_LINEAR)
        assert np.abs(got[0].astype(int) - want).max() <= 1


@pytest.mark.parametrize("angle", [-2.0, -0.3, 0.2, 1.0, 3.0])
def test_turning_agrees_with_opencv(portraits: dict[str, NDArray[np.uint8]], angle: float) -> None:
    """Where nothing shrinks a turned crop is warpAffine, which rounds positions to 1/32 px."""
    image = cv2.GaussianBlur(portraits["astronaut"], (0, 0), 2)
    box, side = (150.0, 40.0, 100.0, 100.0), 128
    got = crops.crop_faces(image, [box], size=(side, side), angles=[angle], dtype="uint8")
    step = 100 / side
    across = np.array([np.cos(angle), np.sin(angle)]) * step
    down = np.array([-np.sin(angle), np.cos(angle)]) * step
    corner = np.array([200.0, 90.0]) - (across + down) * (side - 1) / 2 - 0.5
    matrix = np.stack([across, down, corner], axis=1)
    want = cv2.warpAffine(
        cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    difference = np.abs(got[0, :, :, 0].astype(int) - want)
    assert difference.max() <= 2 and difference.mean() < 0.4


def test_a_positive_angle_makes_a_face_leaning_clockwise_upright() -> None:
    image = np.zeros((100, 100), np.uint8)
    image[50:, 50:] = 255  # the quadrant right and below
    # Turned a quarter clockwise, the crop's right is the frame's down: the quadrant moves up.
    got = crops.crop_faces(image, [[30, 30, 40, 40]], size=(4, 4), angles=[np.pi / 2])[0, :, :, 0]
    assert got[:2, 2:].min() > 250 and got[2:].max() < 5 and got[:, :2].max() < 5


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frame=st.tuples(sides, sides), size=st.tuples(sides, sides))
@example(seed=0, frame=(1, 1), size=(13, 8))
@example(seed=1, frame=(40, 1), size=(3, 3))
def test_letterbox_matches_the_reference(
    seed: int, frame: tuple[int, int], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    image = list(views(rng, *frame).values())[seed % 12]
    color = rng.choice(IMAGE_KINDS)
    pixels = reference.recolored(image, "bgr", color)
    want, zoom, corner = reference.letterbox(pixels, size, 114)
    canvas, got_zoom, got_corner = crops.letterbox(
        image, size, color=color, dtype="float32", threads=1 + seed % 4
    )
    assert (got_zoom, got_corner) == (pytest.approx(zoom), corner)
    np.testing.assert_allclose(canvas, want, rtol=0, atol=0.02)


def test_letterbox_formats_and_points() -> None:
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(noise(rng, 270, 480, 3), (0, 0), 3)
    canvas, zoom, (dx, dy) = crops.letterbox(image, (320, 320))
    assert canvas.shape == (320, 320, 3) and canvas.dtype == np.uint8
    assert (zoom, dx, dy) == (pytest.approx(2 / 3), 0, 70)
    assert (canvas[:70] == 114).all() and (canvas[250:] == 114).all()
    area = cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA)
    assert np.abs(canvas[70:250].astype(int) - area).max() <= 1
    planes = np.empty((3, 320, 320), np.float32)
    same, *_ = crops.letterbox(
        image, (320, 320), color="rgb", dtype="float32", layout="NCHW", scale=1 / 255, out=planes
    )
    assert same is planes
    np.testing.assert_allclose(planes[::-1].transpose(1, 2, 0) * 255, canvas, atol=0.51)


def test_letterbox_into_a_slot_of_a_batch() -> None:
    """As detectors are fed: BGR bytes, sides of a multiple of 32, black beside the frame."""
    rng = np.random.default_rng(6)
    frames = [noise(rng, 180, 320, 3), noise(rng, 100, 90, 3)]
    batch = np.full((2, 192, 320, 3), 7, np.uint8)
    placed = [
        crops.letterbox(frame, (320, 192), padding=0, enlarge=False, out=slot)
        for frame, slot in zip(frames, batch, strict=True)
    ]
    for (canvas, zoom, (dx, dy)), frame, slot in zip(placed, frames, batch, strict=True):
        height, width = frame.shape[:2]
        assert canvas.base is batch and np.shares_memory(canvas, slot) and zoom == 1
        assert (dx, dy) == ((320 - width) // 2, (192 - height) // 2)
        inside = np.zeros((192, 320), bool)
        inside[dy : dy + height, dx : dx + width] = True
        np.testing.assert_array_equal(slot[inside].reshape(frame.shape), frame)
        assert (slot[~inside] == 0).all()
    assert crops.letterbox(frames[1], (320, 192))[1] == 1.92
    assert crops.letterbox(frames[0], (160, 96), enlarge=False)[1] == 0.5


GOOD: dict[str, Any] = {"image": np.zeros((4, 5, 3), np.uint8), "boxes": [[0, 0, 2, 2]]}
GOOD["size"] = (3, 3)
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": [[1]]}, "image is a list"),
        ({"image": np.zeros((4, 5, 3))}, "image has dtype float64"),
        ({"image": np.zeros((4, 5, 4), np.uint8)}, r"image has shape \(4, 5, 4\)"),
        ({"image": np.zeros((4, 5, 1), np.uint8)}, r"image has shape \(4, 5, 1\)"),
        ({"image": np.zeros(4, np.uint8)}, r"image has shape \(4,\)"),
        ({"image": np.zeros((0, 5, 3), np.uint8)}, r"image has shape \(0, 5, 3\)"),
        ({"image_color": "gray"}, "image_color is 'gray'"),
        ({"image_color": "hsv"}, "image_color is 'hsv'"),
        ({"color": "yuv"}, "color is 'yuv'"),
        ({"boxes": [[0, 0, 2]]}, r"boxes has shape \(1, 3\)"),
        ({"boxes": [0, 0, 2, 2]}, r"boxes has shape \(4,\)"),
        ({"boxes": [[0, 0, 2, 2], [0, 0]]}, "boxes is not an array of numbers"),
        ({"boxes": [["a", 0, 2, 2]]}, "boxes is not an array of numbers"),
        ({"boxes": [[0, 0, 2, 2], [0, NAN, 2, 2]]}, r"boxes\[1\] is \(0, nan, 2, 2\)"),
        ({"boxes": [[INF, 0, 2, 2]]}, r"boxes\[0\] is \(inf, 0, 2, 2\)"),
        ({"boxes": [[10**400, 0, 2, 2]]}, "boxes is not an array of numbers"),
        ({"boxes": np.ones((1, 4), complex)}, "boxes is not an array of numbers: complex"),
        ({"boxes": [[1e300, 0, 2, 2]]}, r"boxes\[0\] is \(inf, 0, 2, 2\)"),
        ({"boxes": [[0, 0, 0, 2]]}, r"boxes\[0\] is \(0, 0, 0, 2\)"),
        ({"boxes": [[0, 0, 2, -1.5]]}, r"boxes\[0\] is \(0, 0, 2, -1.5\)"),
        ({"angles": [NAN]}, r"angles\[0\] is nan"),
        ({"angles": [-INF]}, r"angles\[0\] is -inf"),
        ({"angles": [0.0, 1.0]}, r"angles has shape \(2,\); there are 1 boxes"),
        ({"size": (0, 3)}, r"size is \(0, 3\)"),
        ({"size": (3, 20000)}, r"size is \(3, 20000\)"),
        ({"size": (3.5, 3)}, r"size is \(3.5, 3\)"),
        ({"size": 48}, "size is 48"),
        ({"size": (1, 2, 3)}, r"size is \(1, 2, 3\)"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"dtype": []}, r"dtype is \[\]"),
        ({"color": []}, r"color is \[\]"),
        ({"image_color": []}, r"image_color is \[\]"),
        ({"layout": "HWC"}, "layout is 'HWC'"),
        ({"scale": NAN}, "scale is nan"),
        ({"offset": INF}, "offset is inf"),
        ({"scale": "a"}, "scale is 'a'"),
        ({"scale": 1e300}, r"scale is 1e\+300; .*float32"),
        ({"scale": 10**400}, "scale is 1000"),
        ({"offset": -1e39}, r"offset is -1e\+39"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 1.5}, "threads is 1.5; give a whole number from 1 to 256"),
        ({"threads": 10**12}, "threads is 1000000000000"),
        ({"out": [1]}, "out is a list"),
        ({"out": np.empty((1, 3, 3, 3), np.float32)}, r"of shape \(1, 3, 3, 3\)"),
        ({"out": np.empty((1, 3, 3, 1))}, "out is float64"),
        ({"out": np.empty((1, 3, 3, 2), np.float32)[..., ::2]}, "C-contiguous float32"),
    ],
)
def test_a_wrong_argument_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        crops.crop_faces(**(GOOD | change))
    assert isinstance(caught.value, (ValueError, FerliteError))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"padding": 300}, "padding is 300"),
        ({"enlarge": "no"}, "enlarge is 'no'; give True or False"),
        ({"enlarge": np.ones(3)}, "enlarge is array"),
        ({"padding": NAN}, "padding is nan"),
        ({"padding": "a"}, "padding is 'a'"),
        ({"scale": 1e300}, r"scale is 1e\+300"),
        ({"size": (-1, 3)}, r"size is \(-1, 3\)"),
        ({"threads": -2}, "threads is -2"),
        ({"out": [1]}, "out is a list"),
        ({"out": np.empty((3, 3, 1), np.uint8)}, r"of shape \(1, 3, 3, 3\)"),
    ],
)
def test_letterbox_names_a_wrong_argument(change: dict[str, Any], named: str) -> None:
    good = {key: value for key, value in GOOD.items() if key != "boxes"}
    with pytest.raises(UsageError, match=named):
        crops.letterbox(**(good | change))


def test_boxes_that_change_during_the_call() -> None:
    """`out` in the memory of the boxes: what was checked must be what is used."""
    memory = np.zeros(24, np.float32)
    memory[:8] = [0, 0, 8, 8, 2, 2, 4, 4]
    image = np.full((16, 16), 200, np.uint8)
    expected = crops.crop_faces(image, memory[:8].reshape(2, 4).copy(), size=(2, 2), scale=1e36)
    out = memory[4:12].reshape(2, 2, 2, 1)
    crops.crop_faces(image, memory[:8].reshape(2, 4), size=(2, 2), scale=1e36, out=out)
    np.testing.assert_array_equal(out, expected)


def test_boxes_inside_records() -> None:
    records = np.zeros(3, [("box", "<f4", 4), ("id", "u1")])
    records["box"] = [[0, 0, 8, 8], [1, 1, 4, 4], [3, 3, 5, 5]]
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = crops.crop_faces(image, records["box"].copy(), size=(4, 4))
    for n in (1, 3):
        found = crops.crop_faces(image, records["box"][:n], size=(4, 4))
        np.testing.assert_array_equal(found, expected[:n])
    packed = np.frombuffer(b"." + expected.tobytes(), np.float32, offset=1)
    assert not packed.flags.aligned
    boxes = np.frombuffer(b"." + records["box"].tobytes(), np.float32, offset=1).reshape(3, 4)
    np.testing.assert_array_equal(crops.crop_faces(image, boxes, size=(4, 4)), expected)
    assert crops.nms(boxes, [0.9, 0.8, 0.7], 0.9).tolist() == [0, 1, 2]


def test_a_box_with_a_negative_side_suppresses_nothing() -> None:
    boxes = [[0, 0, -10, 10], [500, 500, 5, 5], [900, 900, 3, 3]]
    assert crops.nms(boxes, [0.9, 0.8, 0.7], 0.5).tolist() == [0, 1, 2]


def test_maps_of_any_place_in_memory() -> None:
    cells = np.random.default_rng(3).normal(0, 1, (15, 2, 3)).astype(np.float32)
    crooked = np.frombuffer(b"." + cells.tobytes(), np.float32, offset=1).reshape(cells.shape)
    expected = crops.decode_boxes([cells], [8], threshold=0.5)
    for one, other in zip(expected, crops.decode_boxes([crooked], [8], threshold=0.5), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="maps and strides are needed as lists"):
        crops.decode_boxes(5, [8], threshold=0.5)  # type: ignore[arg-type]
