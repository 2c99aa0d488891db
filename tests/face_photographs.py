"""Small sets of photographs with faces.json: real portraits with known boxes and landmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Box x, y, width, height and landmarks in the full portraits, read off by eye.
KNOWN: dict[str, tuple[list[float], list[list[float]]]] = {
    "astronaut": ([176, 68, 98, 118], [[203, 102], [247, 102], [226, 126], [208, 147], [245, 147]]),
    "hopper": ([176, 130, 184, 200], [[228, 189], [315, 188], [274, 232], [244, 275], [310, 275]]),
}


def entry(file: str, size: tuple[int, int], split: str, **known: Any) -> dict[str, Any]:
    """What faces.json says of one photograph (width, height); no face unless given."""
    facts = {"file": file, "width": size[0], "height": size[1], "split": split}
    return facts | {"human": [], "teacher": []} | known


def write(
    root: Path, pictures: Sequence[NDArray[np.uint8]], entries: Sequence[dict[str, Any]]
) -> Path:
    """A folder for `ferlite train --task face`."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for picture, facts in zip(pictures, entries, strict=True):
        assert cv2.imwrite(str(root / "images" / facts["file"]), picture)
    (root / "faces.json").write_text(json.dumps(entries))
    return root


def small_faces(
    root: Path, portraits: dict[str, NDArray[np.uint8]], train: int = 8, val: int = 3
) -> Path:
    """Portraits at several sizes, pasted into noise; every fourth photograph has no face."""
    rng = np.random.default_rng(1)
    pictures, entries = [], []
    for i in range(train + val):
        split = "train" if i < train else "val"
        picture = rng.integers(60, 120, (120, 140, 3), np.uint8)
        facts = entry(f"{i}.png", (140, 120), split)
        if i % 4 != 3:
            name = sorted(portraits)[i % 2]
            box, points = KNOWN[name]
            zoom = rng.uniform(0.12, 0.2)
            portrait = portraits[name]
            small = cv2.resize(portrait, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
            height, width = small.shape[:2]
            x, y = int(rng.integers(140 - width)), int(rng.integers(max(1, 120 - height)))
            small = small[: 120 - y]
            picture[y : y + len(small), x : x + width] = small
            facts["teacher"] = [
                {
                    "box": [box[0] * zoom + x, box[1] * zoom + y, box[2] * zoom, box[3] * zoom],
                    "score": 0.8,
                    "landmarks": [[px * zoom + x, py * zoom + y] for px, py in points],
                }
            ]
        pictures.append(picture)
        entries.append(facts)
    return write(root, pictures, entries)
