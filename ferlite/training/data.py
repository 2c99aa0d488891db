"""Read the emotion data sets that people have into one in-memory form.

FER+ (Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016) gives ten votes an image over eight emotions,
"unknown" and "not a face". `majority` is the protocol of that paper.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError

FERPLUS_LABELS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
_VOTE_COLUMNS = (*FERPLUS_LABELS, "unknown", "NF")
_FERPLUS_FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_FERPLUS_USAGE = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}


@dataclass(frozen=True)
class EmotionData:
    """One split of an emotion data set.

    images: uint8 [n, height, width], grey.
    targets: float32 [n, classes], rows sum to 1 (vote shares, or one-hot).
    judged: bool [n]; images whose label the protocol counts in an accuracy.
    labels: class names in the order of the target columns.
    problems: one line for each file or row that was left out as unreadable.
    """

    split: str
    images: NDArray[np.uint8]
    targets: NDArray[np.float32]
    judged: NDArray[np.bool_]
    labels: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> NDArray[np.int64]:
        """int64 [n], index of the largest target."""
        return self.targets.argmax(axis=1)

    def summary(self) -> str:
        """One line: images, images that count, and the count of each class among those."""
        counts = np.bincount(self.classes[self.judged], minlength=len(self.labels))
        per_class = ", ".join(f"{n} {c}" for n, c in zip(self.labels, counts, strict=True))
        return f"{self.split}: {len(self)} images, {int(self.judged.sum())} judged ({per_class})"


def _read_votes(root: Path, split: str) -> dict[str, list[int]]:
    """Image name -> ten vote counts, from fer2013new.csv or the folder's label.csv."""
    table = root / "fer2013new.csv"
    votes: dict[str, list[int]] = {}
    if table.is_file():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["Usage"] == _FERPLUS_USAGE[split] and row["Image name"]:
                    votes[row["Image name"]] = [int(row[c]) for c in _VOTE_COLUMNS]
        return votes
    table = root / _FERPLUS_FOLDERS[split] / "label.csv"
    if not table.is_file():
        raise DataError(
            f"{root} holds neither fer2013new.csv nor {_FERPLUS_FOLDERS[split]}/label.csv; "
            "name the folder that holds the FER+ images and their votes"
        )
    with table.open(newline="") as file:
        for line in csv.reader(file):
            votes[line[0]] = [int(v) for v in line[2:12]]
    return votes


def load_ferplus(root: Path, split: str) -> EmotionData:
    """FER+ under the `majority` protocol.

    Votes of 1 are dropped as noise; images whose most voted class is "unknown" or "NF" are
    dropped; targets are the surviving emotion votes' shares; an image is judged when one
    emotion holds more than half of all surviving votes.
    """
    if split not in _FERPLUS_FOLDERS:
        raise DataError(f"split {split!r} is none of {', '.join(_FERPLUS_FOLDERS)}")
    images, targets, judged, problems = [], [], [], []
    for name, row in _read_votes(root, split).items():
        votes = np.array(row, np.float32)
        votes[votes <= 1] = 0
        if votes.sum() == 0 or votes.argmax() >= len(FERPLUS_LABELS):
            continue
        path = root / _FERPLUS_FOLDERS[split] / name
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            problems.append(f"{path}: missing or not a readable image")
            continue
        emotions = votes[: len(FERPLUS_LABELS)]
        images.append(image)
        targets.append(emotions / emotions.sum())
        judged.append(bool(votes.max() > 0.5 * votes.sum()))
    if not images:
        raise DataError(f"no usable {split} image in {root} ({len(problems)} unreadable)")
    return EmotionData(
        split, np.stack(images), np.stack(targets), np.array(judged), FERPLUS_LABELS, tuple(problems)
    )
