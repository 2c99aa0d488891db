"""The face detector from weights to a model folder: what export, calibration and INT8 promise."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_face
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from ferlite import session
from ferlite.bundles import FaceBundle, find
from ferlite.cli import main
from ferlite.errors import ModelError, UsageError
from ferlite.faces import open_detector
from ferlite.training.faces import calibrate
from ferlite.training.faces.calibrate import Seen
from ferlite.training.faces.convert import STEP, Scaling, finish, fix_size
from ferlite.training.faces.photographs import read_photographs
from ferlite.training.graph import rounded

keras_here = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("keras", "tf2onnx")),
    reason="needs pip install 'ferlite[train,quantize]'",
)
pytestmark = [
    # Keras, tf2onnx and Neural Compressor warn of their own future; that is not ours to fix.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIDE = 96


def ferlite(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    print(result.output)
    return result


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 dark pictures, 16 with a bright square that counts as a face; every third is val."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "images").mkdir()
    rng = np.random.default_rng(1)
    entries: list[dict[str, Any]] = []
    for i in range(24):
        image = rng.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
        teacher: list[dict[str, Any]] = []
        if i % 6 < 4:
            x, y = (int(8 * v) for v in rng.integers(2, 6, 2))
            image[y : y + 32, x : x + 32] = 255
            points = [[x + 8, y + 8], [x + 24, y + 8], [x + 16, y + 16], [x + 12, y + 24]]
            teacher = [
                {"box": [x, y, 32, 32], "score": 0.8, "landmarks": [*points, [x + 20, y + 24]]}
            ]
        name = f"{i}.png"
        assert cv2.imwrite(str(root / "images" / name), image)
        entries.append(
            {
                "file": name,
                "width": SIDE,
                "height": SIDE,
                "split": "train" if i % 3 else "val",
                "human": [face["box"] for face in teacher],
                "teacher": teacher,
            }
        )
    (root / "faces.json").write_text(json.dumps(entries))
    return root


@pytest.fixture(scope="module")
def weights(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file whose answers are not those of chance: every weight and norm is set."""
    keras = pytest.importorskip("keras")
    from ferlite.training.faces.network import ferlite_face

    keras.utils.set_random_seed(1)
    model = ferlite_face()
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, n),
                    rng.normal(0, 0.2, n),
                    rng.normal(0, 0.2, n),
                    rng.uniform(0.5, 1.5, n),
                ]
            )
        elif layer.name.startswith("stride"):
            kernel, bias = layer.get_weights()
            bias[0] = 0.0  # half of the cells answer
            layer.set_weights([kernel * 0.3, bias])
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "best.keras")
    (folder / "train.json").write_text(
        json.dumps({"options": {"arch": "ferlite-face", "epochs": 7, "seed": 3}})
    )
    (folder / "history.csv").write_text("epoch,valid_ap,seconds\n1,nan,60\n2,0.5,60\n3,0.4,60\n")
    return folder / "best.keras"


@pytest.fixture(scope="module")
def exported(weights: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "face"
    command = ["export", weights, "--data", photographs, "--out", out, "--detect-size", 96]
    result = ferlite(*command, "--provenance", "Squares drawn by a test")
    assert result.exit_code == 0, result.output
    assert "calibrated on" in result.output and "AP 0.5" in result.output
    return out


@pytest.mark.train
@keras_here
def test_export_gives_a_small_graph_and_a_verified_bundle(exported: Path) -> None:
    import onnx

    bundle = find(exported)
    assert isinstance(bundle, FaceBundle)
    bundle.verify()
    assert (bundle.name, bundle.size, bundle.strides) == ("ferlite-face", 96, (8, 16, 32))
    assert {path.name for path in exported.iterdir()} == {
        "model.onnx",
        "bundle.json",
        "README.md",
        "weights.keras",
    }
    model = onnx.load(str(exported / "model.onnx"))
    kinds = [node.op_type for node in model.graph.node]
    # Nothing but what computes: norms, scaling, shapes and inner transposes are folded away.
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "Conv": 19,
        "Relu": 14,
        "Add": 4,
        "Resize": 2,
        "Cast": 1,
        "Transpose": 1,
    }
    assert [
        d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim
    ] == ["batch", "height", "width", 3]
    assert [out.name for out in model.graph.output] == ["stride8", "stride16", "stride32"]
    assert {p.version for p in model.opset_import if p.domain in ("", "ai.onnx")} == {17}
    facts = json.loads((exported / "bundle.json").read_text())
    assert facts["training"]["best_epoch"] == 2 and facts["training"]["epochs_done"] == 3
    assert facts["metrics"]["n"] == 8 and 0 <= facts["metrics"]["ap50"] <= 1
    card = (exported / "README.md").read_text()
    for expected in ("AP 0.5", "Squares drawn by a test", "--epochs 7", "Platt", "Known biases"):
        assert expected in card
    listed = ferlite("models", "show", exported)
    assert "AP 0.5 " in listed.output and "(n=8, " in listed.output
    # The runtime takes it as its own.
    found = open_detector(str(exported), threshold=0.0).detect(np.zeros((70, 90, 3), np.uint8))
    assert found.landmarks is not None and found.landmarks.shape == (len(found), 5, 2)


@pytest.mark.train
@keras_here
def test_onnx_computes_what_keras_does_at_other_sizes(
    exported: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced at one size; the scaling of the logits is the one difference there may be."""
    from ferlite.training.classifier import load_keras
    from ferlite.training.faces import convert

    facts = json.loads((exported / "bundle.json").read_text())
    scaling = {
        name: Scaling(**one) for name, one in facts["metrics"]["calibration"]["scaling"].items()
    }
    model = load_keras(weights)
    network = session.create(exported / "model.onnx", provider="cpu")
    rng = np.random.default_rng(2)
    batches = [rng.integers(0, 256, (2, 64, 160, 3), np.uint8)]
    batches += [rng.integers(0, 256, (1, 224, 32, 3), np.uint8)]
    with pytest.raises(ModelError, match="differ by"):
        convert.parity(model, network, {name: Scaling(1.0, 0.3) for name in scaling}, batches)
    monkeypatch.setattr(convert, "JUDGED_SCORE", 0.0)
    # The facts round slope and bias to 4 digits.
    monkeypatch.setattr(convert, "SCORE_PARITY", 1e-3)
    score, side = convert.parity(model, network, scaling, batches)
    assert 0 < score < 1e-3 and 0 < side < convert.SIDE_PARITY_PX


@pytest.mark.train
@keras_here
def test_quantize_writes_what_keeps_the_precision(
    exported: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    folder = tmp_path / "face"
    shutil.copytree(exported, folder)
    command = ["quantize", folder, "--data", photographs, "--images", 8, "--engine", "onnxruntime"]
    # Not with what any INT8 loses: photographs of many sizes are no reason for a traceback.
    from ferlite.training.faces import quantize as module

    monkeypatch.setattr(module, "_in_float", lambda network: [[]])
    scores = module.average_precisions
    monkeypatch.setattr(
        module,
        "average_precisions",
        lambda path, *rest: (1.0, 1.0) if path.name == "model.onnx" else (0.0, 0.0),
    )
    result = ferlite(*command, "--max-drop", 0.5)
    assert result.exit_code == 1 and "nothing was written" in result.output
    monkeypatch.setattr(module, "average_precisions", scores)
    result = ferlite(*command, "--max-drop", 1)
    assert result.exit_code == 0, result.output
    bundle = find(folder)
    bundle.verify()
    assert set(bundle.precisions) == {"fp32", "int8"}
    assert (folder / "model.int8.onnx").stat().st_size < 0.5 * (
        folder / "model.onnx"
    ).stat().st_size
    stated = json.loads((folder / "bundle.json").read_text())["metrics"]["int8"]
    assert 0 <= stated["ap50"] <= 1 and stated["calibration_images"] == 8
    assert "| INT8 |" in (folder / "README.md").read_text()
    open_detector(str(folder), precision="int8").detect(np.zeros((64, 64, 3), np.uint8))


def test_int8_that_loses_too_much_is_not_written(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is replaced by one that gives a network with no face in it."""
    pytest.importorskip("onnxruntime.quantization")
    from ferlite.training.faces import quantize as module
    from ferlite.training.int8 import QuantizeOptions

    folder = tiny_face.write_bundle(tmp_path / "face")
    before = (folder / "bundle.json").read_bytes()

    def deaf(aim: Any, target: Path, options: QuantizeOptions) -> None:
        target.write_bytes(tiny_face.network(drift=-100.0))

    monkeypatch.setattr(module, "_in_float", lambda path: [[]])
    monkeypatch.setattr(module, "write_int8", deaf)
    with pytest.raises(ModelError, match="nothing was written"):
        module.quantize_faces(folder, photographs, QuantizeOptions(images=4, max_drop=0.01))
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "bundle.json"}
    assert (folder / "bundle.json").read_bytes() == before


def test_scaling_finds_the_line_that_made_the_answers() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(-1, 2, 30_000)
    strides = np.repeat([8, 16, 32], 10_000)
    true = {8: (2.0, 1.0), 16: (0.5, -1.0), 32: (1.0, 0.0)}
    slope, bias = (np.array([true[s][i] for s in strides]) for i in range(2))
    right = rng.random(30_000) < 1 / (1 + np.exp(-(logits * slope + bias)))
    seen = Seen(logits, strides, right, np.zeros(30_000, bool), 100, 0)
    scaling = calibrate.fit(seen, ["stride8", "stride16", "stride32"])
    for stride, (a, b) in true.items():
        one = scaling[f"stride{stride}"]
        assert one.slope == pytest.approx(a, rel=0.1) and one.bias == pytest.approx(b, abs=0.1)
    before = calibrate.calibration_error(seen.scores(), right)
    after = calibrate.calibration_error(seen.scores(scaling), right)
    assert after < 0.02 < before


def test_scaling_stays_rising_and_shares_where_a_stride_saw_little() -> None:
    logits = np.linspace(-3, 3, 200)
    right = logits < 0  # the wrong way round
    strides = np.r_[np.full(190, 8), np.full(10, 16)]
    seen = Seen(logits, strides, right, np.zeros(200, bool), 10, 0)
    scaling = calibrate.fit(seen, ["stride8", "stride16"])
    assert scaling["stride8"].slope > 0
    whole = calibrate.fit(Seen(logits, np.full(200, 8), right, seen.face_free, 10, 0), ["stride8"])
    assert scaling["stride16"] == whole["stride8"]


def test_threshold_keeps_both_promises() -> None:
    def of(scores: list[float], right: list[bool], free: list[bool], pictures: int) -> float:
        p = np.array(scores)
        seen = Seen(
            np.log(p / (1 - p)), np.full(len(p), 8), np.array(right), np.array(free), 400, pictures
        )
        return calibrate.threshold(seen, {})

    ten = [0.9] * 10
    # One false at 0.505 in pictures with faces: 10 of 11 are right, which is enough.
    assert of([*ten, 0.505], [True] * 10 + [False], [False] * 11, 200) == 0.01
    assert of([*ten, 0.505, 0.3], [True] * 10 + [False] * 2, [False] * 12, 200) == 0.31
    # Two in 100 pictures without a face are one too many; two in 200 are not.
    two = [*ten * 3, 0.605, 0.405], [True] * 30 + [False] * 2, [False] * 30 + [True] * 2
    assert of(*two, 100) == 0.41
    assert of(*two, 200) == 0.01
    assert of([0.995], [False], [False], 0) == 0.99
    # A false one of the highest score stands before twenty right ones.
    assert of([0.995, *ten, *ten], [False] + [True] * 20, [False] * 21, 0) == 0.01


def test_photographs_are_seen_at_both_zooms(photographs: Path) -> None:
    """The tiny network's boxes are 2 cells wide: a square of 32 pixels is a hit of stride 16."""
    network = session.create(tiny_face.network(), provider="cpu", name="tiny")
    chosen = [one for one in read_photographs(photographs) if one.split == "train"]
    seen = calibrate.observe(network, chosen, nms_iou=0.3)
    assert seen.pictures == 2 * len(chosen) == 32
    assert seen.free_pictures == 2 * sum(one.face_free for one in chosen)
    assert not seen.face_free.any()  # dark pictures: nothing found there
    assert set(seen.strides) <= {8, 16, 32} and seen.right.any()
    assert seen.scores().min() >= calibrate.FLOOR


def test_people_excuse_no_wrong_answer_on_a_face_that_is_known(photographs: Path) -> None:
    """A box of stride 8 lies inside the square of 32 pixels and is no hit, whoever saw the face."""
    network = session.create(tiny_face.network(), provider="cpu", name="tiny")
    chosen = [one for one in read_photographs(photographs) if len(one.boxes)]
    counts = []
    for human in (lambda one: one.boxes[:0], lambda one: one.boxes):
        seen = calibrate.observe(
            network, [replace(one, human=human(one)) for one in chosen], nms_iou=1
        )
        counts.append((len(seen.right), int(seen.right.sum())))
    assert counts[0] == counts[1] and counts[0][0] > counts[0][1] > 0
    # A face that only people saw: nobody knows whether it is one.
    alone = [replace(one, human=one.boxes, boxes=one.boxes[:0]) for one in chosen]
    assert len(calibrate.observe(network, alone, nms_iou=1).right) < counts[0][0]


@pytest.mark.parametrize(("height", "width", "zoom"), [(1, 1, 1.0), (33, 64, 1.0), (400, 301, 0.5)])
def test_letterboxed_canvas_has_whole_steps(height: int, width: int, zoom: float) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    batch, scale, _ = calibrate.letterboxed(image, zoom)
    assert batch.shape[0] == 1 and batch.shape[1] % STEP == batch.shape[2] % STEP == 0
    assert scale <= 1 and batch.max() == 200


def test_scaling_is_folded_into_the_last_convolution() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(15, 4, 1, 1)), rng.normal(size=15)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["stride8"], kernel_shape=[1, 1])],
        "head",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 2, 2])],
        [helper.make_tensor_value_info("stride8", TensorProto.FLOAT, [1, 15, 2, 2])],
        [
            numpy_helper.from_array(kernel.astype(np.float32), "w"),
            numpy_helper.from_array(bias.astype(np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.normal(size=(1, 4, 2, 2)).astype(np.float32)
    before = session.create(model.SerializeToString(), provider="cpu").run(x)[0]
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.node[0].input[2], bare.graph.initializer[1]
    for one, shift in ((model, 0.0), (bare, bias)):
        finish(one, {"stride8": Scaling(1.5, -0.25)})
        onnx.checker.check_model(one)
        after = session.create(one.SerializeToString(), provider="cpu").run(x)[0]
        logit, rest = np.split(before - np.reshape(shift, (-1, 1, 1)), [1], axis=1)
        np.testing.assert_allclose(after[:, :1], logit * 1.5 - 0.25, atol=1e-5)
        np.testing.assert_allclose(after[:, 1:], rest, atol=1e-6)


def test_rounded_weights_are_the_nearest_with_those_bits() -> None:
    values = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    for bits in (8, 13, 16):
        near = rounded(values, bits)
        assert near.shape == values.shape and near.dtype == np.float32
        assert not (near.view(np.uint32) & ((1 << (23 - bits)) - 1)).any()
        assert (np.abs(near - values) <= np.abs(values) * 2.0 ** -(bits + 1)).all()
    edge = np.array([1 + 2**-14 * 1.0, 2 - 2**-23, 0.0, -1.5], np.float32)
    np.testing.assert_array_equal(rounded(edge, 13), np.array([1, 2, 0, -1.5], np.float32))


def test_a_copy_of_fixed_size(tmp_path: Path) -> None:
    import onnx

    source = tmp_path / "any.onnx"
    source.write_bytes(tiny_face.network())
    result = ferlite("export", source, "--size", 64, "--out", tmp_path / "64.onnx")
    assert result.exit_code == 0 and "64x64" in result.output
    fixed = session.create(tmp_path / "64.onnx", provider="cpu")
    assert fixed.input_shape == (1, 64, 64, 3)
    image: NDArray[np.uint8] = np.full((1, 64, 64, 3), 90, np.uint8)
    free = session.create(source, provider="cpu")
    for a, b in zip(fixed.run(image), free.run(image), strict=True):
        np.testing.assert_array_equal(a, b)
    shape = onnx.load(str(tmp_path / "64.onnx")).graph.output[1].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape] == [1, 15, 4, 4]
    result = ferlite("export", source, "--size", 64, "--out", tmp_path / "a.onnx", "--name", "mine")
    assert result.exit_code == 2 and "--name does not go with --size" in result.output
    before = source.read_bytes()
    with pytest.raises(UsageError, match="is the network itself"):
        fix_size(source, tmp_path / "." / "any.onnx", 64)
    assert source.read_bytes() == before
    with pytest.raises(UsageError, match="--size 50"):
        fix_size(source, tmp_path / "50.onnx", 50)
    with pytest.raises(UsageError, match=r"one \.onnx file"):
        fix_size(source, tmp_path / "folder", 64)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        fix_size(tmp_path / "broken.onnx", tmp_path / "64.onnx", 64)
    foreign = onnx.load(str(source))
    for node in foreign.graph.node:
        for i, name in enumerate(node.input):
            if name == "image":
                node.input[i] = "input.1"
    foreign.graph.input[0].name = "input.1"
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(ModelError, match=r"has input\.1; a face detector has image"):
        fix_size(tmp_path / "foreign.onnx", tmp_path / "64.onnx", 64)
