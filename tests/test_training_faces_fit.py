"""`ferlite train --task face`: repeatable, resumable, and clear about what it does not take."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from face_photographs import entry, small_faces, write
from numpy.typing import NDArray

from ferlite.cli import main
from ferlite.errors import DataError, ModelError, UsageError
from ferlite.training.faces.data import load_faces
from ferlite.training.history import read_history
from ferlite.training.recipes import FaceOptions

keras_needed = pytest.mark.skipif(
    find_spec("keras") is None, reason="needs pip install 'ferlite[train,quantize]'"
)
# Keras and its backends warn of their own future; that is not ours to fix.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
OPTIONS = FaceOptions(epochs=3, batch=4, size=64, most_faces=4, judge_every=2, warmup_epochs=1)


class StoppedError(Exception):
    """Stands for a run that was killed."""


class Watch:
    """Keeps what a run reports, and kills it after an epoch."""

    def __init__(self, kill_after: int = 0) -> None:
        self.kill_after, self.first = kill_after, -1
        self.steps: list[tuple[int, int]] = []

    def notice(self, text: str) -> None:
        raise AssertionError(text)

    def begin(self, first_epoch: int, epochs: int, steps: int) -> None:
        self.first = first_epoch

    def step(self, epoch: int, step: int, means: dict[str, float]) -> None:
        assert float(means["loss"]) > 0
        self.steps.append((epoch, step))

    def epoch(self, row: dict[str, float], best: float) -> None:
        if row["epoch"] == self.kill_after:
            raise StoppedError


def ferlite(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def curve(folder: Path) -> list[dict[str, float]]:
    """The history without times, a missing AP as -1 so that rows can be compared."""
    rows = read_history(folder)
    return [{k: v if v == v else -1.0 for k, v in row.items() if k != "seconds"} for row in rows]


def weights(path: Path) -> list[NDArray[np.float32]]:
    from ferlite.training.classifier import load_keras

    return [np.asarray(w) for w in load_keras(path).get_weights()]


@pytest.fixture(scope="module")
def root(portraits: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_faces(tmp_path_factory.mktemp("faces"), portraits)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watch]:
    """An uninterrupted run and what it reported."""
    from ferlite.training.faces.job import train_faces

    out, watch = tmp_path_factory.mktemp("runs") / "whole", Watch()
    best = train_faces(
        load_faces(root, "train"), load_faces(root, "val"), OPTIONS, out, reporter=watch
    )
    assert best == max(row["valid_ap"] for row in curve(out))
    return out, watch


@keras_needed
@pytest.mark.train
def test_a_run_writes_weights_history_and_settings(whole: tuple[Path, Watch]) -> None:
    out, watch = whole
    assert watch.first == 0
    assert watch.steps == [(e, s) for e in range(3) for s in (1, 2)]
    rows = read_history(out)
    assert list(rows[0]) == ["epoch", "loss", "valid_ap", "learning_rate", "seconds"]
    # Judged every second epoch, and after the last.
    assert [np.isnan(row["valid_ap"]) for row in rows] == [True, False, False]
    assert all(0 <= row["valid_ap"] <= 1 for row in rows[1:])
    record = json.loads((out / "train.json").read_text())
    assert record["options"]["arch"] == "ferlite-face" and record["options"]["size"] == 64
    assert record["options"]["augmentation"]["face_min"] == 10 and record["init"] == ""
    assert record["train"].startswith("train: 8 photographs, 6 faces")
    from ferlite.training.classifier import load_keras

    # Trained at one size, saved for any.
    for name in ("best.keras", "last.keras"):
        model = load_keras(out / name)
        assert model.input_shape == (None, None, None, 3) and model.count_params() == 188_621


@keras_needed
@pytest.mark.train
def test_equal_seeds_and_a_resume_give_the_same_curve(
    root: Path, whole: tuple[Path, Watch], tmp_path: Path
) -> None:
    from ferlite.training.faces.job import train_faces

    data = load_faces(root, "train"), load_faces(root, "val")
    with pytest.raises(StoppedError):
        train_faces(*data, OPTIONS, tmp_path, reporter=Watch(kill_after=2))
    # The first two epochs are a second run with the same seed.
    assert curve(tmp_path) == curve(whole[0])[:2]
    resumed = Watch()
    train_faces(*data, OPTIONS, tmp_path, resume=True, reporter=resumed)
    assert resumed.first == 2 and resumed.steps == [(2, 1), (2, 2)]
    assert curve(tmp_path) == curve(whole[0])
    pairs = zip(weights(whole[0] / "last.keras"), weights(tmp_path / "last.keras"), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
    # A damaged checkpoint is said so, and a run of other settings is not gone on with.
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="damaged"):
        train_faces(*data, OPTIONS, tmp_path, resume=True)
    with pytest.raises(UsageError, match="another size"):
        train_faces(*data, replace(OPTIONS, size=96), tmp_path, resume=True)


@keras_needed
@pytest.mark.train
def test_patience_ends_a_run_only_where_it_was_judged(root: Path, tmp_path: Path) -> None:
    from ferlite.training.faces.job import train_faces

    data = load_faces(root, "train"), load_faces(root, "val")
    options = replace(OPTIONS, epochs=9, patience_epochs=1, learning_rate=1e-12, judge_every=2)
    best = train_faces(*data, options, tmp_path)
    rows = read_history(tmp_path)
    assert best >= 0 and (tmp_path / "best.keras").is_file()
    assert not np.isnan(rows[-1]["valid_ap"]) and len(rows) < 9
    assert train_faces(*data, options, tmp_path, resume=True) == best
    # Other boxes are other data, even where their number is the same.
    moved = tuple(replace(faces, boxes=faces.boxes + 1) for faces in data[0].faces)
    with pytest.raises(UsageError, match="another data"):
        train_faces(replace(data[0], faces=moved), data[1], options, tmp_path, resume=True)


@keras_needed
@pytest.mark.train
def test_the_command_fine_tunes_from_given_weights(
    root: Path, whole: tuple[Path, Watch], tmp_path: Path
) -> None:
    """With a rate of almost nothing and no averaging, all but the normalisation stays."""
    start = whole[0] / "last.keras"
    command = ["train", "--task", "face", "--data", root, "--out", tmp_path, "--size", 64]
    result = ferlite(
        *command, "--init", start, *("--epochs", 1, "--batch", 4, "--seed", 9),
        *("--learning-rate", 1e-12, "--ema", 0, "--schedule", "constant"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("train: 8 photographs, 6 faces of score 0.5 or more")
    assert any(line.startswith("epoch 1/1 loss ") and " valid AP " in line for line in lines)
    assert "best validation AP 0.5 " in lines[-1] and "(n = 3 faces in 3 photographs)" in lines[-1]
    one, other = weights(start), weights(tmp_path / "last.keras")
    kernels = [pair for pair in zip(one, other, strict=True) if pair[0].ndim == 4]
    assert len(kernels) > 10
    for before, after in kernels:
        np.testing.assert_allclose(after, before, atol=1e-6)
    record = json.loads((tmp_path / "train.json").read_text())
    assert record["init"].startswith("last.keras ") and record["options"]["seed"] == 9
    # Weights of another network, and no weights at all.
    import keras

    other_model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="other")
    other_model.save(tmp_path / "other.keras")
    command += ["--out", tmp_path / "again"]
    result = ferlite(*command, "--init", tmp_path / "other.keras")
    assert result.exit_code == 1
    assert "is no start for ferlite-face: it is other, which has a weight of shape" in result.output
    result = ferlite(*command, "--init", root / "faces.json")
    assert result.exit_code == 1 and "not a Keras model" in result.output


@keras_needed
@pytest.mark.train
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "cnn711k"], "--arch is not for --task face; leave it out"),
        (["--teacher-weight", "0.5"], "--teacher-weight is not for --task face"),
        (["--targets", "votes"], "--targets is not for --task face"),
        (["--size", "100"], "size 100 must be 64 or more and divisible by 32"),
        (["--size", "32"], "size 32 must be 64 or more"),
        (["--seed", "-1"], "seed -1 must be in 0.."),
        (["--batch", "0"], "batch 0 must be at least 1"),
        (["--resume", "--init", "a.keras"], "leave --init out"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = ferlite("train", "--task", "face", "--data", "x", "--out", tmp_path, *arguments)
    assert result.exit_code == 2 and said in result.output
    assert len(result.output.splitlines()) == 1 and not list(tmp_path.iterdir())


@keras_needed
@pytest.mark.train
def test_bad_data_is_listed_and_no_data_is_one_line(root: Path, tmp_path: Path) -> None:
    command = ["train", "--task", "face", "--out", tmp_path / "run", "--data"]
    result = ferlite(*command, tmp_path / "nowhere")
    assert result.exit_code == 1 and "faces.json: No such file" in result.output
    # Photographs, but no face to learn; eleven entries that are left out, ten of them shown.
    gray = np.full((40, 50, 3), 90, np.uint8)
    entries: list[Any] = [entry(f"{i}.png", (50, 40), ("train", "val")[i]) for i in range(2)]
    write(tmp_path, [gray, gray], entries)
    gone = [entry("gone.png", (50, 40), "train")] * 11
    (tmp_path / "faces.json").write_text(json.dumps(entries + gone))
    result = ferlite(*command, tmp_path)
    assert result.exit_code == 1 and "no face in the training photographs" in result.output
    assert result.output.count("left out: entry ") == 10 and "  and 1 more" in result.output
    assert "Traceback" not in result.output and not (tmp_path / "run").exists()


@keras_needed
@pytest.mark.train
def test_what_cannot_be_judged_or_built_is_refused(root: Path, tmp_path: Path) -> None:
    from ferlite.training.faces.job import train_faces

    data, valid = load_faces(root, "train"), load_faces(root, "val")
    doubtful = tuple(replace(faces, teacher=faces.teacher * 0) for faces in valid.faces)
    with pytest.raises(DataError, match=r"no face of score 0\.5 or more in the validation"):
        train_faces(data, replace(valid, faces=doubtful), OPTIONS, tmp_path)
    with pytest.raises(UsageError, match="no face network 'yunet'"):
        train_faces(data, valid, replace(OPTIONS, arch="yunet"), tmp_path)
    with pytest.raises(DataError, match="nothing to resume"):
        train_faces(data, valid, OPTIONS, tmp_path, resume=True)
    with pytest.raises(ModelError, match="not a Keras model"):
        train_faces(data, valid, OPTIONS, tmp_path, init=root / "faces.json")
    assert not list(tmp_path.glob("*.keras"))


@pytest.mark.parametrize("change", [{"most_faces": 0}, {"judge_every": 0}, {"size": 0}])
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))} 0 must be"):
        FaceOptions(**change)
