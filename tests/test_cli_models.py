"""`ferlite models`: what is told of a good bundle, how a bad one is found out, adding, removing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command import start
from model_server import serve

from ferlite import bundles
from ferlite.cli import main
from ferlite.cli.interrupt import Interrupted, raised


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
    assert "  Apache-2.0  " in result.stdout
    assert "files verified" in result.stdout
    assert result.stdout.endswith(f"  {home / 'tiny'}\n")
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


def test_show_of_a_detector(home: Path) -> None:
    facts = {
        "name": "finder",
        "task": "face",
        "version": "1.0.0",
        "license": "MIT",
        "files": {"model.onnx": {"sha256": "0" * 64}},
        "input": {"color": "bgr", "layout": "NHWC", "dtype": "uint8", "scale": 1, "offset": 0},
        "strides": [8, 16, 32],
        "landmarks": 5,
        "threshold": 0.45,
        "nms_iou": 0.5,
        "size": 320,
        "smallest": 10,
        "metrics": {},
        "data": ["photographs"],
    }
    (home / "finder").mkdir()
    (home / "finder" / "bundle.json").write_text(json.dumps(facts))
    text = models("show", "finder").stdout
    assert "finder 1.0.0 (face)" in text
    assert "the picture at 320 pixels of its longest side, faces from 10 pixels there" in text
    wanted = "strides 8, 16, 32, 5 landmarks, threshold 0.45, overlap at most 0.5"
    assert wanted in text
    assert models("list").stdout.splitlines()[0].startswith("finder       face 1.0.0")


def test_add_and_remove(home: Path) -> None:
    source = home / "tiny" / "model.onnx"
    result = models("add", source, "--name", "mine", "--sha256", sha256(source))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"added mine (emotion 1.0.0, 0.00 MB, Apache-2.0) in {home / 'mine'};"
        " use it with --model mine\n"
    )
    assert models("add", source, "--name", "mine").stdout.startswith("already installed: mine (")
    assert models("verify").stdout == "mine: ok\ntiny: ok\n"
    result = models("add", home / "tiny", "--name", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: another model 'mine' is installed in ")
    assert models("add", home / "tiny", "--name", "mine", "--force").stdout.startswith("added mine")
    result = models("remove", "mine")
    assert (result.exit_code, result.stdout) == (0, f"removed mine from {home / 'mine'}\n")
    assert models("remove", "mine").exit_code == 1


def test_add_from_a_url(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source = home / "tiny" / "model.onnx"
    with serve({"m.onnx": source.read_bytes()}) as server:
        url = server.url("good/m.onnx")
        assert models("add", url, "--name", "mine", "--sha256", sha256(source)).exit_code == 0
        for arguments, status, words in (
            ([url], 2, "error: no checksum is known for 'm.onnx': add --sha256"),
            ([url, "--sha256", "0"], 2, "error: --sha256 is '0'"),
            ([url, "--sha256", "0" * 64], 1, f"error: {url}: SHA-256 is {sha256(source)}, but"),
            ([server.url("silent/m.onnx"), "--sha256", "0" * 64, "--timeout", "0.2"], 1, "0.2 s;"),
            ([""], 2, "error: Invalid value"),
        ):
            result = models("add", *arguments)
            assert result.exit_code == status
            assert words in result.stderr
            assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in home.iterdir()) == ["mine", "tiny"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_stopped_download_leaves_nothing(
    tmp_path: Path,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    signum: signal.Signals,
    ignored: bool,
) -> None:
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Shells start what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else None
    with serve({"m.onnx": (tiny / "model.onnx").read_bytes()}) as server:
        process = start(
            *("models", "add", server.url("drip/m.onnx"), "--sha256", "0" * 64),
            cwd=tmp_path,
        )
        if before is not None:
            signal.signal(signal.SIGINT, before)
        try:
            assert server.started.wait(60)
            (working,) = (tmp_path / "models").iterdir()
            assert working.name.startswith(".ferlite-part-")
            process.send_signal(signum)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 128 + signum, stderr
    assert (stdout, stderr) == ("", "interrupted\n")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_second_signal_does_not_disturb_what_the_first_began() -> None:
    before = signal.getsignal(signal.SIGTERM)
    steps = []
    with pytest.raises(Interrupted) as caught, raised():
        try:
            signal.raise_signal(signal.SIGTERM)
            steps.append("went on")
        finally:
            signal.raise_signal(signal.SIGINT)
            steps.append("removed")
    assert steps == ["removed"]
    assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_bar_on_a_terminal_and_none_elsewhere(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source = tiny / "model.onnx"
    ours, theirs = pty.openpty()
    with serve({"m.onnx": source.read_bytes()}) as server:
        process = start(
            *("models", "add", server.url("good/m.onnx"), "--sha256", sha256(source)),
            cwd=tmp_path,
            terminal="xterm",
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal tells of its end
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
        stdout, _ = process.communicate(timeout=60)
        assert process.returncode == 0, shown
        size = source.stat().st_size
        assert f"{size / 1000:.1f}/{size / 1000:.1f} kB" in shown.decode()
        assert stdout.startswith("added tiny (")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
