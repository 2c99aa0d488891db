"""Optimised networks on disk: the same answers, and never a failure."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from numpy.typing import NDArray

from ferlite import bundles, cache, graphs, session
from ferlite.emotion import EmotionClassifier
from ferlite.errors import ModelError

NETWORK = tiny_model.network(int8=True, metadata={"colour": "blue"})
DIGEST = hashlib.sha256(NETWORK).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ferlite" / "graphs"


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each session was built of, in order."""
    built: list[int] = []
    build = session._build

    def noted(data: bytes, *rest: object) -> object:
        built.append(len(data))
        return build(data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "_build", noted)
    return built


def opened(data: bytes = NETWORK) -> session.Session:
    return session.create(data, threads=1, digest=hashlib.sha256(data).hexdigest())


def answer(made: session.Session) -> NDArray[np.float32]:
    return made.run(np.random.default_rng(0).random((5, 16, 16, 1), np.float32))[0]


def test_the_second_session_is_made_of_the_kept_one(folder: Path, levels: list[int]) -> None:
    plain = session.create(NETWORK, threads=1)
    assert not folder.exists()
    first = opened()
    (file,) = folder.iterdir()
    second = opened()
    assert levels == [len(NETWORK), len(NETWORK), file.stat().st_size]
    for made in (first, second):
        np.testing.assert_array_equal(answer(made), answer(plain))
        for name in ("metadata", "input_name", "input_shape", "input_type", "output_shape"):
            assert getattr(made, name) == getattr(plain, name)
    assert [file] == list(folder.iterdir())


@pytest.mark.parametrize("model", ["emotion", "face"])
def test_packaged_networks_answer_to_the_bit(model: str) -> None:
    if model not in bundles.installed_names():
        pytest.skip(f"no models/{model} in this checkout")
    bundle = bundles.find(model)
    shape = {"emotion": (3, 48, 48, 1), "face": (1, 96, 160, 3)}[model]
    noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    for name, digest in bundle.files.items():
        if not name.endswith(".onnx"):
            continue
        data = bundle.load(name)
        plain = session.create(data, threads=2)
        batch = noise if "uint8" in plain.input_type else noise.astype(np.float32) / 64 - 2
        session.create(data, threads=2, digest=digest)
        assert graphs.load(digest) is not None
        kept = session.create(data, threads=2, digest=digest)
        for one, other in zip(kept.run(batch), plain.run(batch), strict=True):
            np.testing.assert_array_equal(one, other)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def replace(file: Path) -> None:
    """By another network that takes and gives the same."""
    file.write_bytes(tiny_model.network())


@pytest.mark.parametrize("damage", [truncate, flip, replace, lambda file: file.write_bytes(b"")])
def test_a_damaged_file_is_never_loaded(
    folder: Path, levels: list[int], damage: Callable[[Path], None]
) -> None:
    right = answer(opened())
    (file,) = folder.iterdir()
    good = file.read_bytes()
    damage(file)
    levels.clear()
    np.testing.assert_array_equal(answer(opened()), right)
    assert levels == [len(NETWORK)]
    assert [one.read_bytes() for one in folder.iterdir()] == [good]


def test_a_verified_file_that_the_runtime_cannot_take(folder: Path, levels: list[int]) -> None:
    file = graphs.begin(DIGEST, 4)
    assert file is not None
    file.write_bytes(b"junk")
    graphs.keep(DIGEST, file)
    assert graphs.load(DIGEST) == b"junk"
    assert answer(opened()).shape == (5, 8)
    assert levels == [4, len(NETWORK)]
    # It is gone, and the right one in its place.
    (kept,) = folder.iterdir()
    assert kept.stat().st_size > 4
    opened()
    assert levels[2:] == [kept.stat().st_size]


def test_another_network_in_its_place_is_found_out(folder: Path, tmp_path: Path) -> None:
    bundle = bundles.find(tiny_model.write_bundle(tmp_path / "tiny", int8=True))
    digest = bundle.files[bundle.precisions["int8"]]
    file = graphs.begin(digest, 4)
    assert file is not None
    file.write_bytes(tiny_model.negation())
    graphs.keep(digest, file)
    for _ in range(2):
        classifier = EmotionClassifier(bundle, provider="cpu", precision="int8")
        assert classifier.precision == "int8"
        assert graphs.load(digest) != tiny_model.negation()


def test_files_that_others_can_write_to_are_not_loaded(folder: Path) -> None:
    opened()
    (file,) = folder.iterdir()
    assert graphs.load(DIGEST) is not None
    file.chmod(0o666)
    assert graphs.load(DIGEST) is None
    file.chmod(0o600)
    target = file.rename(folder / "elsewhere")
    file.symlink_to(target)
    assert graphs.load(DIGEST) is None
    file.unlink()
    os.mkfifo(file)
    assert graphs.load(DIGEST) is None


@pytest.mark.parametrize("name", ["x" * 300, "no\x01" * 2000])
def test_a_folder_that_cannot_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    assert answer(opened()).shape == (5, 8)


def test_nothing_is_kept_of_what_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="not a usable ONNX model"):
        opened(b"junk")
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert answer(opened()).shape == (5, 8)


def test_a_full_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime itself meets it when it writes."""
    monkeypatch.setattr(graphs, "begin", lambda digest, size: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    assert answer(opened()).shape == (5, 8)
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


def test_a_rename_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert answer(opened()).shape == (5, 8)
    assert list(folder.iterdir()) == []


def test_large_networks_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LARGEST_BYTES", len(NETWORK) - 1)
    opened()
    assert not folder.exists()


def test_it_stays_small_and_keeps_what_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MOST_FILES", 3)
    for number in range(6):
        file = graphs.begin(f"{number}", 9)
        assert file is not None
        file.write_bytes(b"x" * 100)
        os.utime(file, (number, number))
        graphs.keep(f"{number}", file)
        if number:
            assert graphs.load("0") == b"x" * 100
    assert len(list(folder.iterdir())) == 3
    assert [number for number in range(6) if graphs.load(f"{number}")] == [0, 4, 5]
    monkeypatch.setattr(graphs, "MOST_BYTES", 250)
    file = graphs.begin("big", 9)
    assert file is not None
    file.write_bytes(b"x" * 200)
    graphs.keep("big", file)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("what", ["processor", "instructions"])
def test_another_machine_makes_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    opened()
    monkeypatch.setattr(cache, what, lambda: "another")
    assert graphs.load(DIGEST) is None
    opened()
    assert len(list(folder.iterdir())) == 2


def test_another_runtime_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    opened()
    assert graphs.load(DIGEST) is not None
    monkeypatch.setattr(onnxruntime, "__version__", "0.1")
    assert graphs.load(DIGEST) is None


def test_several_processes_at_once(folder: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_bytes(NETWORK)
    code = f"""
import numpy as np
from ferlite import session
for _ in range(5):
    made = session.create({str(network)!r}, threads=1, digest={DIGEST!r})
    print(made.run(np.ones((1, 16, 16, 1), np.float32))[0].tobytes().hex())
"""
    root = Path(session.__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    printed = {line for one in running for line in one.communicate(timeout=120)[0].split()}
    assert [one.returncode for one in running] == [0, 0, 0]
    assert len(printed) == 1
    assert graphs.load(DIGEST) is not None
    assert all(file.suffix == ".onnx" for file in folder.iterdir())
