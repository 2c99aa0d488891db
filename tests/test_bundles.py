from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_face
import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from ferlite import bundles, facts
from ferlite.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model.write_bundle(tmp_path / "tiny")


def edit(folder: Path, *path: str, value: Any) -> None:
    """Set (or with `...` remove) one field of bundle.json."""
    file = folder / bundles.DESCRIPTION
    whole = json.loads(file.read_text())
    section = whole
    for name in path[:-1]:
        section = section[name]
    if value is ...:
        del section[path[-1]]
    else:
        section[path[-1]] = value
    file.write_text(json.dumps(whole))


def test_reads_every_field(folder: Path) -> None:
    bundle = bundles.find(folder)
    assert (bundle.name, bundle.task, bundle.version) == ("tiny", "emotion", "1.0.0")
    assert bundle.license == "Apache-2.0"
    assert bundle.input == bundles.InputSpec(16, 16, "gray", "NHWC", "float32", 1 / 64, -2.0)
    assert bundle.labels == tiny_model.LABELS
    assert (bundle.output, bundle.temperature, bundle.uncertain_below) == ("logits", 1.5, 0.4)
    assert bundle.geometry("haar") == bundles.CropGeometry(1.1, 0.0, 0.04, False)
    assert bundle.geometry("unheard of") == bundles.CropGeometry(1.0, 0.0, 0.0, False)
    assert bundle.precisions == {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    assert bundle.metrics["protocol"] == "majority"
    assert bundle.data == ("fixed random weights",)
    assert bundle.load("model.onnx") == (folder / "model.onnx").read_bytes()
    bundle.verify()


def test_a_network_in_upper_case(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "MODEL.ONNX")
    files = json.loads((folder / "bundle.json").read_text())["files"]
    edit(folder, "files", value={"MODEL.ONNX": files["model.onnx"]})
    bundle = bundles.find(folder)
    assert bundle.precisions == {"fp32": "MODEL.ONNX"}
    bundle.verify()


def test_scores_may_be_left_out(folder: Path) -> None:
    edit(folder, "metrics", value={"note": "not measured"})
    assert bundles.find(folder).metrics == {"note": "not measured"}


@pytest.mark.parametrize(
    ("color", "layout", "shape"),
    [("gray", "NHWC", (5, 7, 1)), ("bgr", "NHWC", (5, 7, 3)), ("rgb", "NCHW", (3, 5, 7))],
)
def test_shape_of_a_crop(color: Any, layout: Any, shape: tuple[int, ...]) -> None:
    assert bundles.InputSpec(7, 5, color, layout, "uint8", 1.0, 0.0).shape == shape


def test_lone_onnx_carries_the_same_description(folder: Path) -> None:
    from dataclasses import replace

    whole, lone = bundles.find(folder), bundles.find(folder / "model.onnx")
    assert replace(lone, path=whole.path, files=whole.files) == whole
    assert lone.precisions == {"fp32": "model.onnx"}
    lone.verify()
    assert lone.load("model.onnx") == (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (["name"], ..., "field name is missing"),
        (["name"], "two\nlines", "field name is 'two\\nlines'"),
        (["task"], "speech", "field task is 'speech'; needed: emotion or face"),
        (["version"], 1, "field version is 1;"),
        (["license"], "", "field license is ''"),
        (["files"], ["model.onnx"], "field files is ['model.onnx']; needed: a JSON object"),
        (["files"], {}, "field files is []; needed: one .onnx file"),
        (["files", "second.onnx"], {"sha256": "0" * 64}, "'second.onnx']; needed: one .onnx file"),
        (["files", "second.ONNX"], {"sha256": "0" * 64}, "'second.ONNX']; needed: one .onnx file"),
        (["files", "b.int8.onnx"], {"sha256": "0" * 64}, "perhaps one .int8.onnx"),
        (["files", "../model.onnx"], {"sha256": "0" * 64}, "field files is '../model.onnx'"),
        (["files", "/etc/passwd"], {"sha256": "0" * 64}, "field files is '/etc/passwd'"),
        (["files", ".."], {"sha256": "0" * 64}, "field files is '..'"),
        (["files", "a\0.onnx"], {"sha256": "0" * 64}, "field files is 'a\\x00.onnx'"),
        (["files", "model.onnx"], "abc", "field files.model.onnx.sha256 is missing"),
        (["files", "model.onnx", "sha256"], "A" * 64, "field files.model.onnx.sha256 is 'AAA"),
        (["input"], None, "field input is missing"),
        (["input", "width"], 0, "field input.width is 0; needed: an integer from 1 to 4096"),
        (["input", "width"], True, "field input.width is True"),
        (["input", "height"], 48.0, "field input.height is 48.0"),
        (["input", "color"], "cmyk", "field input.color is 'cmyk'; needed: gray or bgr or rgb"),
        (["input", "layout"], ["NHWC"], "field input.layout is ['NHWC']"),
        (["input", "dtype"], "float64", "field input.dtype is 'float64'"),
        (["input", "scale"], float("nan"), "field input.scale is nan"),
        (["input", "offset"], float("inf"), "field input.offset is inf"),
        (["labels"], "neutral", "field labels is 'neutral'; needed: a list of texts"),
        (["labels"], ["a", 1], "field labels is 1; needed: texts of 1 to 200 printable"),
        (["labels"], ["a", ""], "field labels is ''"),
        (["labels"], ["a", "\x1b[2J"], "field labels is '\\x1b[2J'"),
        (["labels"], ["a", "b" * 201], "field labels is 'bbb"),
        (["name"], "\x1b[31mred", "field name is '\\x1b[31mred'"),
        (["version"], "1" * 201, "field version is '111"),
        (["license"], "MIT\n", "field license is 'MIT\\n'"),
        (["license"], "x" * 501, "needed: a text of 1 to 500 printable characters"),
        (["data"], ["fine", "\x1b]0;title\x07"], "field data is '\\x1b]0;title\\x07'"),
        (["data"], ["x" * 501], "needed: texts of 1 to 500 printable characters"),
        (["crop", "\x1b[2J"], {}, "field crop is '\\x1b[2J'"),
        (["metrics", "protocol"], "\x1b[2J", "field metrics.protocol is '\\x1b[2J'"),
        (["metrics", "protocol"], None, "field metrics.protocol is missing"),
        (["metrics", "n"], "\x1b[2J", "field metrics.n is '\\x1b[2J'"),
        (["metrics", "n"], 1.5, "field metrics.n is 1.5"),
        (["metrics", "accuracy"], float("nan"), "field metrics.accuracy is nan"),
        (["metrics", "macro_f1"], 10**400, "field metrics.macro_f1 is 1000"),
        (["labels"], ["a", "a"], "field labels is ['a', 'a']; needed: 2 to 1000 different names"),
        (["labels"], ["a"], "field labels is ['a']"),
        (["output"], "scores", "field output is 'scores'; needed: logits or probabilities"),
        (["temperature"], 0, "field temperature is 0; needed: a number from 0.001 to 1000"),
        (["temperature"], "1", "field temperature is '1'"),
        (["uncertain_below"], 40, "field uncertain_below is 40; needed: a number from 0 to 1"),
        (["crop"], [], "field crop is []"),
        (["crop", "haar"], 1.1, "field crop.haar is 1.1"),
        (["crop", "haar", "scale"], -1, "field crop.haar.scale is -1"),
        (["crop", "haar", "dx"], 10**400, "field crop.haar.dx is 1000"),
        (["crop", "haar", "rotate"], 1, "field crop.haar.rotate is 1; needed: true or false"),
        (["metrics"], 0.9, "field metrics is 0.9"),
        (["data"], "FER+", "field data is 'FER+'"),
    ],
)
def test_a_bad_field_is_named_with_its_value(
    folder: Path, path: list[str], value: Any, shown: str
) -> None:
    edit(folder, *path, value=value)
    with pytest.raises(ModelError) as caught:
        bundles.find(folder)
    message = str(caught.value)
    assert shown in message
    assert str(folder / "bundle.json") in message
    assert "\n" not in message and len(message) < 400


def test_reads_every_field_of_a_detector(tmp_path: Path) -> None:
    folder = tiny_face.write_bundle(tmp_path / "face", version="2.1.0", landmarks=5)
    bundle = bundles.find(folder)
    assert isinstance(bundle, bundles.FaceBundle)
    assert (bundle.name, bundle.task, bundle.version) == ("tiny-face", "face", "2.1.0")
    assert (bundle.strides, bundle.landmarks) == ((8, 16, 32), 5)
    assert (bundle.threshold, bundle.nms_iou, bundle.size) == (0.5, 0.3, 320)
    assert bundle.smallest == 16 and bundle.data == ("made by hand",)
    edit(folder, "smallest", value=...)
    again = bundles.find(folder)
    assert isinstance(again, bundles.FaceBundle) and again.smallest == bundles.SMALLEST_FACE
    lone = bundles.find(folder / "model.onnx")
    assert isinstance(lone, bundles.FaceBundle) and lone.strides == bundle.strides


def test_a_yunet_says_nothing_more(tmp_path: Path) -> None:
    folder = tiny_face.write_bundle(tmp_path / "yunet", name="yunet")
    for field in ("input", "strides", "landmarks", "threshold", "nms_iou", "size"):
        edit(folder, field, value=...)
    bundle = bundles.find(folder)
    assert type(bundle) is bundles.Bundle and (bundle.task, bundle.name) == ("face", "yunet")
    bundle.verify()


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (["input"], ..., "field input is missing"),
        (["input", "color"], "rgb", "field input.color is 'rgb'; needed: bgr"),
        (["input", "layout"], "NCHW", "field input.layout is 'NCHW'; needed: NHWC"),
        (["input", "dtype"], "float32", "field input.dtype is 'float32'; needed: uint8"),
        (["input", "scale"], 0.5, "field input.scale is 0.5"),
        (["input", "offset"], float("nan"), "field input.offset is nan"),
        (["strides"], ..., "field strides is missing; needed: a rising list of some of 4, 8,"),
        (["strides"], 8, "field strides is 8"),
        (["strides"], [], "field strides is []"),
        (["strides"], [8, 8], "field strides is [8, 8]"),
        (["strides"], [16, 8], "field strides is [16, 8]"),
        (["strides"], [8, 24], "field strides is [8, 24]"),
        (["strides"], [8.0], "field strides is [8.0]"),
        (["strides"], [[8]], "field strides is [[8]]"),
        (["strides"], [-8], "field strides is [-8]"),
        (["strides"], [0], "field strides is [0]"),
        (["strides"], [8] * 5000, "field strides is [8, 8,"),
        (["landmarks"], 68, "field landmarks is 68; needed: an integer from 5 to 5"),
        (["threshold"], 1.5, "field threshold is 1.5; needed: a number from 0 to 1"),
        (["threshold"], None, "field threshold is missing"),
        (["nms_iou"], -0.1, "field nms_iou is -0.1"),
        (["size"], 10**9, "field size is 1000000000; needed: an integer from 32 to 8192"),
        (["size"], 0, "field size is 0"),
        (["smallest"], 0, "field smallest is 0"),
        (["name"], "a\x1b[2J", "field name is 'a\\x1b[2J'"),
        (["metrics"], [], "field metrics is []"),
        (["files", "../x.onnx"], {"sha256": "0" * 64}, "field files is '../x.onnx'"),
    ],
)
def test_a_bad_field_of_a_detector(tmp_path: Path, path: list[str], value: Any, shown: str) -> None:
    folder = tiny_face.write_bundle(tmp_path / "face")
    edit(folder, *path, value=value)
    with pytest.raises(ModelError) as caught:
        bundles.find(folder)
    message = str(caught.value)
    assert shown in message and str(folder / "bundle.json") in message
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "a JSON object is needed, not list"),
        (b" " * (facts.MAX_DESCRIPTION_BYTES + 1), "over 1 MiB"),
    ],
)
def test_a_damaged_description(folder: Path, text: bytes, shown: str) -> None:
    (folder / "bundle.json").write_bytes(text)
    with pytest.raises(ModelError, match=shown):
        bundles.find(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_json_is_a_bundle_or_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    described = data.draw(st.sampled_from([tiny_model.facts(), tiny_face.facts()]))
    whole = {"files": {"model.onnx": {"sha256": "0" * 64}}} | described
    for name in data.draw(st.sets(st.sampled_from(sorted(whole)), min_size=1, max_size=3)):
        section = whole[name]
        if isinstance(section, dict) and section and data.draw(st.booleans()):
            whole[name] = section | {data.draw(st.sampled_from(sorted(section))): data.draw(JSON)}
        else:
            whole[name] = data.draw(JSON)
    folder = tmp_path_factory.mktemp("any")
    (folder / "bundle.json").write_text(json.dumps(whole))
    try:
        bundle = bundles.find(folder)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        if isinstance(bundle, bundles.EmotionBundle):
            assert bundle.labels and bundle.input.width >= 1
        elif isinstance(bundle, bundles.FaceBundle):
            assert bundle.strides and 32 <= bundle.size <= 8192


def test_changed_missing_empty_and_huge_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles.find(folder)
    file = folder / "model.onnx"
    good = file.read_bytes()
    file.write_bytes(good + b"\0")
    found = hashlib.sha256(good + b"\0").hexdigest()
    with pytest.raises(ModelError, match=f"model.onnx: SHA-256 is {found}, but .* is expected"):
        bundle.load("model.onnx")
    with pytest.raises(ModelError, match="SHA-256"):
        bundle.verify()
    file.write_bytes(b"")
    with pytest.raises(ModelError, match="empty"):
        bundle.load("model.onnx")
    file.unlink()
    with pytest.raises(ModelError, match="no such model file"):
        bundle.load("model.onnx")
    file.mkdir()
    with pytest.raises(ModelError, match="cannot read the model"):
        bundle.load("model.onnx")
    with pytest.raises(ModelError, match=r"holds no file 'other.onnx'"):
        bundle.load("other.onnx")
    monkeypatch.setattr(bundles, "MAX_MODEL_BYTES", 1 << 20)
    with (folder / "model.int8.onnx").open("r+b") as sparse:
        sparse.truncate((1 << 20) + 1)
    with pytest.raises(ModelError, match="over 1 MiB"):
        bundle.load("model.int8.onnx")


def test_a_lone_onnx_that_is_no_ferlite_model(tmp_path: Path) -> None:
    lone = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match="no such model file"):
        bundles.find(lone)
    lone.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"model.onnx: not a usable ONNX model"):
        bundles.find(lone)
    lone.write_bytes(tiny_model.network())
    with pytest.raises(ModelError, match=r"metadata has no 'ferlite_bundle'.*export it"):
        bundles.find(lone)
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(ModelError, match=f"give the folder {tmp_path}"):
        bundles.find(lone)
    lone.write_bytes(tiny_model.network(metadata={"ferlite_bundle": "{}"}))
    with pytest.raises(ModelError, match=r"model.onnx \(metadata .*field task is missing"):
        bundles.find(lone)


def test_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path / "came-with-ferlite")
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path / "home"))
    with pytest.raises(ModelError, match="no model 'mine'; installed: none"):
        bundles.find("mine")
    tiny_model.write_bundle(tmp_path / "home" / "models" / "mine", name="of-user")
    assert bundles.find("mine").name == "of-user"
    with pytest.raises(ModelError, match="no model 'yours'; installed: mine"):
        bundles.find("yours")
    # What came with ferlite counts first; a folder of the same name must be written as a path.
    tiny_model.write_bundle(tmp_path / "came-with-ferlite" / "mine", name="of-ferlite")
    tiny_model.write_bundle(tmp_path / "mine", name="of-folder")
    monkeypatch.chdir(tmp_path)
    assert bundles.find("mine").name == "of-ferlite"
    assert bundles.find("./mine").name == "of-folder"
    assert bundles.find(str(tmp_path / "mine")).name == "of-folder"
    assert [bundle.name for bundle in bundles.installed()] == ["of-ferlite"]


def test_a_broken_installed_model_is_logged_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path)
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path / "home"))
    tiny_model.write_bundle(tmp_path / "good")
    tiny_model.write_bundle(tmp_path / "bad", temperature=-1)
    assert [bundle.path.name for bundle in bundles.installed()] == ["good"]
    assert "field temperature is -1" in caplog.text


def test_not_a_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no bundle.json in this folder"):
        bundles.find(tmp_path)
    picture = tmp_path / "face.png"
    picture.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"face.png: not a model"):
        bundles.find(picture)
    for nothing in ("", "a\0b", "no/such/folder"):
        with pytest.raises(ModelError):
            bundles.find(nothing)


def test_user_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FERLITE_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert bundles.user_dir() == tmp_path / "ferlite" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bundles.user_dir() == tmp_path / ".local" / "share" / "ferlite" / "models"


def test_import_costs_nothing() -> None:
    code = (
        "import sys, ferlite, ferlite.bundles;"
        "print({'cv2', 'onnxruntime', 'av', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FERLITE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert bundles.find("emotion").task == "emotion"
    assert "emotion" in bundles.installed_names()
    with pytest.raises(ModelError, match="no home folder; set FERLITE_HOME"):
        bundles.user_dir()
