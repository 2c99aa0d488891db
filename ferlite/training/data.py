"""Read the emotion data sets that people have into one in-memory form.

FER+ (Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016) gives ten votes an image over eight emotions,
"unknown" and "not a face". `majority` is the protocol of that paper. FER2013 (Goodfellow et al.,
"Challenges in Representation Learning", ICONIP 2013) has one of seven labels an image.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError, UsageError

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
FER2013_LABELS = FERPLUS_LABELS[:7]
# Position in FERPLUS_LABELS of FER2013's numbers 0-6: anger, disgust, fear, happiness, ...
_FER2013_ORDER = (4, 5, 6, 1, 3, 2, 0)
_VOTE_COLUMNS = (*FERPLUS_LABELS, "unknown", "NF")
_FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
_USAGE = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
_CLASS_FOLDERS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
_SYNONYMS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
SPLITS = tuple(_FOLDERS)


@dataclass(frozen=True)
class EmotionData:
    """One split of an emotion data set.

    images: uint8 [n, size, size], grey.
    targets: float32 [n, classes], rows sum to 1 (vote shares, or one-hot).
    judged: bool [n]; images whose label the protocol counts in an accuracy.
    labels: class names in the order of the target columns.
    problems: one line for each file or row that was left out as unreadable.
    """

    split: str
    protocol: str
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
        return np.asarray(self.targets.argmax(axis=1), np.int64)

    def only_judged(self) -> EmotionData:
        """The images that count, with one-hot targets."""
        hot = np.eye(len(self.labels), dtype=np.float32)[self.classes[self.judged]]
        n = len(hot)
        return replace(
            self, images=self.images[self.judged], targets=hot, judged=np.ones(n, np.bool_)
        )

    def summary(self) -> str:
        """One line: images, images that count, and the count of each class among those."""
        counts = np.bincount(self.classes[self.judged], minlength=len(self.labels))
        per_class = ", ".join(f"{n} {c}" for n, c in zip(self.labels, counts, strict=True))
        left_out = f", {len(self.problems)} unreadable left out" if self.problems else ""
        judged = int(self.judged.sum())
        return f"{self.split}: {len(self)} images, {judged} judged ({per_class}){left_out}"


_Image = NDArray[np.uint8]
_Sample = tuple[_Image, NDArray[np.float32], bool]
_Samples = Iterator[_Sample]


def load(root: Path, split: str, protocol: str | None = None, size: int = 48) -> EmotionData:
    """Read one split ("train", "valid", "test") of the data set in `root`.

    root: a FER+ folder (FER2013Train/*.png with label.csv, or fer2013new.csv, or fer2013new.csv
        beside fer2013.csv), a folder with fer2013.csv or that file itself, or a folder with
        train/<class>/*, valid/<class>/*, test/<class>/*.
    protocol: "majority" (FER+), "fer2013" or "folders"; None takes the first that `root` has.
    size: side of the grey pictures in pixels; others are resized to it.
    Raises DataError when nothing usable is there; what is unreadable is listed in `.problems`.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if not 8 <= size <= 1024:
        raise UsageError(f"size {size} must be 8 to 1024 pixels")
    if not root.exists():
        raise DataError(f"{root} does not exist; name the folder of the data set")
    protocol = protocol or next(iter(allowed_protocols(root)), None)
    if protocol is None:
        raise DataError(
            f"{root} holds no data set: expected fer2013new.csv or FER2013Train/label.csv (FER+), "
            "fer2013.csv, or train/ and valid/ with a folder per class"
        )
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    problems: list[str] = []
    labels, samples = PROTOCOLS[protocol](root, split, problems)
    images, targets, judged = [], [], []
    for image, target, counts in samples:
        if image.shape != (size, size):
            shrinks = image.shape[0] > size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
        images.append(image)
        targets.append(target)
        judged.append(counts)
    if not any(judged):
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise DataError(
            f"no usable {split} image under protocol {protocol} in {root} "
            f"({len(problems)} unreadable{first})"
        )
    return EmotionData(
        split,
        protocol,
        np.stack(images),
        np.stack(targets).astype(np.float32),
        np.array(judged),
        labels,
        tuple(problems),
    )


def allowed_protocols(root: Path) -> tuple[str, ...]:
    """Those that the files in `root` allow, the one to take first."""
    has = {
        "majority": any(
            (root / name).is_file()
            for name in ("fer2013new.csv", *(f"{folder}/label.csv" for folder in _FOLDERS.values()))
        ),
        "fer2013": root.suffix == ".csv"
        or any((root / name).is_file() for name in ("fer2013.csv", "fer2013_labels.csv")),
        "folders": any(
            (root / name).is_dir() for names in _CLASS_FOLDERS.values() for name in names
        ),
    }
    return tuple(protocol for protocol, there in has.items() if there)


def _picture(path: Path, problems: list[str]) -> _Image | None:
    said = "not a readable image"
    try:
        if not path.is_file():
            said = "missing"
        elif (image := cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) is not None:
            return np.asarray(image, np.uint8)
    except cv2.error:
        pass  # of a size that OpenCV does not take
    except OSError as error:  # of a name that the file system does not take
        said = str(error.strerror)
    problems.append(f"{path}: {said}")
    return None


def _rows(
    table: Path, columns: Sequence[str], problems: list[str]
) -> Iterator[dict[str, str] | None]:
    """Rows of a table with a header; a missing column is an error, a short row a problem: None."""
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        try:
            missing = [c for c in columns if c not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{table} has no column {', '.join(missing)}")
            for row in reader:
                if any(row[c] is None for c in columns):
                    problems.append(f"{table}:{reader.line_num}: fewer than {len(columns)} columns")
                    yield None
                    continue
                row["line"] = str(reader.line_num)
                yield row
        except csv.Error as error:
            raise DataError(f"{table}:{reader.line_num}: {error}") from error


def _pixels(text: str, where: str, problems: list[str]) -> _Image | None:
    """The 48x48 picture in the `pixels` column of fer2013.csv."""
    try:
        values = bytes(map(int, text.split()))  # refuses what is outside 0..255
    except ValueError as error:
        problems.append(f"{where}: pixels: {error}")
        return None
    if len(values) != 48 * 48:
        problems.append(f"{where}: {len(values)} pixels instead of 2304")
        return None
    return np.frombuffer(values, np.uint8).reshape(48, 48)


def _ints(values: Sequence[str], where: str, problems: list[str]) -> list[int] | None:
    try:
        numbers = [int(v) for v in values]
    except ValueError:
        numbers = [-1]
    if len(numbers) != len(_VOTE_COLUMNS) or not 0 <= min(numbers) <= max(numbers) < 1 << 24:
        problems.append(f"{where}: votes {','.join(values)!r} are not {len(_VOTE_COLUMNS)} counts")
        return None
    return numbers


def _lines(reader: Any, table: Path) -> Iterator[list[str]]:
    """Those of a csv.reader that are not empty."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise DataError(f"{table}:{reader.line_num}: {error}") from error


def _votes_from_folder(
    root: Path, split: str, problems: list[str]
) -> Iterator[tuple[_Image, list[int]]]:
    """FER2013*/label.csv: name, crop box, ten vote counts; no header."""
    folder = root / _FOLDERS[split]
    table = folder / "label.csv"
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        for line in _lines(reader, table):
            where = f"{table}:{reader.line_num}"
            votes = _ints(line[2:], where, problems)
            image = None if votes is None else _picture(folder / line[0], problems)
            if votes is None or image is None:
                continue
            try:
                left, top, right, bottom = (int(edge) for edge in line[1].strip(" ()").split(","))
                image = image[top:bottom, left:right]
            except ValueError:
                left = top = right = bottom = -1
            # To numpy a negative edge is one from the other side.
            if image.size == 0 or min(left, top, right, bottom) < 0:
                said = f"{line[1]!r:.60}"
                problems.append(f"{where}: crop box {said} is not (left, top, right, bottom)")
                continue
            yield image, votes


def _votes_from_table(
    root: Path, split: str, problems: list[str]
) -> Iterator[tuple[_Image, list[int]]]:
    """fer2013new.csv, with pictures in FER2013*/ or, row by row, in fer2013.csv."""
    table, source = root / "fer2013new.csv", root / "fer2013.csv"
    columns = ("Usage", "Image name", *_VOTE_COLUMNS)
    folder = root / _FOLDERS[split]
    pictures = None
    if not folder.is_dir():
        if not source.is_file():
            raise DataError(
                f"{root} has votes but no pictures: neither {folder.name}/ nor {source.name}"
            )
        pictures = _rows(source, ("pixels", "Usage"), problems)
    for row in _rows(table, columns, problems):
        picture = next(pictures, {}) if pictures is not None else None
        # A row without a name is a picture that the authors of FER+ found unusable.
        if row is None or row["Usage"] != _USAGE[split] or not row["Image name"]:
            continue
        votes = _ints([row[c] for c in _VOTE_COLUMNS], f"{table}:{row['line']}", problems)
        if votes is None:
            continue
        if pictures is None:
            image = _picture(folder / row["Image name"], problems)
        elif picture is None:
            image = None  # a short row, which is among the problems
        elif picture.get("Usage") != row["Usage"]:
            raise DataError(f"{source} and {table} do not list the same pictures in one order")
        else:
            image = _pixels(picture["pixels"], f"{source}:{picture['line']}", problems)
        if image is not None:
            yield image, votes


def _majority(root: Path, split: str, problems: list[str]) -> tuple[tuple[str, ...], _Samples]:
    """FER+ under the `majority` protocol.

    Votes of 1 are dropped as noise; images whose most voted class is "unknown" or "NF" are
    dropped; targets are the surviving emotion votes' shares; an image is judged when one
    emotion holds more than half of all surviving votes.
    """

    def samples() -> _Samples:
        for image, row in source(root, split, problems):
            votes = np.array(row, np.float32)
            votes[votes <= 1] = 0
            if votes.sum() == 0 or votes.argmax() >= len(FERPLUS_LABELS):
                continue
            emotions = votes[: len(FERPLUS_LABELS)]
            yield image, emotions / emotions.sum(), bool(votes.max() > 0.5 * votes.sum())

    if (root / "fer2013new.csv").is_file():
        source = _votes_from_table
    elif (root / _FOLDERS[split] / "label.csv").is_file():
        source = _votes_from_folder
    else:
        raise DataError(
            f"{root} holds neither fer2013new.csv nor {_FOLDERS[split]}/label.csv, the votes that "
            "protocol majority needs"
        )
    return FERPLUS_LABELS, samples()


def _fer2013(root: Path, split: str, problems: list[str]) -> tuple[tuple[str, ...], _Samples]:
    """FER2013's seven labels: fer2013.csv, or fer2013_labels.csv beside the FER+ pictures."""

    def samples() -> _Samples:
        eye = np.eye(len(FER2013_LABELS), dtype=np.float32)
        columns = ("Usage", "emotion", "pixels" if has_pixels else "Image name")
        for row in filter(None, _rows(table, columns, problems)):
            if row["Usage"] != _USAGE[split]:
                if row["Usage"] not in _USAGE.values():
                    problems.append(f"{table}:{row['line']}: Usage {row['Usage']!r} is unknown")
                continue
            number = row["emotion"].strip()
            if number not in map(str, range(7)):
                problems.append(f"{table}:{row['line']}: emotion {number!r} is not 0 to 6")
                continue
            image = (
                _pixels(row["pixels"], f"{table}:{row['line']}", problems)
                if has_pixels
                else _picture(root / _FOLDERS[split] / row["Image name"], problems)
            )
            if image is not None:
                yield image, eye[_FER2013_ORDER[int(number)]], True

    table = root if root.is_file() else root / "fer2013.csv"
    has_pixels = table.is_file()
    if not has_pixels:
        table = root / "fer2013_labels.csv"
    if not table.is_file():
        raise DataError(f"{root} holds neither fer2013.csv nor fer2013_labels.csv")
    return FER2013_LABELS, samples()


def _folders(root: Path, split: str, problems: list[str]) -> tuple[tuple[str, ...], _Samples]:
    """<split>/<class>/*; the classes of all splits, emotions in FER+ order, others by name."""

    def samples() -> _Samples:
        eye = np.eye(len(labels), dtype=np.float32)
        for folder in _class_folders(root, split):
            for path in sorted(_pictures(folder)):
                image = _picture(path, problems)
                if image is not None:
                    yield image, eye[labels.index(_label(folder))], True

    if not _class_folders(root, split):
        raise DataError(f"{root} has no folder {_CLASS_FOLDERS[split][0]}/ with a folder per class")
    found = {_label(folder) for s in SPLITS for folder in _class_folders(root, s)}
    if len(found) < 2:
        raise DataError(
            f"{root} has one class, {', '.join(found)}; a network tells two or more apart"
        )
    order = {name: i for i, name in enumerate(FERPLUS_LABELS)}
    labels = tuple(sorted(found, key=lambda name: (order.get(name, len(order)), name)))
    return labels, samples()


def _class_folders(root: Path, split: str) -> list[Path]:
    for name in _CLASS_FOLDERS[split]:
        if (root / name).is_dir():
            folders = (path for path in (root / name).iterdir() if path.is_dir())
            return sorted(path for path in folders if any(_pictures(path)))
    return []


def _pictures(folder: Path) -> Iterator[Path]:
    if not folder.name.startswith("."):
        yield from (p for p in folder.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)


def _label(folder: Path) -> str:
    name = folder.name.lower()
    return _SYNONYMS.get(name, name)


PROTOCOLS: dict[str, Callable[[Path, str, list[str]], tuple[tuple[str, ...], _Samples]]] = {
    "majority": _majority,
    "fer2013": _fer2013,
    "folders": _folders,
}
