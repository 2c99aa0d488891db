"""crop_faces against the loop that OpenCV users write: slice, gray, resize, float, stack.

Both run one after the other many times over, on one thread, so that a busy machine slows both; the
ratio is the median over the pairs. The crops of both must agree before anything is timed.

    python benchmarks/crops.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite import crops

SIZE = (48, 48)
SCALE, OFFSET = 1 / 64, -2.0


def opencv_loop(
    image: NDArray[np.uint8], boxes: list[tuple[int, int, int, int]]
) -> NDArray[np.float32]:
    batch = []
    for x, y, width, height in boxes:
        gray = cv2.cvtColor(image[y : y + height, x : x + width], cv2.COLOR_BGR2GRAY)
        small = cv2.resize(gray, SIZE, interpolation=cv2.INTER_AREA)
        batch.append(small.astype(np.float32) * SCALE + OFFSET)
    return np.stack(batch)[..., np.newaxis]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (1080, 1920, 3), np.uint8), (0, 0), 1.5)
    print("faces  side px  OpenCV loop us  crop_faces us  ratio")
    for n in (1, 4, 16):
        for side in (64, 100, 130, 200, 400, 800):
            corners = zip(
                rng.integers(0, 1920 - side, n), rng.integers(0, 1080 - side, n), strict=True
            )
            boxes = [(int(x), int(y), side, side) for x, y in corners]
            array = np.array(boxes, np.float32)

            def ours(array: NDArray[np.float32] = array) -> NDArray[np.float32]:
                return crops.crop_faces(image, array, size=SIZE, scale=SCALE, offset=OFFSET)

            def theirs(boxes: list[tuple[int, int, int, int]] = boxes) -> NDArray[np.float32]:
                return opencv_loop(image, boxes)

            # OpenCV rounds to whole levels twice.
            assert np.abs(ours() - theirs()).max() <= 1.01 * SCALE
            pairs = np.array([(seconds(theirs), seconds(ours)) for _ in range(300)])
            loop, core = np.median(pairs, axis=0) * 1e6
            ratio = np.median(pairs[:, 0] / pairs[:, 1])
            print(f"{n:5d}  {side:7d}  {loop:14.1f}  {core:13.1f}  {ratio:5.2f}")


if __name__ == "__main__":
    main()
