from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
from numpy.typing import NDArray

from ferlite import bundles, crops, emotion, session
from ferlite.bundles import CropGeometry
from ferlite.emotion import EmotionClassifier, squares
from ferlite.errors import ModelError, UsageError

Portraits = dict[str, NDArray[np.uint8]]
BOXES = np.array([[177, 66, 95, 95], [20, 30, 60, 90], [-40, -10, 80, 70]], np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def classifier(folder: Path, precision: str = "fp32", **changes: Any) -> EmotionClassifier:
    tiny_model.write_bundle(folder, **changes)
    return EmotionClassifier(bundles.find(folder), provider="cpu", precision=precision)


def rewrite(folder: Path, network: bytes) -> bundles.Bundle:
    """A lone .onnx with the tiny description and another network."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(network)
    return bundles.find(path)


def described(**changes: Any) -> dict[str, str]:
    return {bundles.METADATA_KEY: json.dumps(tiny_model.facts(**changes))}


def test_squares() -> None:
    box = np.array([[100, 200, 40, 60]], np.float32)
    assert squares(box, CropGeometry()).tolist() == [[90, 200, 60, 60]]
    moved = squares(box, CropGeometry(scale=1.5, dx=0.1, dy=-0.2))
    np.testing.assert_allclose(moved, [[79, 173, 90, 90]], rtol=1e-6)
    assert squares(np.zeros((0, 4), np.float32), CropGeometry()).shape == (0, 4)


def test_probabilities_are_the_softmax_of_the_networks_logits(
    tmp_path: Path, portraits: Portraits
) -> None:
    """The same by hand: the bundle's crop, its scaling, the network alone, the temperature."""
    tiny = classifier(tmp_path / "tiny")
    image = portraits["astronaut"]
    boxes = squares(BOXES, CropGeometry(1.1, 0.0, 0.04))
    pixels = crops.crop_faces(image, boxes, size=(16, 16), dtype="float32")
    network = session.create(tmp_path / "tiny" / "model.onnx", provider="cpu")
    logits = network.run(pixels / np.float32(64) - np.float32(2))[0] / 1.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = tiny.run(tiny.crop(image, BOXES, "haar"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # The faces differ, and so does the geometry of a detector the bundle does not know.
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(found - tiny.run(tiny.crop(image, BOXES, "other"))).max() > 1e-3


def test_one_run_equals_single_faces(tmp_path: Path, portraits: Portraits) -> None:
    tiny = classifier(tmp_path / "tiny")
    image = portraits["hopper"]
    together = tiny.run(tiny.crop(image, BOXES, "haar"))
    for row, box in zip(together, BOXES, strict=True):
        alone = tiny.run(tiny.crop(image, box[None], "haar"))[0]
        np.testing.assert_allclose(alone, row, atol=1e-6)
    assert tiny.run(tiny.crop(image, BOXES[:0], "haar")).shape == (0, 8)


def test_large_batches_run_in_parts(
    tmp_path: Path, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = classifier(tmp_path / "tiny")
    boxes = np.tile(BOXES, (4, 1))
    whole = tiny.run(tiny.crop(portraits["hopper"], boxes))
    monkeypatch.setattr(emotion, "MAX_BATCH", 5)
    np.testing.assert_allclose(tiny.run(tiny.crop(portraits["hopper"], boxes)), whole, atol=1e-6)


def test_grey_pictures_are_taken_as_they_are(tmp_path: Path, portraits: Portraits) -> None:
    import cv2

    tiny = classifier(tmp_path / "tiny")
    gray = np.asarray(cv2.cvtColor(portraits["astronaut"], cv2.COLOR_BGR2GRAY), np.uint8)
    np.testing.assert_allclose(
        tiny.run(tiny.crop(gray, BOXES)),
        tiny.run(tiny.crop(np.repeat(gray[:, :, None], 3, axis=2), BOXES)),
        atol=1e-4,
    )


def test_eyes_are_turned_level_where_the_bundle_asks(tmp_path: Path, portraits: Portraits) -> None:
    import cv2

    geometry = {"haar": {"scale": 1.0, "dx": 0.0, "dy": 0.0, "rotate": True}}
    level = classifier(tmp_path / "level", crop=geometry)
    image = portraits["astronaut"]
    box = np.array([[177, 66, 95, 95]], np.float32)
    centre = (177 + 95 / 2, 66 + 95 / 2)
    eyes = np.array([[200.0, 101.8], [247.0, 101.8], [220, 124], [199, 143], [240, 144]])
    points = eyes[None].astype(np.float32)
    upright = level.crop(image, box, "haar", points)
    # OpenCV turns counter-clockwise for positive angles: the head falls to its side by 30 degrees.
    turn = cv2.getRotationMatrix2D(centre, -30, 1.0)
    tilted = np.asarray(cv2.warpAffine(image, turn, (512, 512)), np.uint8)
    tilted_points = (eyes @ turn[:, :2].T + turn[:, 2])[None].astype(np.float32)
    assert tilted_points[0, 1, 1] > tilted_points[0, 0, 1] + 10
    found = level.crop(tilted, box, "haar", tilted_points)
    left_alone = level.crop(tilted, box, "haar", None)
    assert np.abs(found - upright).mean() < 0.2 * np.abs(left_alone - upright).mean()


def test_output_that_is_probabilities_already(tmp_path: Path, portraits: Portraits) -> None:
    import onnx
    from onnx import helper

    model = onnx.load_from_string(tiny_model.network(metadata=described(output="probabilities")))
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=1))
    bundle = rewrite(tmp_path / "soft", model.SerializeToString())
    soft = EmotionClassifier(bundle, provider="cpu", precision="fp32")
    hard = classifier(tmp_path / "tiny")
    image = portraits["astronaut"]
    np.testing.assert_allclose(
        soft.run(soft.crop(image, BOXES, "haar")),
        hard.run(hard.crop(image, BOXES, "haar")),
        atol=1e-5,
    )


def test_what_a_row_says(tmp_path: Path) -> None:
    tiny = classifier(tmp_path / "tiny", labels=["calm", "cross", "glad"])
    sure = tiny.emotion(np.array([0.1, 0.2, 0.7], np.float32))
    assert (sure.label, sure.uncertain) == ("glad", False)
    assert sure.confidence == pytest.approx(0.7)
    assert sure.emotions == pytest.approx({"calm": 0.1, "cross": 0.2, "glad": 0.7})
    torn = tiny.emotion(np.array([0.35, 0.39, 0.26], np.float32))
    assert (torn.label, torn.uncertain) == ("cross", True)


def test_precision_by_name(tmp_path: Path) -> None:
    tiny = classifier(tmp_path / "tiny", "int8")
    assert (tiny.precision, tiny.file, tiny.choice) == ("int8", "model.int8.onnx", None)
    with pytest.raises(UsageError, match="unknown precision 'fp16'; use one of auto, fp32, int8"):
        EmotionClassifier(tiny.bundle, precision="fp16")
    alone = tiny_model.write_bundle(tmp_path / "alone", int8=False)
    with pytest.raises(ModelError, match="has no int8 network, only fp32"):
        EmotionClassifier(bundles.find(alone), precision="int8")
    assert EmotionClassifier(bundles.find(alone)).precision == "fp32"


def test_auto_takes_the_faster(tmp_path: Path, portraits: Portraits) -> None:
    auto = classifier(tmp_path / "tiny", "auto")
    assert auto.choice is not None and auto.choice.way.precision == auto.precision
    named = EmotionClassifier(auto.bundle, provider="cpu", precision=auto.precision)
    image = portraits["hopper"]
    np.testing.assert_array_equal(
        auto.run(auto.crop(image, BOXES)), named.run(named.crop(image, BOXES))
    )


def test_a_damaged_network_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.write_bundle(tmp_path / "tiny")
    for name, precision in (("model.int8.onnx", "int8"), ("model.onnx", "fp32")):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(ModelError, match=f"{name}: SHA-256"):
            EmotionClassifier(bundles.find(folder), precision=precision)


@pytest.mark.parametrize(
    ("network", "changes", "shown"),
    [
        ({}, {"labels": ["a", "b"]}, r"gives \[n, 8\], no classifier of 2 labels"),
        ({"batch": 1}, {}, r"takes tensor\(float\) \[1, 16, 16, 1\]"),
        ({}, {"input": tiny_model.facts()["input"] | {"width": 48}}, r"\[n, 16, 48, 1\]"),
        ({}, {"input": tiny_model.facts()["input"] | {"layout": "NCHW"}}, r"\[n, 1, 16, 16\]"),
        ({}, {"input": tiny_model.facts()["input"] | {"color": "bgr"}}, r"\[n, 16, 16, 3\]"),
        ({}, {"input": tiny_model.facts()["input"] | {"dtype": "uint8"}}, r"tensor\(uint8\)"),
    ],
)
def test_a_network_that_is_not_what_its_description_says(
    tmp_path: Path, network: dict[str, Any], changes: dict[str, Any], shown: str
) -> None:
    data = tiny_model.network(metadata=described(**changes), **network)
    with pytest.raises(ModelError, match=shown):
        EmotionClassifier(rewrite(tmp_path / "odd", data), provider="cpu")


def test_an_onnx_that_is_no_classifier(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    model = onnx.load_from_string(tiny_model.negation())
    helper.set_model_props(model, described())
    with pytest.raises(ModelError, match=r"takes tensor\(float\) \[1\]"):
        EmotionClassifier(rewrite(tmp_path / "neg", model.SerializeToString()), provider="cpu")


def test_shapes_that_are_free_are_tried(tmp_path: Path) -> None:
    """Outputs that declare nothing but give the wrong number of labels."""
    import onnx

    model = onnx.load_from_string(tiny_model.network(metadata=described(labels=["a", "b"])))
    for side in model.graph.output[0].type.tensor_type.shape.dim:
        side.dim_param = "free"
    bundle = rewrite(tmp_path / "free", model.SerializeToString())
    with pytest.raises(ModelError, match=r"gives \[(2|n|free), 8\]"):
        EmotionClassifier(bundle, provider="cpu")


def test_scores_that_are_no_numbers(tmp_path: Path, portraits: Portraits) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(tiny_model.network(metadata=described()))
    bias = next(one for one in model.graph.initializer if one.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(8, np.nan, np.float32), "bias"))
    broken = EmotionClassifier(rewrite(tmp_path / "nan", model.SerializeToString()))
    with pytest.raises(ModelError, match="not a finite number"):
        broken.run(broken.crop(portraits["hopper"], BOXES))


def test_many_threads_agree(tmp_path: Path, portraits: Portraits) -> None:
    tiny = classifier(tmp_path / "tiny")
    image = portraits["astronaut"]
    expected = tiny.run(tiny.crop(image, BOXES, "haar"))
    different: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            if not np.allclose(tiny.run(tiny.crop(image, BOXES, "haar")), expected, atol=1e-6):
                different.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


def test_no_run_is_larger_than_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = classifier(tmp_path / "tiny")
    sizes, run = list[int](), made._session.run

    def watched(batch: NDArray[Any]) -> Any:
        sizes.append(len(batch))
        return run(batch)

    monkeypatch.setattr(made._session, "run", watched)
    monkeypatch.setattr(emotion, "MAX_BATCH", 5)
    made.run(np.zeros((12, *made.bundle.input.shape), np.float32))
    assert sizes == [5, 5, 2]


def test_what_is_uncertain_is_the_bundles_word(tmp_path: Path) -> None:
    row = np.array([0.6, 0.4] + [0.0] * 6, np.float32)
    for below, uncertain in ((0.59, False), (0.7, True)):
        made = classifier(tmp_path / str(below), uncertain_below=below)
        assert made.emotion(row).uncertain is uncertain
