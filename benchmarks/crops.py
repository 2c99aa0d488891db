"""Crops and letterbox against what OpenCV users write, and against copying the bytes.

crop_faces runs in turns with the usual loop (slice, gray, INTER_AREA resize, float, stack), with
cv2.dnn.blobFromImages (slice and gray before it) and with one memcpy of as many bytes as the boxes
hold, and with itself on a decoder's planes of the frame (4:2:0, ITU-R BT.709, which needs all three
of them); letterbox with cv2.resize INTER_AREA of the frame alone, without the padding. All on one
thread, in another order each round; a time is the lower decile of the rounds, as others' work on
the machine only ever adds. The answers of both must agree before anything is timed.

    python benchmarks/crops.py [--instruction-sets]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite import _core, crops
from ferlite.planes import Planes
from ferlite.sources.decoding import Converter
from ferlite.types import DecodedPicture

SIZE = (48, 48)
SCALE, OFFSET = 1 / 64, -2.0

Box = tuple[int, int, int, int]
Work = Callable[[], object]


def planes_of(image: NDArray[np.uint8]) -> Planes:
    """The BGR picture as a video of high definition stores it."""
    import av

    frame = av.VideoFrame.from_ndarray(image, "bgr24").reformat(
        format="yuv420p", dst_colorspace="ITU709"
    )
    picture = Converter()(frame)
    assert isinstance(picture, DecodedPicture)
    return picture.planes


def opencv_loop(image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
    batch = []
    for x, y, width, height in boxes:
        gray = cv2.cvtColor(image[y : y + height, x : x + width], cv2.COLOR_BGR2GRAY)
        small = cv2.resize(gray, SIZE, interpolation=cv2.INTER_AREA)
        batch.append(small.astype(np.float32) * SCALE + OFFSET)
    return np.stack(batch)[..., np.newaxis]


def opencv_blob(image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
    """Bilinear without averaging, which is all that blobFromImages offers."""
    faces = [
        cv2.cvtColor(image[y : y + height, x : x + width], cv2.COLOR_BGR2GRAY)
        for x, y, width, height in boxes
    ]
    blob = cv2.dnn.blobFromImages(faces, SCALE, SIZE, mean=-OFFSET / SCALE)
    return np.asarray(blob, np.float32)


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: Sequence[Work], rounds: int) -> list[float]:
    """Microseconds of each; in another order every round, as each leaves the caches to the next."""
    for work in works:
        work()
    order = np.random.default_rng(0)
    times = np.empty((rounds, len(works)))
    for one in times:
        for i in order.permutation(len(works)):
            one[i] = seconds(works[i])
    return [float(time) for time in np.quantile(times, 0.1, axis=0) * 1e6]


def compare_crops(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    print(f"\ncrop_faces, {SIZE[0]}x{SIZE[1]} gray float32, {crops.instruction_set()}")
    print("              microseconds a face       | times as fast as the loop | times the")
    print("faces side px   ours planes  loop turned | ours planes         blobs | memcpy's time")
    for n, low, high in [(1, 80, 80), (1, 140, 140), (1, 200, 200), (8, 80, 200), (64, 80, 200)]:
        compare_faces(image, n, low, high, rng)
    compare_faces(image, 1, 400, 400, rng)
    compare_faces(image, 1, 800, 800, rng)
    print("in a frame of 640x270, which a second-level cache of 1 MB holds:")
    compare_faces(np.ascontiguousarray(image[:270, :640]), 64, 80, 200, rng)


def compare_faces(
    image: NDArray[np.uint8], n: int, low: int, high: int, rng: np.random.Generator
) -> None:
    decoded = planes_of(image)
    height, width = image.shape[:2]
    sides = rng.integers(low, high + 1, n)
    x, y = rng.integers(0, width - sides), rng.integers(0, height - sides)
    array = np.stack([x, y, sides, sides], axis=1).astype(np.float32)
    boxes: list[Box] = [(int(a), int(b), int(c), int(d)) for a, b, c, d in array]
    out = np.empty((n, SIZE[1], SIZE[0], 1), np.float32)
    size = 3 * int((sides**2).sum())
    source = image.reshape(-1)[:size] if size <= image.size else np.resize(image, size)
    copied = np.empty_like(source)
    crop = functools.partial(
        crops.crop_faces, image, array, size=SIZE, scale=SCALE, offset=OFFSET, out=out
    )
    # OpenCV rounds to whole levels twice.
    assert np.abs(crop() - opencv_loop(image, boxes)).max() <= 1.01 * SCALE
    works: list[Work] = [
        crop,
        functools.partial(opencv_loop, image, boxes),
        functools.partial(opencv_blob, image, boxes),
        functools.partial(np.copyto, copied, source),
        functools.partial(crop, angles=np.full(n, 0.3)),
        functools.partial(crops.crop_faces, decoded, array, size=SIZE, scale=SCALE, offset=OFFSET),
    ]
    # Colour is averaged over two by two pixels.
    assert np.abs(np.asarray(works[-1]()) - out).mean() <= 2 * SCALE
    core, loop, blob, memcpy, turned, flat = in_turns(works, 200 if n > 8 else 400)
    print(
        f"{n:5d} {low:3d}-{high:<3d} {core / n:6.1f} {flat / n:6.1f} {loop / n:5.1f} "
        f"{turned / n:6.1f} | {loop / core:4.1f} {loop / flat:6.1f} {blob / core:13.1f} | "
        f"{core / memcpy:8.1f}"
    )


def compare_letterbox(image: NDArray[np.uint8]) -> None:
    print(f"\nletterbox of 1920x1080 BGR bytes, {crops.instruction_set()}")
    print("to         us | times faster than: INTER_AREA  INTER_LINEAR")
    for width, height in ((640, 384), (320, 192)):
        canvas = np.empty((height, width, 3), np.uint8)
        inner = (width, width * 9 // 16)
        row = (height - inner[1]) // 2

        ours = functools.partial(crops.letterbox, image, (width, height), padding=0, out=canvas)
        area = functools.partial(cv2.resize, image, inner, interpolation=cv2.INTER_AREA)
        ours()
        assert np.abs(canvas[row : row + inner[1]].astype(int) - area()).max() <= 1
        assert not canvas[:row].any() and not canvas[row + inner[1] :].any()
        core, by_area, linear = in_turns(
            [ours, area, functools.partial(cv2.resize, image, inner)], 100
        )
        print(f"{width}x{height} {core:6.0f} {by_area / core:29.2f} {linear / core:13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--instruction-sets", action="store_true", help="repeat for all that this machine has"
    )
    every = parser.parse_args().instruction_sets
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = np.asarray(
        cv2.GaussianBlur(rng.integers(0, 256, (1080, 1920, 3), np.uint8), (0, 0), 1.5), np.uint8
    )
    for name in _core.instruction_sets() if every else [_core.instruction_set()]:
        _core.use_instruction_set(name)
        compare_crops(image, np.random.default_rng(1))
        compare_letterbox(image)


if __name__ == "__main__":
    main()
