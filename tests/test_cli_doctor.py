"""`ferlite doctor`: every line is the result of trying, and a broken one is found."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
import tiny_face
from click.testing import CliRunner
from command import ferlite_command

from ferlite import _core, bundles, crops, precision, session
from ferlite.cli import checks, main
from ferlite.faces import DEFAULT_DETECTOR
from ferlite.sources import camera


@pytest.fixture(autouse=True)
def quiet_home(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only the tiny models are installed; caches and output go to an empty folder."""
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path / "models")
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, tmp_path / "models" / "tiny")
    int8 = tiny_face.network()
    tiny_face.write_bundle(tmp_path / "models" / "face", name="ferlite-face", int8=int8)
    return tmp_path


def doctor(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and the checks by name."""
    result = CliRunner().invoke(main, ["doctor", "--json", *arguments])
    return result.exit_code, {check["name"]: check for check in json.loads(result.stdout)}


def test_all_is_well_here(quiet_home: Path) -> None:
    status, found = doctor()
    assert status == 0, found
    for name in (
        "ferlite",
        "python",
        "system",
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "av",
        "rich",
        "processor",
        "threads",
        "cpu features",
        "c++ kernels",
        "provider cpu",
        "model tiny",
        "network tiny",
        "model face",
        "network face",
        "detector ferlite-face",
        "detector haar",
        "h264 encoder",
        "h264 decoder",
        "output folder",
        "temporary files",
    ):
        assert found[name]["state"] == "ok", name
    assert found["opencv-python-headless"]["detail"].startswith(cv2.__version__.rsplit(".", 1)[0])
    assert "libavcodec" in found["av"]["detail"]
    for model in ("tiny", "face"):
        assert "fp32 on cpu" in found[f"network {model}"]["detail"]
    kernels = found["c++ kernels"]["detail"]
    assert kernels.startswith(crops.instruction_set())
    assert all(name in kernels for name in _core.instruction_sets())
    assert found[f"detector {DEFAULT_DETECTOR}"]["detail"].endswith("(default)")
    assert "ferlite models add" in found["detector yunet"]["remedy"]
    assert found["threads"]["detail"].startswith(str(session.default_threads()))
    # What was only tried is gone again.
    assert not (quiet_home / "ferlite-output").exists()


def test_whatever_is_not_ok_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "providers", lambda: [("cpu", False, "does not run; reinstall")])
    status, found = doctor()
    assert status == 1
    assert found["provider cpu"]["state"] == "broken"
    for check in found.values():
        assert (check["state"] == "ok") == (check["remedy"] == ""), check


def test_text_has_remedies_and_a_verdict(quiet_home: Path) -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "everything ferlite needs works"
    damaged = quiet_home / "models" / "tiny" / "model.onnx"
    damaged.write_bytes(damaged.read_bytes() + b"\0")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "broken: model tiny"
    line, remedy = next(
        pair
        for pair in zip(result.stdout.splitlines(), result.stdout.splitlines()[1:], strict=False)
        if pair[0].startswith("broken   model tiny")
    )
    assert "SHA-256" in line
    assert remedy.strip().startswith("->")


def test_no_model(quiet_home: Path) -> None:
    shutil.rmtree(quiet_home / "models")
    status, found = doctor()
    assert (status, found["models"]["state"]) == (1, "broken")


def test_a_description_that_is_broken(quiet_home: Path) -> None:
    (quiet_home / "models" / "tiny" / "bundle.json").write_text("[]")
    status, found = doctor()
    assert (status, found["model tiny"]["state"]) == (1, "broken")


def test_output_that_cannot_be_written(quiet_home: Path) -> None:
    (quiet_home / "taken").touch()
    status, found = doctor("-o", "taken")
    assert (status, found["output folder"]["state"]) == (1, "broken")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> Any:
        if name == "av":
            raise ImportError("No module named 'av'")
        return importlib.import_module(name)

    monkeypatch.setattr(checks, "import_module", import_module)
    status, found = doctor()
    assert status == 1
    assert found["av"]["remedy"] == "pip install av"


def test_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    status, found = doctor()
    # Only the default has to work.
    expected = (1, "broken") if DEFAULT_DETECTOR == "haar" else (0, "missing")
    assert (status, found["detector haar"]["state"]) == expected
    assert "opencv-python-headless<5" in found["detector haar"]["remedy"]


def test_an_int8_network_that_answers_otherwise(quiet_home: Path) -> None:
    wrong = tiny_face.network(drift=-20)
    tiny_face.write_bundle(quiet_home / "models" / "face", name="ferlite-face", int8=wrong)
    status, found = doctor()
    assert status == 0
    detail = found["network face"]["detail"]
    assert detail.startswith("fp32 on cpu, ") and "int8 on cpu" in detail
    assert "but answers otherwise, a probability differs by" in detail


def test_the_reason_of_a_choice() -> None:
    ways = [precision.Way(*one) for one in (("cpu", "fp32"), ("openvino", "int8"), ("cpu", "int8"))]
    measured = [
        precision.Measured(way, ms, difference)
        for way, ms, difference in zip(ways, (3.14159, 2.0, 1.0), (0.0, 0.05, 0.3), strict=True)
    ]
    assert checks._reason(precision.Choice(ways[1], tuple(measured))) == (
        "2 ms a run; fp32 on cpu 3.14;"
        " int8 on cpu 1 but answers otherwise, a probability differs by 0.3"
    )


def test_an_instruction_set_that_is_not_there(
    quiet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERLITE_FORCE_ISA", "avx9")
    done = ferlite_command("doctor", "--json", cwd=quiet_home)
    (kernels,) = [one for one in json.loads(done.stdout) if one["name"] == "c++ kernels"]
    assert (kernels["state"], kernels["remedy"]) == ("broken", "unset FERLITE_FORCE_ISA")
    assert "avx9" in kernels["detail"]


def test_a_detector_that_is_damaged(quiet_home: Path) -> None:
    network = quiet_home / "models" / "face" / "model.onnx"
    network.write_bytes(network.read_bytes() + b"\0")
    status, found = doctor()
    assert (status, found["model face"]["state"]) == (1, "broken")
    assert "SHA-256" in found["detector ferlite-face"]["detail"]


def test_a_yunet_that_was_added(quiet_home: Path, shared: Path) -> None:
    yunet = shared / "models" / "face_detection_yunet_2023mar.onnx"
    network = yunet.read_bytes()
    tiny_face.write_bundle(quiet_home / "home" / "models" / "yunet", name="yunet", fp32=network)
    status, found = doctor()
    assert status == 0
    assert found["model yunet"]["state"] == found["detector yunet"]["state"] == "ok"


def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}

    both = [Installed("opencv-python"), Installed("opencv-python-headless")]
    monkeypatch.setattr(checks.metadata, "distributions", lambda: both)
    (found,) = checks._clashes()
    assert "opencv-python and opencv-python-headless overwrite each other" in found.detail


def test_a_check_that_fails_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> Any:
        raise OSError("no such processor")

    monkeypatch.setattr(checks, "_cpuinfo", broken)
    status, found = doctor()
    assert status == 1
    assert found["processor"]["detail"] == "OSError: no such processor"
    assert found["temporary files"]["state"] == "ok"


def test_a_raspberry_pi_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc/cpuinfo of a Raspberry Pi 5: no model name, and Features instead of flags."""
    facts = {
        "processor": "0",
        "Features": "fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp",
        "CPU part": "0xd0b",
        "Model": "Raspberry Pi 5 Model B Rev 1.0",
    }
    monkeypatch.setattr(checks, "_cpuinfo", lambda: facts)
    processor, features = checks._processor()
    assert processor.detail.startswith("Raspberry Pi 5 Model B Rev 1.0, ")
    assert features.detail == "asimd asimdhp asimddp"


def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("/dev/null", "A Camera"), ("/nowhere", "")]
    monkeypatch.setattr(camera, "devices", lambda: found)
    good, bad = checks._cameras()
    assert (good.state, bad.state) == ("ok", "missing")
    assert good.detail == "/dev/null A Camera"
    assert "video" in bad.remedy
