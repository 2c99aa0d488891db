"""Reading faces.json: what the two kinds of truth become, and what is left out."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_photographs import entry, write

from ferlite.errors import DataError
from ferlite.training.faces.data import HUMAN_ONLY, FaceData, joined, load_faces

POINTS = [[20, 22], [40, 22], [30, 32], [22, 42], [38, 42]]
PICTURE = np.full((80, 100, 3), 90, np.uint8)


def face(box: list[float], score: float = 0.7, points: Any = POINTS) -> dict[str, Any]:
    return {"box": box, "score": score, "landmarks": points}


def read(root: Path, *entries: Any, split: Any = "train") -> FaceData:
    """The split of these entries, all of one picture."""
    write(root, [PICTURE], [entry("a.png", (100, 80), "train")])
    (root / "faces.json").write_text(json.dumps(entries))
    return load_faces(root, split)


def one(**known: Any) -> dict[str, Any]:
    return entry("a.png", (100, 80), "train", **known)


def test_the_teachers_box_stands_where_both_saw_a_face(tmp_path: Path) -> None:
    """A person's box of the whole head holds the teacher's, so that both are one face."""
    data = read(tmp_path, one(human=[[5, 5, 50, 60]], teacher=[face([15, 15, 30, 35], 0.4)]))
    (faces,) = data.faces
    np.testing.assert_array_equal(faces.boxes, [[15, 15, 30, 35]])
    np.testing.assert_array_equal(faces.landmarks, [POINTS])
    np.testing.assert_array_equal(faces.human, [[5, 5, 50, 60]])
    # A doubtful face that a person saw too is no longer doubtful; the teacher's own score stays.
    assert faces.scores == pytest.approx([0.5]) and faces.teacher == pytest.approx([0.4])


@pytest.mark.parametrize(("shift", "faces"), [(15, 1), (17, 2)])
def test_sixty_percent_of_the_smaller_box_is_one_face(
    tmp_path: Path, shift: int, faces: int
) -> None:
    """40 wide, moved by 15: 62 % shared; by 17: 57 %."""
    data = read(tmp_path, one(human=[[10 + shift, 10, 40, 40]], teacher=[face([10, 10, 40, 40])]))
    assert len(data.faces[0].boxes) == faces


def test_a_face_that_only_people_saw_is_kept_without_landmarks(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        one(
            human=[[60, 10, 20, 20]],
            teacher=[face([15, 15, 30, 35], 0.9), face([2, 50, 9, 9], 0.36)],
        ),
    )
    (faces,) = data.faces
    np.testing.assert_array_equal(faces.boxes, [[15, 15, 30, 35], [2, 50, 9, 9], [60, 10, 20, 20]])
    assert faces.scores == pytest.approx([0.9, 0.36, HUMAN_ONLY])
    assert faces.teacher == pytest.approx([0.9, 0.36, 0])
    assert np.isnan(faces.landmarks[2]).all() and np.isfinite(faces.landmarks[:2]).all()
    assert faces.boxes.dtype == faces.scores.dtype == faces.landmarks.dtype == np.float32
    assert data.summary() == (
        "train: 1 photographs, 1 faces of score 0.5 or more, 1 boxes drawn by people, "
        "0 photographs without a face"
    )


def test_boxes_without_area_are_no_faces(tmp_path: Path) -> None:
    data = read(
        tmp_path, one(human=[[3, 3, 0, 9]], teacher=[face([3, 3, 9, -1]), face([1, 1, 9, 9])])
    )
    np.testing.assert_array_equal(data.faces[0].boxes, [[1, 1, 9, 9]])
    assert len(data.faces[0].human) == 0


def test_a_photograph_without_a_face_is_kept(tmp_path: Path) -> None:
    data = read(tmp_path, one())
    (faces,) = data.faces
    shapes = [array.shape for array in (faces.boxes, faces.scores, faces.landmarks, faces.human)]
    assert shapes == [(0, 4), (0,), (0, 5, 2), (0, 4)]
    np.testing.assert_array_equal(data.images[0], PICTURE)
    assert "1 photographs without a face" in data.summary()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (7, "is a int, not a photograph's facts"),
        (["split"], "is a list"),
        ({"split": "train"}, "no 'file'"),
        ({"file": "a.png", "split": "valid"}, "split 'valid' is none of train, val"),
        ({"file": "a.png", "split": {}}, "split {} is none of"),
        (one() | {"file": None}, "file None is not a name"),
        (one() | {"file": "../faces.json"}, "'../faces.json' lies outside images/"),
        (one() | {"file": "/etc/hostname"}, "lies outside images/"),
        (one() | {"file": "a\0.png"}, "null"),
        (one() | {"file": "x" * 5000}, "too long"),
        (one() | {"file": "."}, "directory"),
        (one() | {"file": "gone.png"}, "'gone.png': No such file"),
        (one() | {"file": "text.png"}, "'text.png' is not a picture"),
        (one() | {"file": "empty.png"}, "'empty.png' is not a picture"),
        (one() | {"width": 80, "height": 100}, "'a.png' is 100x80, not 80x100"),
        (one() | {"width": None}, "not Nonex80"),
        (one(human=None), "human is None, not a list"),
        (one(human=[[1, 2, 3]]), "human: not 4 numbers each"),
        (one(human=[[1, 2], [3, 4]]), "human: not 4 numbers each"),
        (one(human=[[1, 2, 3, None]]), "human: a number is not finite or huge"),
        (one(human=[[1, 2, "three", 4]]), "human: not 4 numbers each"),
        (one(human=[[1, 2, 3, float("inf")]]), "not finite"),
        (one(human=[[1, 2, 3, 10**400]]), "too large"),
        (one(human=[[0, 0, 1e30, 1e30]]), "not finite or huge"),
        (one(human=[[0, 0, 9000, 10]]), "far outside the picture of 100 pixels"),
        (one(teacher=7), "teacher is 7, not a list"),
        (one(teacher=[7]), "not subscriptable"),
        (one(teacher=[{"box": [1, 1, 9, 9], "score": 0.7}]), "no 'landmarks'"),
        (one(teacher=[face([1, 1, 9, 9], 7)]), r"teacher's scores [7.0] are not all in 0..1"),
        (one(teacher=[face([1, 1, 9, 9], points=POINTS[:4])]), "landmarks: not 5 x 2 numbers"),
        (one(teacher=[face([1, 1, 9, 9], points=[[999, 0]] * 5)]), "far outside"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_entry_is_left_out_in_one_line(tmp_path: Path, bad: Any, reason: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no picture")
    (tmp_path / "images" / "empty.png").touch()
    data = read(tmp_path, one(), bad, one())
    assert len(data) == 2
    (line,) = data.problems
    assert line.startswith("entry 1: ") and reason in line
    assert "\n" not in line and len(line) < 220
    with pytest.raises(DataError, match="no usable photograph of split 'train'; first problem"):
        read(tmp_path, bad)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"{}", "holds a dict, not a list"),
        (b"[]", "no usable photograph of split 'train'$"),
    ],
    ids=["empty", "no text", "deep", "a dict", "nothing"],
)
def test_what_is_no_list_of_photographs(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=r"faces\.json: No such file.*give a folder"):
        load_faces(tmp_path, "train")
    (tmp_path / "faces.json").write_bytes(content)
    with pytest.raises(DataError, match=reason) as raised:
        load_faces(tmp_path, "train")
    assert "\n" not in str(raised.value)


def test_each_split_by_itself(tmp_path: Path) -> None:
    data = read(tmp_path, one(), one() | {"split": "val"}, one(), split="val")
    assert len(data) == 1 and data.split == "val" and not data.problems


@pytest.mark.shared
def test_the_real_photographs_are_all_read(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "faces.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    root = next(tmp_path.glob("**/faces.json")).parent
    data = load_faces(root, "val")
    assert not data.problems and len(data) == 440
    assert data.summary().startswith("val: 440 photographs, 870 faces of score 0.5 or more, 1025 ")


def test_sets_are_joined(tmp_path: Path) -> None:
    first = read(tmp_path / "a", one(teacher=[face([15, 15, 30, 35])]), {"file": "none"})
    second = read(tmp_path / "b", one(), one(human=[[5, 5, 50, 60]]))
    both = joined(first, second)
    assert len(both) == 3 and both.split == "train" and both.problems == first.problems
    assert [len(faces.boxes) for faces in both.faces] == [1, 0, 1]
    assert joined(first) == first
