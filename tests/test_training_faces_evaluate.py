"""`ferlite evaluate --task face` on photographs whose figures are known by hand."""

from __future__ import annotations

import csv
import json
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_face
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from ferlite import precision
from ferlite.cli import main
from ferlite.errors import DataError

CELL = 32  # of the tiny detector's only map; it draws boxes two cells wide around a bright cell
WIDTH, HEIGHT = 256, 192
Image = NDArray[np.uint8]

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MEASURE_S", 0.01)


def ferlite(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    print(result.output)
    return result


def face(column: int, row: int, score: float = 0.9) -> dict[str, Any]:
    """What the tiny detector says of a bright cell, as a teacher would put it."""
    x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
    points = [[x + dx * CELL, y + dy * CELL] for dx, dy in tiny_face.POINTS]
    return {"box": [x - CELL, y - CELL, 2 * CELL, 2 * CELL], "score": score, "landmarks": points}


def picture(*cells: tuple[int, int, int]) -> Image:
    """Black, with cells (column, row, level)."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for column, row, level in cells:
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = level
    return image


def write_set(root: Path, entries: list[tuple[str, Image, list[Any], list[Any]]]) -> Path:
    """faces.json and images/ of (split, picture, teacher, human)."""
    (root / "images").mkdir(parents=True)
    facts = []
    for i, (split, image, teacher, human) in enumerate(entries):
        name = f"{i}.png"
        assert cv2.imwrite(str(root / "images" / name), image)
        sides = {"width": image.shape[1], "height": image.shape[0]}
        facts.append({"file": name, "split": split, "human": human, "teacher": teacher} | sides)
    (root / "faces.json").write_text(json.dumps(facts))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sure answers on faces, one sure false one, one unsure on a face; a doubt of the teacher.

    The network's score is 0.999 for 255, 0.977 for 230 and 0.22 for 190.
    """
    human = face(1, 1)["box"]
    return write_set(
        tmp_path_factory.mktemp("faces"),
        [
            ("val", picture((1, 1, 255)), [face(1, 1)], [human]),
            ("val", picture((5, 3, 255), (2, 2, 190)), [face(5, 3), face(2, 2)], []),
            ("val", picture((4, 4, 230)), [], []),
            ("val", picture(), [face(4, 2, score=0.4)], []),
            ("train", picture(), [], []),
        ],
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "tiny.onnx"
    about = tiny_face.facts(strides=[CELL], parameters=1234)
    path.write_bytes(
        tiny_face.network(strides=(CELL,), metadata={"ferlite_bundle": json.dumps(about)})
    )
    return path


def figures(folder: Path) -> dict[tuple[str, str, str], float]:
    """(model, size, metric) -> value."""
    with (folder / "metrics.csv").open() as file:
        return {
            (r["model"], r["size"], r["metric"]): float(r["value"]) for r in csv.DictReader(file)
        }


BY_HAND = {
    "ap50": 2 / 3 + 1 / 3 * 3 / 4,  # right, right, false, right of three faces
    "ap50_40px": 2 / 3 + 1 / 3 * 3 / 4,
    "ap50_95": 2 / 3 + 1 / 3 * 3 / 4,  # its boxes are exact
    "known_ap50": 2 / 3,  # the unsure one has less than 0.3
    "human_ap50": 1 / 2,  # the only box drawn by people; another answer is as sure
    "threshold": 0.5,
    "precision": 2 / 3,
    "recall": 2 / 3,
    "landmark_faces": 2,
    "landmark_error": 0,
    "face_free_split_pictures": 1,  # a teacher's doubt is not face-free
    "face_free_split_false": 1,
    "face_free_pictures": 2,
    "face_free_false_per_picture": 1 / 2,
}


def test_figures_by_hand(data: Path, network: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "noise.png"), picture((0, 0, 255), (6, 4, 255)))
    out = tmp_path / "report"
    (out / "sheets").mkdir(parents=True)
    for name in ("mine.png", "tiny.onnx-128-false.png"):
        (out / "sheets" / name).touch()
    command = ["evaluate", "--task", "face", "--data", data, network, "--out", out, "--sheets"]
    result = ferlite(
        *command, "--size", "native", "--size", 128, "--face-free", tmp_path / "noise.png"
    )
    assert result.exit_code == 0
    found = figures(out)
    of = {metric: v for (_, size, metric), v in found.items() if size == "native"}
    assert {name: of[name] for name in BY_HAND} == pytest.approx(BY_HAND, abs=1e-5)
    assert of["clips_pictures"] == 1 and of["clips_false"] == 2
    assert of["parameters"] == 1234 and of["file_bytes"] == network.stat().st_size
    assert 0 < of["network_320_ms"] < 1000 and 0 < of["picture_ms"] < 1000
    # At half the size a bright square fills a quarter of a cell: nothing is found.
    assert found["tiny.onnx", "128", "ap50"] == 0
    assert ("tiny.onnx", "128", "precision") not in found

    text = (out / "evaluation_report.txt").read_text()
    assert text in result.output
    assert "val: 4 photographs, 3 faces of the teacher, 1 boxes drawn by people" in text
    row = next(line for line in text.splitlines() if line.startswith("AP 0.5 "))
    assert row.split()[-2:] == ["0.917", "0.000"]
    drawn = cv2.imread(str(out / "precision_recall.png"))
    assert drawn is not None and drawn.std() > 5
    sheets = {path.name for path in (out / "sheets").iterdir()}
    assert {"tiny.onnx-native-missed.png", "tiny.onnx-native-false.png"} <= sheets
    # Of the two sheets only the false one at native size shows red: nothing is found at 128.
    false = cv2.imread(str(out / "sheets" / "tiny.onnx-native-false.png"))
    assert false is not None and false.shape == (240, 1440, 3)
    assert ((false[..., 2] > 200) & (false[..., 0] < 100)).sum() > 100
    assert "tiny.onnx-128-false.png" not in sheets and "mine.png" in sheets


def test_a_picture_of_another_size_is_no_lower_figure(network: Path, tmp_path: Path) -> None:
    root = write_set(tmp_path / "faces", [("val", picture((1, 1, 255)), [face(1, 1)], [])])
    half = cv2.resize(picture((1, 1, 255)), (WIDTH // 2, HEIGHT // 2))
    assert cv2.imwrite(str(root / "images" / "0.png"), half)
    result = ferlite("evaluate", "--task", "face", "--data", root, network)
    assert result.exit_code == 1
    assert "'0.png' is 128x96, not 256x192 as stated: its boxes are wrong" in result.output


def test_a_threshold_for_all(data: Path, network: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--task", "face", "--data", data, network, "--out", tmp_path / "r"]
    assert ferlite(*command, "--threshold", 0.1).exit_code == 0
    of = {metric: value for (_, _, metric), value in figures(tmp_path / "r").items()}
    assert of["recall"] == 1 and of["precision"] == pytest.approx(3 / 4)
    assert of["ap50"] == pytest.approx(BY_HAND["ap50"])


def test_models_of_one_file_name_are_told_apart(data: Path, network: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny.onnx"
    other.write_bytes(network.read_bytes())
    command = ["evaluate", "--task", "face", "--data", data, network, other, network]
    assert ferlite(*command, "--out", tmp_path / "r").exit_code == 0
    assert {model for model, _, _ in figures(tmp_path / "r")} == {str(network), str(other)}


def test_a_smaller_photograph_is_enlarged_and_its_boxes_come_back(network: Path) -> None:
    from ferlite.training.faces.candidates import open_candidate, search, searched

    small = np.zeros((96, 128, 3), np.uint8)
    small[16:32, 32:48] = 255
    candidate = open_candidate(str(network), small)
    found = search(candidate.open(None, searched(256)), small, 256)
    np.testing.assert_allclose(found.boxes, [[24, 8, 32, 32]], atol=1e-4)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks[0, 2], [40, 24], atol=1e-4)
    assert not len(search(candidate.open(None, searched("native")), small, "native"))


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no Haar cascades")
def test_haar_on_real_portraits(portraits: dict[str, Image], tmp_path: Path) -> None:
    boxes = {"astronaut": [170, 70, 110, 120], "hopper": [185, 85, 200, 220]}
    entries = [
        ("val", portraits[name], [face(0, 0) | {"box": box}], [box]) for name, box in boxes.items()
    ]
    root = write_set(tmp_path / "faces", [*entries, ("val", picture(), [], [])])
    result = ferlite("evaluate", "--task", "face", "--data", root, "haar", "--out", tmp_path / "r")
    assert result.exit_code == 0
    of = {metric: value for (_, _, metric), value in figures(tmp_path / "r").items()}
    assert of["ap50"] == 1 and of["recall"] == 1 and of["face_free_pictures"] == 1
    assert "landmark_error" not in of and "network_320_ms" not in of


@pytest.mark.train
@pytest.mark.skipif(find_spec("keras") is None, reason="needs pip install 'ferlite[train]'")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("trained_at", [None, 64])
def test_keras_weights_score_as_their_network(
    data: Path, tmp_path: Path, trained_at: int | None
) -> None:
    from ferlite.training import require_keras

    require_keras()
    import keras

    inputs = keras.Input((trained_at, trained_at, 3), name="image", dtype="uint8")
    mean = keras.layers.AveragePooling2D(CELL)(keras.layers.Rescaling(1.0)(inputs))
    outputs = keras.layers.Conv2D(15, 1, name=f"stride{CELL}")(mean)
    model = keras.Model(inputs, [outputs])
    kernel = np.zeros((1, 1, 3, 15), np.float32)
    kernel[..., 0] = 1 / 3 / tiny_face.SOFT
    rest = [0.0] * 4 + [value for point in tiny_face.POINTS for value in point]
    bias = np.array([-tiny_face.MIDDLE / tiny_face.SOFT, *rest], np.float32)
    model.layers[-1].set_weights([kernel, bias])
    model.save(tmp_path / "tiny.keras")
    command = ["evaluate", "--task", "face", "--data", data, tmp_path / "tiny.keras"]
    assert ferlite(*command, "--out", tmp_path / "r").exit_code == 0
    of = {metric: value for (_, _, metric), value in figures(tmp_path / "r").items()}
    assert {name: of[name] for name in BY_HAND} == pytest.approx(BY_HAND, abs=1e-5)
    assert of["parameters"] == 60
    # Weights of something else, whose size cannot be freed.
    pictures = keras.Input((48, 48, 1))
    scores = keras.layers.Dense(8, name="logits")(keras.layers.Flatten()(pictures))
    keras.Model(pictures, scores).save(tmp_path / "emotion.keras")
    result = ferlite(*command[:-1], tmp_path / "emotion.keras")
    assert result.exit_code == 2 and "a face detector gives stride8" in result.output


def test_wrong_use_is_one_clear_line(data: Path, network: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "faces.json").write_text('[{"file": "a.png", "split": "val"}]')
    face_task = ["evaluate", "--task", "face", "--data"]
    cases: list[tuple[list[object], int, str]] = [
        ([*face_task, data, network, "--protocol", "majority"], 2, "--protocol is not for"),
        (["evaluate", "--data", data, network, "--sheets"], 2, "--sheets is not for"),
        (["evaluate", "--data", data, network, network], 2, "2 models"),
        (["evaluate", "--data", data, network], 1, "give --task face"),
        ([*face_task, data, network, "--split", "test"], 2, "train and valid"),
        ([*face_task, data, network, "--split", "train"], 1, "of score 0.5 in split 'train'"),
        ([*face_task, data, network, "--sheets"], 2, "needs --out"),
        ([*face_task, data, network, "--size", "8"], 2, "8"),
        ([*face_task, data, "no-such-detector"], 2, "unknown detector"),
        ([*face_task, data, tmp_path / "no.onnx"], 1, "no such model file"),
        ([*face_task, data, network, "--face-free", tmp_path / "no.mp4"], 1, "no.mp4"),
        ([*face_task, tmp_path / "empty", network], 1, "give a folder with faces.json"),
        ([*face_task, tmp_path / "broken", network], 1, "entry 0: no 'human'"),
    ]
    for command, code, expected in cases:
        result = ferlite(*command)
        assert result.exit_code == code, command
        assert expected in result.output.splitlines()[-1], result.output


def test_photographs_outside_the_folder_are_refused(tmp_path: Path) -> None:
    from ferlite.training.faces.photographs import read_photographs

    root = write_set(tmp_path / "faces", [("val", picture(), [face(1, 1)], [])])
    facts = json.loads((root / "faces.json").read_text())

    def reason(**changes: Any) -> str:
        (root / "faces.json").write_text(json.dumps([facts[0] | changes]))
        with pytest.raises(DataError) as caught:
            read_photographs(root)[0].image()
        return str(caught.value)

    assert "lies outside images/" in reason(file="../faces.json")
    assert "split 'test' is none of" in reason(split="test")
    assert "not finite" in reason(human=[[0, 0, float("nan"), 1]])
    assert "human: not 4 numbers each" in reason(human=[[0, 0, 1]])
    assert "too large" in reason(human=[[0, 0, 10**400, 1]])
    assert "not 4 numbers each" in reason(human=[1, 2, 3, 4])
    assert "not finite or huge" in reason(human=[[0, 0, 1e300, 1]])
    assert "far outside" in reason(human=[[0, 0, 5000, 1]])
    (root / "faces.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="is not JSON"):
        read_photographs(root)
    (root / "faces.json").write_text(json.dumps([facts[0] | {"human": [[1, 1, 0, 9]]}]))
    assert len(read_photographs(root)[0].human) == 0  # no box without an area
    assert "none.png" in reason(file="none.png")
    (root / "images" / "text.png").write_text("no picture")
    assert "'text.png' is not a picture" in reason(file="text.png")


@pytest.mark.shared
def test_the_known_table_comes_out(shared: Path, tmp_path: Path) -> None:
    """YuNet 2023mar on the real validation photographs: the figures that define the protocol."""
    from ferlite.training.faces.evaluate import evaluate_faces

    with tarfile.open(shared / "data" / "faces.tar") as archive:
        archive.extract("faces/faces.json", tmp_path, filter="data")
        entries = json.loads((tmp_path / "faces" / "faces.json").read_text())
        wanted = {f"faces/images/{one['file']}" for one in entries if one["split"] == "val"}
        for member in archive:
            if member.name in wanted:
                archive.extract(member, tmp_path, filter="data")
    chosen = [one for one in entries if one["split"] == "val"]
    (tmp_path / "faces" / "faces.json").write_text(json.dumps(chosen))
    model = str(shared / "models" / "face_detection_yunet_2023mar.onnx")
    figures = evaluate_faces([model], tmp_path / "faces").results[0].figures
    known = {"known_ap50": 0.809, "known_ap50_20px": 0.874, "known_ap50_40px": 0.859}
    known["known_human_ap50"] = 0.439
    assert {name: figures[name] for name in known} == pytest.approx(known, abs=1e-3)
