"""Provider openvino: it really runs, and it answers as the CPU provider does.

`onnxruntime-openvino` replaces `onnxruntime`, the plugin of the extra `openvino` adds to it:
`nox -s openvino` runs these tests in an environment for each. In the first nothing is skipped;
with the plugin they run where it shows a device.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiny_face
import tiny_model
from command import ferlite_command
from numpy.typing import NDArray

from ferlite import Analyzer, bundles, precision, session
from ferlite.demo.clip import frames, portrait
from ferlite.emotion import EmotionClassifier
from ferlite.faces import open_detector
from ferlite.faces.anchor_free import AnchorFreeDetector

pytestmark = pytest.mark.openvino

Image = NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def works() -> None:
    """Skips, with the reason, where OpenVINO is not there; fails where it is and does not work."""
    names = {str(one.metadata["Name"]).lower() for one in metadata.distributions()}
    found = {name: (works, why) for name, works, why in session.providers()}
    runs, why = found["openvino"]
    if "onnxruntime-openvino" in names and "onnxruntime" not in names:
        assert runs, why
    elif not runs:
        pytest.skip(why)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MEASURE_S", 0.01)


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    return [portrait("astronaut.jpg"), portrait("hopper.jpg")]


def crops(classifier: EmotionClassifier, pictures: list[Image]) -> NDArray[Any]:
    """128 crops of the two faces, more and less close."""
    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 100, (64, 2))
    boxes = np.hstack([corners, np.repeat(draw.uniform(80, 250, (64, 1)), 2, axis=1)])
    boxes = boxes.astype(np.float32)
    return np.concatenate([classifier.crop(picture, boxes) for picture in pictures])


def both(bundle: bundles.Bundle, kind: str) -> tuple[EmotionClassifier, EmotionClassifier]:
    """The same network on the CPU provider and on OpenVINO."""
    cpu, openvino = (
        EmotionClassifier(bundle, provider=provider, precision=kind, threads=2)
        for provider in ("cpu", "openvino")
    )
    assert (cpu.provider, openvino.provider) == ("cpu", "openvino")
    return cpu, openvino


def test_emotion_network_in_fp32(pictures: list[Image]) -> None:
    """Measured: at most 4e-7."""
    cpu, openvino = both(bundles.find("emotion"), "fp32")
    batch = crops(cpu, pictures)
    np.testing.assert_allclose(openvino.run(batch), cpu.run(batch), atol=1e-4)


def test_emotion_network_in_int8(pictures: list[Image]) -> None:
    """Equal within what quantization itself costs.

    OpenVINO rounds between its integer layers in other places than ONNX Runtime does: of these
    crops a probability differs by at most 0.042, on average by 0.0017. INT8 differs from fp32 by
    0.058 and 0.0020 with OpenVINO, by 0.037 and 0.0020 with the CPU provider.
    """
    cpu, openvino = both(bundles.find("emotion"), "int8")
    batch = crops(cpu, pictures)
    one, other = cpu.run(batch), openvino.run(batch)
    difference = np.abs(one - other)
    assert difference.max() <= 0.08
    assert difference.mean() <= 0.004
    exact = both(bundles.find("emotion"), "fp32")[0].run(batch)
    assert np.abs(other - exact).mean() <= 1.5 * np.abs(one - exact).mean()
    second, first = np.sort(one, axis=1)[:, -2:].T
    clear = first - second > 0.16  # twice the most by which either may move
    assert clear.sum() > 32
    assert (one.argmax(axis=1) == other.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("batch", [1, 3, 300])
def test_batches_of_any_size(tmp_path: Path, batch: int) -> None:
    bundle = bundles.find(tiny_model.write_bundle(tmp_path / "tiny"))
    for kind in ("fp32", "int8"):
        cpu, openvino = both(bundle, kind)
        faces = np.random.default_rng(batch).random((batch, 16, 16, 1), np.float32)
        np.testing.assert_allclose(openvino.run(faces), cpu.run(faces), atol=1e-4)


def test_the_network_itself_runs_on_openvino(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only is the provider listed: ONNX Runtime's own profile names it for every node."""
    made = session._options

    def profiled(threads: int) -> onnxruntime.SessionOptions:
        options = made(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / "profile")
        return options

    monkeypatch.setattr(session, "_options", profiled)
    bundle = bundles.find("emotion")
    for file in bundle.precisions.values():
        opened = session.create(bundle.load(file), provider="openvino", threads=1)
        opened.run(np.zeros((2, *opened.input_shape[1:]), np.float32))  # type: ignore[arg-type]
        events = json.loads(Path(opened._session.end_profiling()).read_text())
        ran = {one["args"]["provider"] for one in events if "provider" in one.get("args", {})}
        assert ran == {"OpenVINOExecutionProvider"}, file


def detectors(model: Path | str, kind: str) -> tuple[AnchorFreeDetector, AnchorFreeDetector]:
    found = []
    for provider in ("cpu", "openvino"):
        one = open_detector(model, provider=provider, precision=kind, threads=2)
        assert isinstance(one, AnchorFreeDetector)
        assert (one.provider, one.models[0]["provider"]) == (provider, provider)
        found.append(one)
    return found[0], found[1]


def test_detector_made_by_hand(tmp_path: Path) -> None:
    """Frames of several sizes, alone and in pairs."""
    model = tiny_face.write_bundle(tmp_path / "face", int8=tiny_face.network())
    for kind in ("fp32", "int8"):
        cpu, openvino = detectors(model, kind)
        for height, width in ((96, 128), (180, 320), (333, 500)):
            image = np.zeros((height, width, 3), np.uint8)
            image[16:80, 32:96] = 255
            for one, other in zip(
                cpu.detect_batch([image, image[::-1]]),
                openvino.detect_batch([image, image[::-1]]),
                strict=True,
            ):
                assert len(one) == len(other) > 0
                np.testing.assert_allclose(other.boxes, one.boxes, atol=0.01)
                np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_detector(kind: str) -> None:
    """The same faces in the demo's frames; in fp32 to a hundredth of a pixel."""
    cpu, openvino = detectors("face", kind)
    near = 0.01 if kind == "fp32" else 4.0  # pixels, of faces some 100 wide
    for index, (_, image) in enumerate(frames(2.0)):
        if index % 10:
            continue
        both = []
        for found in (cpu.detect(image), openvino.detect(image)):
            # Small finds near the threshold come and go with INT8's rounding.
            large = np.flatnonzero(found.boxes[:, 2] >= 60)
            order = large[np.argsort(found.boxes[large, 0])]
            both.append((found.boxes[order], found.scores[order]))
        (boxes, scores), (other_boxes, other_scores) = both
        assert len(boxes) == len(other_boxes) > 0
        np.testing.assert_allclose(other_boxes, boxes, atol=near)
        np.testing.assert_allclose(other_scores, scores, atol=1e-4 if kind == "fp32" else 0.1)


def test_analyzer_says_what_ran(pictures: list[Image]) -> None:
    cpu, openvino = (
        Analyzer("haar", provider=provider, precision="fp32", min_face=64)
        for provider in ("cpu", "openvino")
    )
    for picture in pictures:
        one, other = cpu.analyze(picture), openvino.analyze(picture)
        assert one.faces
        for a, b in zip(one.faces, other.faces, strict=True):
            assert a.box == b.box
            for label, probability in a.emotions.items():
                assert b.emotions[label] == pytest.approx(probability, abs=1e-4)
    about = openvino.description()
    assert about["provider"] == about["models"][0]["provider"] == "openvino"
    assert about["versions"]["onnxruntime"] == onnxruntime.__version__


def test_auto_takes_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both providers with both precisions are measured, and what is faster by far is taken."""
    monkeypatch.setattr(precision, "MEASURE_S", 0.1)
    for opened in (EmotionClassifier(bundles.find("emotion")), open_detector("face")):
        assert isinstance(opened, EmotionClassifier | AnchorFreeDetector)
        choice = opened.choice
        assert choice is not None
        assert choice.way == precision.Way(opened.provider, opened.precision)
        found = {str(one.way): one for one in choice.measured}
        assert set(found) == {
            f"{kind} on {one}" for kind in ("fp32", "int8") for one in ("cpu", "openvino")
        }
        assert found["fp32 on openvino"].difference <= 1e-3
        assert found["int8 on openvino"].difference <= precision.AGREE
        taken = found[str(choice.way)]
        for one in choice.measured:
            worth = precision.WORTH[one.way.provider]
            assert one.difference > precision.AGREE or worth * taken.ms <= one.ms


def test_a_start_that_remembers_opens_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    first = EmotionClassifier(bundles.find("emotion"))
    opened = []
    create = session.create

    def noted(*arguments: Any, **options: Any) -> session.Session:
        opened.append(options["provider"])
        return create(*arguments, **options)

    monkeypatch.setattr(session, "create", noted)
    assert EmotionClassifier(bundles.find("emotion")).choice == first.choice
    assert opened == [first.provider]


def test_command_line(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "face.png"), portrait("astronaut.jpg"))
    arguments = ("face.png", "--provider", "openvino", "--save", "summary,jsonl", "-o", "out")
    done = ferlite_command("detect", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["provider"] == "openvino"
    done = ferlite_command("doctor", "--json", cwd=tmp_path)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["provider openvino"]["state"] == "ok"


def test_bench_measures_it(tmp_path: Path) -> None:
    from ferlite.bench.networks import Networks

    emotion = bundles.find("emotion")
    assert isinstance(emotion, bundles.EmotionBundle)
    face = tiny_face.write_bundle(tmp_path / "face")
    made = Networks(emotion, str(face), providers=["cpu", "openvino"], threads=[2], default=2)
    assert made.unavailable == []
    made.round(0.01)
    for rows in (made.emotion, made.detector):
        ran = [row.to_dict() for row, _ in rows]
        assert {one["provider"] for one in ran} == {"cpu", "openvino"}
        assert all(one["calls"] for one in ran)
        worst = max(one["differs"] for one in ran if one["precision"] == "fp32")
        assert worst <= 1e-4
