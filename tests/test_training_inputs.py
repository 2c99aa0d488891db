"""What lies beside a network: records, tables and weights that are damaged or somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from click.testing import CliRunner, Result
from training_sets import ballot, write_ferplus

from ferlite.cli import main
from ferlite.errors import DataError, FerliteError, ModelError
from ferlite.training import require_keras
from ferlite.training.classifier import load_keras
from ferlite.training.data import FERPLUS_LABELS
from ferlite.training.history import read_history
from ferlite.training.records import labels_beside, protocol_beside, read_run, training_facts

OWN = "epoch,accuracy,loss,valid_accuracy,valid_loss,seconds\n1,0.5,1,0.25,1,60\n2,0.5,1,0.5,1,60\n"
KERAS = "epoch,accuracy,loss\n0,0.5,1\n1,0.6,1\n"
FACES = "epoch,loss,valid_ap,seconds\n1,1,0.5,60\n"
TEXT = "epoch,note\n1,good\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 validation pictures, all of one class."""
    root = tmp_path_factory.mktemp("ferplus")
    pictures = np.random.default_rng(1).integers(0, 256, (120, 48, 48), np.uint8)
    write_ferplus(root, [("PublicTest", one, ballot("fear")) for one in pictures])
    return root


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreign network beside which nothing lies; it is timed but once."""
    from ferlite.training.classifier import Classifier

    monkeypatch.setattr(Classifier, "milliseconds", lambda *_: 1.0)
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "model.onnx"
    path.write_bytes(tiny_model.network())
    return path


def evaluate(*args: object) -> Result:
    result = CliRunner().invoke(main, ["evaluate", *map(str, args)], catch_exceptions=False)
    print(result.output)
    return result


def test_pictures_of_one_class_are_evaluated(data: Path, model: Path, tmp_path: Path) -> None:
    result = evaluate(model, "--data", data, "--out", tmp_path / "report")
    assert result.exit_code == 0 and "n = 120" in result.output
    drawn = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert drawn == {"confusion.png", "precision_recall.png", "reliability.png"}


@pytest.mark.parametrize("table", [OWN, KERAS, FACES, TEXT], ids=["own", "keras", "faces", "text"])
def test_a_history_beside_the_model_counts_where_a_run_wrote_it(
    data: Path, model: Path, tmp_path: Path, table: str
) -> None:
    report = tmp_path / "report"
    (model.parent / "history.csv").write_text(table)
    result = evaluate(model, "--data", data, "--out", report)
    assert result.exit_code == 0 and "2 epochs" not in result.output
    assert "notice" not in result.output
    (model.parent / "train.json").write_text("{}")
    result = evaluate(model, "--data", data, "--out", report)
    assert result.exit_code == 0 and ("2.0 min, 2 epochs" in result.output) == (table == OWN)
    assert ("history.csv" in result.output) == (table != OWN)
    assert (report / "training_curves.png").is_file() == (table == OWN)


@pytest.mark.parametrize(
    ("table", "said"),
    [(KERAS, "no column seconds, valid_accuracy;"), (FACES, "no column valid_accuracy;")],
)
def test_a_history_that_was_named_must_fit(
    data: Path, model: Path, tmp_path: Path, table: str, said: str
) -> None:
    (tmp_path / "history.csv").write_text(table)
    command = [model, "--data", data, "--out", tmp_path / "report", "--history", tmp_path]
    result = evaluate(*command)
    assert result.exit_code == 1 and f"history.csv has {said}" in result.output.splitlines()[-1]
    assert not (tmp_path / "report").exists()


def test_columns_of_a_history(tmp_path: Path) -> None:
    assert read_history(tmp_path, "valid_ap") == []
    table = tmp_path / "history.csv"
    table.write_text(FACES)
    assert read_history(tmp_path, "valid_ap")[0]["seconds"] == 60
    # `train --resume` asks for no column of its own, and takes these two.
    for text, missing in (("epochs,loss\n1,1\n", "epoch, seconds"), ("", "epoch, seconds")):
        table.write_text(text)
        with pytest.raises(DataError, match=rf"history\.csv has no column {missing};"):
            read_history(tmp_path)
    # Of weights that no run wrote, a table beside them says nothing; of a run's it must fit.
    assert training_facts(tmp_path / "best.keras", "valid_accuracy") == {}
    (tmp_path / "train.json").write_text(json.dumps({"init": "mine.keras"}))
    table.write_text(FACES)
    with pytest.raises(DataError, match=r"history\.csv has no column valid_accuracy;"):
        training_facts(tmp_path / "best.keras", "valid_accuracy")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"options": []}, "its options is list"),
        ({"options": None}, "its options is NoneType"),
        ({"labels": 5}, "its labels is int"),
        ({"labels": "neutral"}, "its labels is str"),
        ({"labels": ["neutral", 5]}, "its labels are not all text"),
        ([], "it holds list"),
    ],
)
def test_a_record_of_other_kinds_is_refused(tmp_path: Path, record: object, said: str) -> None:
    (tmp_path / "train.json").write_text(json.dumps(record))
    for reader in (labels_beside, protocol_beside, lambda weights: read_run(weights.parent)):
        with pytest.raises(ModelError, match=rf"train\.json is not the record of a run \({said}\)"):
            reader(tmp_path / "best.keras")


def test_labels_and_protocol_of_a_record(tmp_path: Path) -> None:
    weights = tmp_path / "weights.keras"
    (tmp_path / "bundle.json").write_text(json.dumps({"labels": ["a"], "metrics": 5}))
    assert labels_beside(weights) == ("a",) and protocol_beside(weights) is None
    record = {"options": {}, "labels": list(FERPLUS_LABELS), "protocol": "majority"}
    (tmp_path / "train.json").write_text(json.dumps(record))
    assert labels_beside(weights) == FERPLUS_LABELS and protocol_beside(weights) == "majority"


def test_weights_that_are_cut_off_or_missing_are_called_so(tmp_path: Path) -> None:
    cut = tmp_path / "cut.keras"
    cut.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match=r"cut\.keras: not a Keras model: cut off"):
        load_keras(cut)
    with pytest.raises(ModelError, match=r"none\.keras is not a file; name a \.keras file"):
        load_keras(tmp_path / "none.keras")


@pytest.mark.parametrize(
    ("backend", "said"),
    [("foo", "foo is none of tensorflow, jax, torch; unset"), ("torch", "torch is not installed;")],
)
def test_a_backend_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, backend: str, said: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("ferlite.training.find_spec", lambda name: name != "torch" or None)
    with pytest.raises(FerliteError, match=f"^KERAS_BACKEND={said}"):
        require_keras()
