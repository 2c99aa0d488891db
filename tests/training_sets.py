"""Small emotion data sets on disk, in the layouts that people have."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LABELS = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
]
FOLDERS = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}
Votes = Sequence[int]


def faces(portraits: dict[str, NDArray[np.uint8]], count: int, seed: int = 1) -> NDArray[np.uint8]:
    """uint8 [count, 48, 48]: differing crops of the portraits' faces, grey."""
    rng = np.random.default_rng(seed)
    boxes = {"astronaut": (165, 60, 120), "hopper": (175, 70, 220)}
    found = []
    for i in range(count):
        name = sorted(portraits)[i % 2]
        x, y, side = boxes[name]
        x, y = x + int(rng.integers(-12, 13)), y + int(rng.integers(-12, 13))
        side += int(rng.integers(-15, 16))
        crop = cv2.cvtColor(portraits[name][y : y + side, x : x + side], cv2.COLOR_BGR2GRAY)
        gain = rng.uniform(0.7, 1.2)
        small = cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
        found.append(np.clip(small * gain, 0, 255).astype(np.uint8))
    return np.stack(found)


def write_ferplus(
    root: Path,
    rows: Sequence[tuple[str, NDArray[np.uint8], Votes]],
    *,
    table: bool = True,
    label_csv: bool = True,
) -> None:
    """rows: (usage, picture, ten votes). Writes PNG folders and one or both vote tables."""
    lines: dict[str, list[list[str]]] = {}
    new = [["Usage", "Image name", *LABELS]]
    for i, (usage, picture, votes) in enumerate(rows):
        folder = root / FOLDERS[usage]
        folder.mkdir(parents=True, exist_ok=True)
        name = f"fer{i:07d}.png"
        assert cv2.imwrite(str(folder / name), picture)
        side = picture.shape[0]
        box = f"(0, 0, {side}, {side})"
        lines.setdefault(usage, []).append([name, box, *map(str, votes)])
        new.append([usage, name, *map(str, votes)])
    if table:
        _write(root / "fer2013new.csv", new)
    if label_csv:
        for usage, content in lines.items():
            _write(root / FOLDERS[usage] / "label.csv", content)


def write_fer2013(path: Path, rows: Sequence[tuple[str, NDArray[np.uint8], str]]) -> None:
    """rows: (usage, picture, emotion number as text)."""
    lines = [["emotion", "pixels", "Usage"]]
    lines += [
        [emotion, " ".join(map(str, picture.ravel())), usage] for usage, picture, emotion in rows
    ]
    _write(path, lines)


def ballot(label: str, share: int = 10) -> list[int]:
    """Ten votes: `share` for the label, the rest for the next one."""
    votes = [0] * 10
    at = LABELS.index(label)
    votes[at] += share
    votes[(at + 1) % 8] += 10 - share
    return votes


def small_ferplus(
    root: Path, portraits: dict[str, NDArray[np.uint8]], train: int = 140, valid: int = 60
) -> Path:
    """A FER+ folder of real portrait crops with invented votes; every emotion occurs."""
    pictures = faces(portraits, train + valid)
    rows = [
        ("Training" if i < train else "PublicTest", pictures[i], ballot(LABELS[i % 8], 8))
        for i in range(train + valid)
    ]
    write_ferplus(root, rows)
    return root


def _write(path: Path, lines: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
