"""`ferlite models`: what is told of a good bundle, and how a bad one is found out."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ferlite import bundles
from ferlite.cli import main


@pytest.fixture
def home(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of models with the tiny one in it, and no others."""
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path / "none")
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path))
    shutil.copytree(tiny, tmp_path / "models" / "tiny")
    return tmp_path / "models"


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


def damage(home: Path) -> None:
    with (home / "tiny" / "model.int8.onnx").open("r+b") as file:
        file.seek(40)
        file.write(b"\xff")


def test_list(home: Path) -> None:
    result = models("list")
    assert result.exit_code == 0
    assert result.stdout.split()[:3] == ["tiny", "emotion", "1.0.0"]
    assert "files verified" in result.stdout
    (row,) = json.loads(models("list", "--json").stdout)
    assert row["verified"] is True
    assert row["labels"][0] == "neutral"
    for name, about in row["files"].items():
        data = (home / "tiny" / name).read_bytes()
        assert about == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_list_names_broken_models_too(home: Path) -> None:
    damage(home)
    (home / "worse").mkdir()
    (home / "worse" / "bundle.json").write_text("{}")
    lines = models("list").stdout.splitlines()
    assert "broken: " in lines[0]
    assert "SHA-256" in lines[0]
    assert lines[1].startswith("worse")
    assert "field" in lines[1]
    assert [row["verified"] for row in json.loads(models("list", "--json").stdout)] == [False] * 2


def test_list_of_none(tmp_path: Path, home: Path) -> None:
    shutil.rmtree(home)
    result = models("list")
    assert result.exit_code == 1
    assert "no model is installed" in result.stderr
    assert models("list", "--json").stdout == "[]\n"


def test_show(home: Path) -> None:
    text = models("show", "tiny").stdout
    for fact in (
        "tiny 1.0.0 (emotion)",
        "Apache-2.0",
        "16x16 gray float32 NHWC, pixel * 0.015625 + -2",
        "neutral, happiness, surprise",
        "logits, temperature 1.5, uncertain below 0.4",
        "crop haar",
        "1.1 x the box, moved by (0, 0.04) of it",
        "fixed random weights",
        "verified",
    ):
        assert fact in text
    about = json.loads(models("show", home / "tiny", "--json").stdout)
    assert about["input"]["width"] == 16
    assert about["crop"]["haar"]["scale"] == 1.1


def test_show_tells_a_score_only_with_n_and_protocol(home: Path) -> None:
    assert "no score stated" in models("show", "tiny").stdout
    path = home / "tiny" / "bundle.json"
    facts = json.loads(path.read_text())
    facts["metrics"] = {"protocol": "majority", "n": 3199, "accuracy": 0.869, "macro_f1": 0.7}
    path.write_text(json.dumps(facts))
    wanted = "accuracy 0.8690, macro-F1 0.7000 (n=3199, majority)"
    assert wanted in models("show", "tiny").stdout


def test_show_of_a_lone_file(home: Path) -> None:
    text = models("show", home / "tiny" / "model.onnx").stdout
    assert "tiny 1.0.0" in text
    assert "verified" in text


def test_show_of_none(home: Path) -> None:
    result = models("show", "nobody")
    assert result.exit_code == 1
    assert "no model 'nobody'; installed: tiny" in result.stderr


def test_warnings_are_lines_on_stderr(home: Path) -> None:
    (home / "worse").mkdir()
    (home / "worse" / "bundle.json").write_text("{}")
    for _ in range(2):
        lines = models("show", "nobody").stderr.splitlines()
        assert [line.split(":")[0] for line in lines] == ["warning", "error"]
        assert "model left out" in lines[0]


def test_verify(home: Path) -> None:
    result = models("verify")
    assert (result.exit_code, result.stdout) == (0, "tiny: ok\n")
    damage(home)
    result = models("verify")
    assert result.exit_code == 1
    assert "model.int8.onnx: SHA-256 is " in result.stderr
    (row,) = json.loads(models("verify", "tiny", "--json").stdout)
    assert row["verified"] is False


def test_verify_goes_on_after_a_failure(home: Path) -> None:
    (home / "tiny" / "model.onnx").unlink()
    shutil.copytree(home / "tiny", home / "zebra")
    result = models("verify", "nobody", "tiny", "zebra")
    assert result.exit_code == 1
    for name in ("nobody", "tiny", "zebra"):
        assert f"{name}: broken" in result.stderr


def test_the_models_that_come_with_ferlite_are_whole() -> None:
    result = models("verify", "emotion")
    assert result.exit_code == 0, result.stderr
