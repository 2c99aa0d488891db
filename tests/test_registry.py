"""A user's own models: what is taken, what is refused, and that nothing is left of the latter."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_face
import tiny_model
from command import PACKAGE_ROOT
from model_server import serve

from ferlite import bundles, registry, staging
from ferlite.errors import FerliteError, ModelError, SinkError, UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's models, not there yet."""
    monkeypatch.setenv("FERLITE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home" / "models"


@pytest.fixture
def lone(tiny: Path, tmp_path: Path) -> Path:
    """A file that describes itself, under a name of its own."""
    return shutil.copy(tiny / "model.onnx", tmp_path / "face reader.onnx")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def version(folder: Path, number: str) -> Path:
    """Another model of the name "tiny"."""
    return tiny_model.write_bundle(folder, version=number)


def test_a_file_that_describes_itself(home: Path, lone: Path) -> None:
    added = registry.add(lone)
    assert added.changed
    assert added.bundle.path == home / "tiny"
    assert added.bundle == bundles.find("tiny")
    assert names(home) == ["tiny"]
    assert names(home / "tiny") == ["bundle.json", "model.onnx"]
    assert added.bundle.files == {"model.onnx": sha256(lone)}
    added.bundle.verify()
    about = json.loads((home / "tiny" / "bundle.json").read_text())
    assert about.pop("files") == {"model.onnx": {"sha256": sha256(lone)}}
    assert about == tiny_model.facts()
    # Readable by whom the user's other files are.
    assert (home / "tiny").stat().st_mode & 0o777 == home.stat().st_mode & 0o777


def test_an_int8_file_stays_one(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.INT8.onnx"
    metadata = {"ferlite_bundle": json.dumps(tiny_model.facts())}
    path.write_bytes(tiny_model.network(int8=True, metadata=metadata))
    assert registry.add(path).bundle.precisions == {"int8": "model.int8.onnx"}


def test_a_folder(home: Path, tiny: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny, tmp_path / "mine"))
    (source / "README.md").write_text("the card")
    (source / "weights.keras").write_text("not for running")
    added = registry.add(source, name="my-own")
    assert added.bundle.name == "tiny"
    expected = ["README.md", "bundle.json", "model.int8.onnx", "model.onnx"]
    assert names(home / "my-own") == expected
    for name in expected:
        assert (home / "my-own" / name).read_bytes() == (source / name).read_bytes()


def test_a_url(home: Path, lone: Path) -> None:
    with serve({"m.onnx": lone.read_bytes()}) as server:
        added = registry.add(server.url("good/m.onnx"), sha256=sha256(lone).upper())
        assert added.bundle.path == home / "tiny"
        assert names(home / "tiny") == ["bundle.json", "model.onnx"]
        again = registry.add(server.url("good/m.onnx"), sha256=sha256(lone), name="tiny")
        assert not again.changed
        assert len(server.requests) == 1  # not fetched in vain
        with pytest.raises(ModelError, match="another model 'tiny' is installed"):
            registry.add(server.url("good/m.onnx"), sha256="0" * 64, name="tiny")
        assert len(server.requests) == 1


def test_the_same_again_and_another(home: Path, tiny: Path, tmp_path: Path) -> None:
    registry.add(tiny)
    before = (home / "tiny").stat()
    assert not registry.add(tiny).changed
    assert os.path.samestat((home / "tiny").stat(), before)
    other = version(tmp_path / "other", "2.0.0")
    with pytest.raises(
        ModelError, match=r"another model 'tiny' is installed in .*--force replaces"
    ):
        registry.add(other)
    assert bundles.find("tiny").version == "1.0.0"
    added = registry.add(other, force=True)
    assert (added.changed, added.bundle.version) == (True, "2.0.0")
    assert names(home) == ["tiny"]
    # What is there may be broken; force mends it.
    (home / "tiny" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(ModelError, match="another model"):
        registry.add(other)
    assert registry.add(other, force=True).changed
    bundles.find("tiny").verify()
    assert names(home) == ["tiny"]


def test_force_replaces_no_other_folder(home: Path, tiny: Path) -> None:
    (home / "notes").mkdir(parents=True)
    (home / "notes" / "diary.txt").write_text("dear diary")
    for force in (False, True):
        with pytest.raises(ModelError, match="notes is there and is no model; move it, or"):
            registry.add(tiny, name="notes", force=force)
    assert names(home / "notes") == ["diary.txt"]


def test_a_failed_replacement_puts_the_old_one_back(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(tiny)
    other = version(tmp_path / "other", "2.0.0")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "model":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        registry.add(other, force=True)
    assert bundles.find("tiny").version == "1.0.0"
    assert names(home) == ["tiny"]


def network(**metadata: str) -> bytes:
    return tiny_model.network(metadata=metadata or None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"not a network", "not a usable ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer and not the"),
        (b"\n<!DOCTYPE html><title>model</title>", "it is a web page and not the model"),
        (network(), "is not known, and no 'ferlite_bundle' in its metadata"),
        (network(ferlite_bundle="{}"), "field task is missing"),
        (network(ferlite_bundle="[" * 10000), "not valid JSON"),
        (network(ferlite_bundle=json.dumps(tiny_model.facts(version=3))), "field version is 3"),
        (
            network(ferlite_bundle=json.dumps(tiny_model.facts(name="../up"))),
            "calls itself '../up', which is no name for a folder; choose one with --name",
        ),
    ],
)
def test_files_that_are_no_models(home: Path, tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    sources: list[Callable[[], object]] = [lambda: registry.add(path)]
    with serve({"m.onnx": data}) as server:
        url, digest = server.url("good/m.onnx"), hashlib.sha256(data).hexdigest()
        sources.append(lambda: registry.add(url, sha256=digest))
        for source, name in zip(sources, (str(path), url), strict=True):
            with pytest.raises(FerliteError) as caught:
                source()
            message = str(caught.value)
            assert words in message or "empty" in words
            # The user's file is named, not the copy.
            assert name in message
            assert ".part" not in message
            assert names(home) == []


def test_folders_that_are_no_models(home: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no bundle.json in this folder"):
        registry.add(tmp_path)
    source = Path(shutil.copytree(tiny, tmp_path / "mine"))
    with pytest.raises(ModelError, match="give the folder it is in"):
        registry.add(source / "bundle.json")
    (source / "model.int8.onnx").write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"mine/model.int8.onnx: SHA-256 is "):
        registry.add(source)
    # A checksum that is right makes no network of it.
    about = json.loads((source / "bundle.json").read_text())
    about["files"]["model.int8.onnx"]["sha256"] = sha256(source / "model.int8.onnx")
    (source / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=f"^{source}/model.int8.onnx: not a usable ONNX model"):
        registry.add(source)
    assert names(home) == []


def test_a_network_that_is_not_what_it_says(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(
        tiny_model.network(labels=7, metadata={"ferlite_bundle": json.dumps(tiny_model.facts())})
    )
    with pytest.raises(ModelError, match=f"{path}.*no classifier of 8 labels"):
        registry.add(path)
    with pytest.raises(ModelError, match="File name too long"):
        registry.add(tmp_path / f"{'x' * 300}.onnx")
    assert names(home) == []


def test_what_is_neither_file_nor_folder(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match=r"pipe.onnx is neither a file nor a folder"):
        registry.add(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match=r"none.onnx: no such file or folder"):
        registry.add(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"^'.*/a\\nb.onnx': no such file"):
        registry.add(tmp_path / "a\nb.onnx")
    assert names(home) == []


@pytest.mark.parametrize("way", ["good", "truncated", "status/404", "drip", "endless", "huge"])
def test_nothing_is_left_of_a_wrong_download(
    home: Path, lone: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_MODEL_BYTES", 1 << 20)
    with serve({"m.onnx": lone.read_bytes()}) as server, pytest.raises(ModelError) as caught:
        path = way if "/" in way else f"{way}/m.onnx"
        registry.add(server.url(path), sha256="0" * 64, timeout_s=0.5)
    if way == "good":
        words = f"good/m.onnx: SHA-256 is {sha256(lone)}, but {'0' * 64} is expected; the file is"
        assert words in str(caught.value)
    assert names(home) == []


def test_a_checksum_that_a_local_file_has_not(home: Path, lone: Path) -> None:
    with pytest.raises(ModelError, match=f"SHA-256 is {sha256(lone)}, but {'1' * 64} is expected"):
        registry.add(lone, sha256="1" * 64)
    assert names(home) == []
    assert registry.add(lone, sha256=f" {sha256(lone)}\n").changed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sha256": "abc"}, "--sha256 is 'abc'; needed: 64 hex digits, as `sha256sum FILE` prints"),
        ({"sha256": "0" * 64}, "is a folder, and its bundle.json states the checksums"),
        ({"name": "../up"}, "'../up' is no name for a model; use letters"),
        ({"name": ""}, "'' is no name for a model"),
        ({"name": ".hidden"}, "'.hidden' is no name"),
        ({"name": "a.ONNX"}, "not ending in .onnx"),
        ({"name": "n" * 65}, "at most 64"),
        ({"name": "emotion"}, "model 'emotion' came with ferlite; choose another name"),
        ({"name": "haar"}, "'haar' means the detector in ferlite; choose another name"),
        ({"timeout_s": 0}, "timeout is 0; use 0.1 to 3600 seconds"),
    ],
)
def test_wrong_arguments(home: Path, tiny: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(FerliteError) as caught:
        registry.add(tiny, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert names(home) == []


def test_a_url_without_a_checksum(home: Path) -> None:
    with serve({}) as server:
        with pytest.raises(UsageError, match=r"no checksum is known for 'm.onnx': add --sha256"):
            registry.add(server.url("good/m.onnx"))
        # The official file's name stands for its checksum; this one is another file.
        server.files = {"face_detection_yunet_2023mar.onnx": b"version https://git-lfs.github.com"}
        with pytest.raises(ModelError, match=r"8f2383e4dd3c.* is expected; it is a Git LFS point"):
            registry.add(server.url("good/face_detection_yunet_2023mar.onnx?raw=true"))
        assert len(server.requests) == 1
    assert names(home) == []


def test_a_folder_that_cannot_be_written(home: Path, tiny: Path) -> None:
    home.parent.write_text("a file in the way")
    with pytest.raises(SinkError, match=f"cannot write in {home}: Not a directory; .*FERLITE_HOME"):
        registry.add(tiny)


def test_remove(home: Path, tiny: Path) -> None:
    registry.add(tiny)
    registry.add(tiny, name="second")
    assert registry.remove("tiny") == home / "tiny"
    assert names(home) == ["second"]
    with pytest.raises(ModelError, match=f"no model 'tiny' in {home}; there: second"):
        registry.remove("tiny")
    (home / "second" / "bundle.json").write_text("broken")
    registry.remove("second")
    with pytest.raises(ModelError, match="there: none"):
        registry.remove("second")
    with pytest.raises(ModelError, match="'emotion' came with ferlite and cannot be removed"):
        registry.remove("emotion")
    with pytest.raises(UsageError, match="no name for a model"):
        registry.remove("../models")


def test_removing_a_link_leaves_what_it_points_to(home: Path, tiny: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny, tmp_path / "mine"))
    home.mkdir(parents=True)
    (home / "linked").symlink_to(source)
    registry.remove("linked")
    assert names(home) == []
    assert names(source) == names(tiny)


def test_what_a_killed_process_left_goes_at_the_next(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "models_dir", lambda: tmp_path / "none")
    with staging.working_folder(home) as used:
        for name in (".ferlite-part-old", ".ferlite-part-young"):
            version(home / name / "model", "0.0.1")
        version(used / "model", "0.0.1")
        an_hour_ago = time.time() - 3600
        for folder in (home / ".ferlite-part-old", used):
            os.utime(folder, (an_hour_ago, an_hour_ago))
        # A model is none before it is in its place.
        assert bundles.installed_names() == []
        registry.add(tiny)
        assert names(home) == sorted([".ferlite-part-young", used.name, "tiny"])
    assert names(home) == [".ferlite-part-young", "tiny"]


ADD = """
import sys, time
from ferlite import bundles, registry
from ferlite.errors import ModelError
time.sleep(max(0, float(sys.argv[1]) - time.time()))
for _ in range(int(sys.argv[3])):
    try:
        added = registry.add(sys.argv[2], force="force" in sys.argv)
        print("added" if added.changed else "there")
    except ModelError as error:
        assert "another model" in str(error), error
        print("refused")
"""


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_at_once(home: Path, tmp_path: Path, force: bool) -> None:
    sources = [version(tmp_path / number, number) for number in ("1.0.0", "2.0.0")]
    start = str(time.time() + 2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, start, source, "20", "force" if force else ""],
            env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for source in sources
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    if force:
        assert outputs == [["added"] * 20] * 2
    else:
        # One of them was first; who was not, was told each time.
        first, second = sorted(outputs)
        assert first == ["added"] + ["there"] * 19
        assert second == ["refused"] * 20
    bundle = bundles.find("tiny")
    assert bundle.version in ("1.0.0", "2.0.0")
    bundle.verify()
    assert names(home) == ["tiny"]


@pytest.mark.shared
def test_yunet_is_known(home: Path, shared: Path) -> None:
    file = shared / "models" / "face_detection_yunet_2023mar.onnx"
    added = registry.add(file)
    assert added.bundle.path == home / "yunet"
    about = added.bundle
    assert (about.name, about.task, about.version) == ("yunet", "face", "2023mar")
    assert about.license == "MIT"
    registry.remove("yunet")
    with serve({file.name: file.read_bytes(), "renamed.onnx": file.read_bytes()}) as server:
        assert registry.add(server.url(f"good/{file.name}")).bundle.files == about.files
        assert not registry.add(server.url(f"good/{file.name}")).changed
        with pytest.raises(UsageError, match="no checksum is known for 'renamed"):
            registry.add(server.url("good/renamed.onnx"))
        url = server.url("good/renamed.onnx")
        assert registry.add(url, sha256=sha256(file), name="copy").bundle.name == "yunet"
    with pytest.raises(ModelError, match="is not known"):
        registry.add(shared / "models" / "yunet_n_dynamic.onnx")


@pytest.mark.shared
def test_an_added_yunet_finds_faces(home: Path, shared: Path, portraits: dict[str, object]) -> None:
    from ferlite.faces import open_detector

    registry.add(shared / "models" / "face_detection_yunet_2023mar.onnx")
    found = open_detector("yunet").detect(portraits["astronaut"])  # type: ignore[arg-type]
    assert len(found.boxes) == 1
    assert found.scores[0] > 0.8


def test_a_detector_that_lacks_an_output(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    about = {"ferlite_bundle": json.dumps(tiny_face.facts())}
    path.write_bytes(tiny_face.network(strides=(8, 16), metadata=about))
    with pytest.raises(ModelError, match=f"{path}.*output stride32 is missing"):
        registry.add(path)
