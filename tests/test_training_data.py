"""Reading FER+, FER2013 and folders of pictures."""

from __future__ import annotations

import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from training_sets import ballot, write_fer2013, write_ferplus

from ferlite.errors import DataError, UsageError
from ferlite.training.data import FER2013_LABELS, FERPLUS_LABELS, allowed_protocols, load

RNG = np.random.default_rng(1)


def picture(side: int = 48) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (side, side), np.uint8)


def test_votes_become_shares_and_a_majority_is_judged(tmp_path: Path) -> None:
    pictures = [picture() for _ in range(5)]
    rows = [
        ("Training", pictures[0], [8, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("Training", pictures[1], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]),  # no majority
        ("Training", pictures[2], [1, 6, 1, 0, 0, 0, 0, 0, 2, 0]),  # votes of 1 are noise
        ("Training", pictures[3], [3, 0, 0, 0, 0, 0, 0, 0, 7, 0]),  # most say unknown
        ("PublicTest", pictures[4], ballot("contempt")),
    ]
    write_ferplus(tmp_path, rows)
    data = load(tmp_path, "train")
    assert data.protocol == "majority" and data.labels == FERPLUS_LABELS
    np.testing.assert_array_equal(data.images, pictures[:3])
    np.testing.assert_allclose(data.targets[:, :2], [[0.8, 0.2], [0.5, 0.5], [0.0, 1.0]])
    assert data.judged.tolist() == [True, False, True]
    assert data.problems == ()
    assert "train: 3 images, 2 judged (neutral 1, happiness 1, surprise 0" in data.summary()
    hard = data.only_judged()
    assert len(hard) == 2 and hard.targets.max(axis=1).tolist() == [1.0, 1.0]
    assert load(tmp_path, "valid").classes.tolist() == [7]


def test_both_vote_tables_say_the_same(tmp_path: Path) -> None:
    rows = [("Training", picture(), ballot(label, 7)) for label in FERPLUS_LABELS]
    for name, table in (("table", True), ("folder", False)):
        (tmp_path / name).mkdir()
        write_ferplus(tmp_path / name, rows, table=table, label_csv=not table)
    one, other = load(tmp_path / "table", "train"), load(tmp_path / "folder", "train")
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_crop_box_of_label_csv_is_honoured(tmp_path: Path) -> None:
    large = picture(64)
    write_ferplus(tmp_path, [("Training", large, ballot("fear"))], table=False)
    labels = tmp_path / "FER2013Train" / "label.csv"
    labels.write_text(labels.read_text().replace("(0, 0, 64, 64)", "(4, 8, 52, 56)"))
    np.testing.assert_array_equal(load(tmp_path, "train").images[0], large[8:56, 4:52])


@pytest.mark.parametrize(
    "box", ["-" * 20_000, "(-10, -10, 48, 48)", "(0, 0, -8, 48)", "(8, 8, 8, 40)", "(0, 0, 48)"]
)
def test_a_crop_box_that_is_none_is_listed(tmp_path: Path, box: str) -> None:
    write_ferplus(tmp_path, [("Training", picture(), ballot("fear"))] * 2, table=False)
    labels = tmp_path / "FER2013Train" / "label.csv"
    labels.write_text(labels.read_text().replace("(0, 0, 48, 48)", box, 1))
    data = load(tmp_path, "train")
    assert len(data) == len(data.problems) == 1
    assert f"label.csv:1: crop box '{box[:50]}" in data.problems[0] and len(data.problems[0]) < 400


def test_pictures_that_no_reader_takes_are_listed(tmp_path: Path) -> None:
    write_ferplus(tmp_path, [("Training", picture(), ballot("fear"))] * 3, table=False)
    folder = tmp_path / "FER2013Train"
    labels = folder / "label.csv"
    labels.write_text(labels.read_text().replace("fer0000000", "f" * 300))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "fer0000001.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header)
    data = load(tmp_path, "train")
    assert len(data) == 1 and "2 unreadable left out" in data.summary()
    assert data.problems[0].endswith("fff.png: File name too long")
    assert data.problems[1].endswith("fer0000001.png: not a readable image")


def test_what_is_unreadable_is_listed_and_left_out(tmp_path: Path) -> None:
    write_ferplus(tmp_path, [("Training", picture(), ballot("anger")) for _ in range(4)])
    folder = tmp_path / "FER2013Train"
    (folder / "fer0000001.png").unlink()
    (folder / "fer0000002.png").write_bytes(b"not a picture")
    table = tmp_path / "fer2013new.csv"
    lines = table.read_text().splitlines()
    lines[4] = lines[4].replace(",10,", ",ten,")
    table.write_text("\n".join([*lines, "Training,short"]) + "\n")
    data = load(tmp_path, "train")
    assert len(data) == 1 and "4 unreadable left out" in data.summary()
    text = "\n".join(data.problems)
    for expected in ("fer0000001.png: missing", "fer0000002.png: not a readable image"):
        assert expected in text
    assert "fer2013new.csv:5: votes" in text and "fer2013new.csv:6: fewer than" in text


def test_nothing_left_is_an_error_that_names_the_first_problem(tmp_path: Path) -> None:
    write_ferplus(tmp_path, [("Training", picture(), ballot("anger"))])
    (tmp_path / "FER2013Train" / "fer0000000.png").unlink()
    with pytest.raises(DataError, match=r"no usable train image .*fer0000000.png: missing"):
        load(tmp_path, "train")


def test_missing_table_column_is_named(tmp_path: Path) -> None:
    write_ferplus(tmp_path, [("Training", picture(), ballot("anger"))])
    table = tmp_path / "fer2013new.csv"
    table.write_text(table.read_text().replace("contempt", "scorn"))
    with pytest.raises(DataError, match="no column contempt"):
        load(tmp_path, "train")


def test_fer2013_csv(tmp_path: Path) -> None:
    pictures = [picture() for _ in range(9)]
    rows = [("Training", pictures[i], str(i)) for i in range(7)]
    rows += [("PublicTest", pictures[7], "3"), ("Training", pictures[8], "9")]
    write_fer2013(tmp_path / "fer2013.csv", rows)
    with (tmp_path / "fer2013.csv").open("a") as file:
        file.write("0,1 2 3,Training\r\n0,1 2 300,Training\r\n0,1,Practice\r\n")
    for root in (tmp_path, tmp_path / "fer2013.csv"):
        data = load(root, "train")
        assert data.protocol == "fer2013" and data.labels == FER2013_LABELS
        np.testing.assert_array_equal(data.images, pictures[:7])
        named = [data.labels[c] for c in data.classes]
        assert named == ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
        assert len(data.problems) == 4
    assert any("emotion '9'" in line for line in data.problems)
    assert any("3 pixels instead of 2304" in line for line in data.problems)
    assert any("Practice" in line for line in data.problems)
    assert load(tmp_path, "valid").images.shape == (1, 48, 48)


def test_votes_for_the_rows_of_fer2013_csv(tmp_path: Path) -> None:
    pictures = [picture() for _ in range(3)]
    usages = ["Training", "PublicTest", "Training"]
    write_fer2013(
        tmp_path / "fer2013.csv", [(u, p, "0") for u, p in zip(usages, pictures, strict=True)]
    )
    write_ferplus(
        tmp_path / "votes",
        [(u, p, ballot("surprise")) for u, p in zip(usages, pictures, strict=True)],
    )
    (tmp_path / "votes" / "fer2013new.csv").rename(tmp_path / "fer2013new.csv")
    data = load(tmp_path, "train")
    assert data.protocol == "majority"
    np.testing.assert_array_equal(data.images, [pictures[0], pictures[2]])
    assert load(tmp_path, "train", "fer2013").labels == FER2013_LABELS


def test_tables_in_another_order_are_refused(tmp_path: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv", [("PublicTest", picture(), "0")])
    write_ferplus(tmp_path / "votes", [("Training", picture(), ballot("fear"))])
    (tmp_path / "votes" / "fer2013new.csv").rename(tmp_path / "fer2013new.csv")
    with pytest.raises(DataError, match="do not list the same pictures"):
        load(tmp_path, "train")


def test_a_short_row_moves_no_vote_to_another_picture(tmp_path: Path) -> None:
    pictures = [picture() for _ in FERPLUS_LABELS]
    write_fer2013(tmp_path / "fer2013.csv", [("Training", p, "0") for p in pictures])
    write_ferplus(
        tmp_path,
        [("Training", p, ballot(label)) for p, label in zip(pictures, FERPLUS_LABELS, strict=True)],
        label_csv=False,
    )
    shutil.rmtree(tmp_path / "FER2013Train", ignore_errors=True)
    for name, row in (("fer2013new.csv", 2), ("fer2013.csv", 5)):
        lines = (tmp_path / name).read_text().splitlines()
        lines[row] = lines[row].split(",")[0]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    data = load(tmp_path, "train")
    assert data.classes.tolist() == [0, 2, 3, 5, 6, 7] and len(data.problems) == 2
    np.testing.assert_array_equal(data.images, [pictures[i] for i in data.classes])


def test_odd_label_files(tmp_path: Path) -> None:
    rows = [("Training", picture(), ballot(label)) for label in FERPLUS_LABELS]
    write_ferplus(tmp_path, rows, table=False)
    path = tmp_path / "FER2013Train" / "label.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0] + "," + "9" * 401
    lines[4] = "fer\xe9.png" + lines[4][lines[4].index(",") :]
    path.write_bytes("\ufeff".encode() + "\n".join(lines).encode("latin-1") + b"\n\n")
    data = load(tmp_path, "train")
    assert data.classes.tolist() == [0, 1, 2, 5, 6, 7]
    assert len(data.problems) == 2 and "are not 10 counts" in data.problems[0]
    path.write_text('"' + "x" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"label\.csv:\d+: field larger than"):
        load(tmp_path, "train")
    (tmp_path / "fer2013.csv").write_text('emotion,pixels,Usage\n0,"' + "1 " * 100_000)
    with pytest.raises(DataError, match=r"fer2013\.csv:\d+: field larger than"):
        load(tmp_path, "train", "fer2013")
    (tmp_path / "fer2013.csv").write_text("1 " * 100_000 + ",pixels,Usage\n")
    with pytest.raises(DataError, match=r"fer2013\.csv:\d+: field larger than"):
        load(tmp_path, "train", "fer2013")


def test_folder_a_class(tmp_path: Path) -> None:
    grey = np.full((48, 48), 90, np.uint8)
    for split, name, shape in (
        ("train", "Happy", grey),
        ("train", "angry", np.full((96, 96), 40, np.uint8)),
        ("train", "bored", np.full((20, 30, 3), 200, np.uint8)),
        ("val", "happiness", grey),
    ):
        (tmp_path / split / name).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / split / name / "a.png"), shape)
    (tmp_path / "train" / "angry" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "angry" / "b.jpg").write_bytes(b"broken")
    for no_class in (".ipynb_checkpoints", "empty"):
        (tmp_path / "train" / no_class).mkdir()
    assert cv2.imwrite(str(tmp_path / "train" / ".ipynb_checkpoints" / "a.png"), picture())
    data = load(tmp_path, "train")
    assert data.protocol == "folders" and data.labels == ("happiness", "anger", "bored")
    assert data.images.shape == (3, 48, 48) and len(data.problems) == 1
    brightness = {
        data.labels[c]: int(i.mean()) for c, i in zip(data.classes, data.images, strict=True)
    }
    assert brightness == {"happiness": 90, "anger": 40, "bored": 200}
    assert load(tmp_path, "valid").labels == data.labels
    assert load(tmp_path, "train", size=64).images.shape == (3, 64, 64)
    with pytest.raises(DataError, match="no folder test/"):
        load(tmp_path, "test")
    for name in ("angry", "bored"):
        (tmp_path / "train" / name).rename(tmp_path / name)
    with pytest.raises(DataError, match="has one class, happiness; a network tells"):
        load(tmp_path, "train")


def test_misuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="holds no data set"):
        load(tmp_path, "train")
    assert allowed_protocols(tmp_path) == ()
    with pytest.raises(UsageError, match="size 0 must be 8 to 1024 pixels"):
        load(tmp_path, "train", size=0)
    with pytest.raises(UsageError, match="split 'dev'"):
        load(tmp_path, "dev")
    with pytest.raises(UsageError, match="protocol 'best'"):
        load(tmp_path, "train", "best")
    with pytest.raises(DataError, match=r"neither fer2013new.csv nor"):
        load(tmp_path, "train", "majority")
    with pytest.raises(DataError, match=r"neither fer2013.csv nor"):
        load(tmp_path, "train", "fer2013")


@pytest.mark.shared
def test_counts_of_the_real_ferplus(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "ferplus.tar.xz") as archive:
        # The training pictures would take a minute to unpack.
        names = [m for m in archive.getmembers() if "FER2013Train" not in m.name]
        archive.extractall(tmp_path, names, filter="data")
    root = next(tmp_path.rglob("fer2013new.csv")).parent
    valid = load(root, "valid")
    assert int(valid.judged.sum()) == 3199 and valid.problems == ()
    assert len(load(root, "valid", "fer2013")) > 3500
