"""From raw files to a model folder in four commands, and what export and quantize promise."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from test_training_augment import STILL
from training_sets import small_ferplus

from ferlite.bundles import METADATA_KEY, find
from ferlite.cli import main
from ferlite.errors import DataError, FerliteError, ModelError, UsageError

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("keras", "tf2onnx")),
        reason="needs pip install 'ferlite[train,quantize]'",
    ),
    # Keras, tf2onnx and Neural Compressor warn of their own future; that is not ours to fix.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def ferlite(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    print(result.output)
    return result


def convolutions_in_float(path: Path) -> int:
    import onnx

    nodes = onnx.load(str(path)).graph.node
    quantized = {out for node in nodes if node.op_type == "DequantizeLinear" for out in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert convolutions
    return sum(not quantized >= set(node.input) for node in convolutions)


@pytest.fixture(scope="module")
def trained(
    portraits: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """(data folder of 200 pictures, run folder) after `ferlite train`."""
    root = tmp_path_factory.mktemp("road")
    data = small_ferplus(root / "data", portraits)
    command = ["train", "--data", data, "--out", root / "run"]
    result = ferlite(*command, "--epochs", 2, "--batch", 32)
    assert result.exit_code == 0
    assert "train: 140 images, 140 judged (neutral 18, " in result.output
    assert "epoch 2/2 loss " in result.output and "min left" in result.output
    return data, root / "run"


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, Path]) -> Path:
    """The model folder after `ferlite export`."""
    data, run = trained
    out = run.parent / "model"
    result = ferlite("export", run / "best.keras", "--data", data, "--out", out, "--name", "tiny")
    assert result.exit_code == 0 and "over 60 pictures" in result.output
    return out


def test_evaluate_writes_tables_and_plots(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    result = ferlite("evaluate", run / "best.keras", "--data", data, "--out", tmp_path)
    assert result.exit_code == 0 and "n = 60" in result.output
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = {(row["metric"], row["class"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["n", ""] == 60 and rows["epochs", ""] == 2 and rows["parameters", ""] == 896_680
    counts = [value for (metric, label), value in rows.items() if metric == "n" and label]
    assert sum(counts) == 60
    report = (tmp_path / "evaluation_report.txt").read_text()
    assert f"accuracy           {rows['accuracy', '']:.4f}" in report
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert {"training_curves.png", "confusion.png", "precision_recall.png"} <= plots
    assert "reliability.png" in plots


def test_export_and_quantize_make_a_verified_bundle(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    import onnx

    data, _ = trained
    bundle = find(exported)
    bundle.verify()
    assert bundle.name == "tiny" and set(bundle.precisions) == {"fp32"}
    # 60 pictures: one answer more or less is 1.7 points.
    result = ferlite("quantize", exported, "--data", data, "--max-drop", 5, "--images", 64)
    assert result.exit_code == 0 and "INT8" in result.output
    bundle = find(exported)
    bundle.verify()
    assert set(bundle.precisions) == {"fp32", "int8"}
    sizes = [(exported / bundle.precisions[p]).stat().st_size for p in ("int8", "fp32")]
    assert sizes[0] < 0.3 * sizes[1]
    for name in bundle.files:
        model = onnx.load(str(exported / name))
        assert [i.name for i in model.graph.input] == ["faces"]
        assert [o.name for o in model.graph.output] == ["logits"]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
        assert {p.version for p in model.opset_import if p.domain in ("", "ai.onnx")} == {17}
        facts = json.loads({p.key: p.value for p in model.metadata_props}[METADATA_KEY])
        assert "files" not in facts and facts["labels"] == list(bundle.labels)
        assert find(exported / name).labels == bundle.labels
    kinds = {node.op_type for node in onnx.load(str(exported / "model.onnx")).graph.node}
    assert not kinds & {"Dropout", "BatchNormalization", "Identity", "AveragePool"}
    assert convolutions_in_float(exported / "model.int8.onnx") == 0
    card = (exported / "README.md").read_text()
    for expected in ("n = 60", "| INT8 |", "seed: 1", "at work or in education", "Known biases"):
        assert expected in card
    found = ferlite("evaluate", exported / "model.int8.onnx", "--data", data, "--out", tmp_path)
    assert found.exit_code == 0
    stated = json.loads((exported / "bundle.json").read_text())["metrics"]["int8"]["accuracy"]
    assert f"accuracy           {stated:.4f}" in found.output
    # Its own weights again: INT8, its figures and how it was trained stay.
    before = json.loads((exported / "bundle.json").read_text())
    weights = exported / "weights.keras"
    again = ferlite("export", weights, "--data", data, "--out", exported, "--name", "tiny")
    assert again.exit_code == 0
    find(exported).verify()
    now = json.loads((exported / "bundle.json").read_text())
    assert before.pop("files").keys() == now.pop("files").keys()  # whose bytes tf2onnx may vary
    assert now == before
    # Other pictures to judge by: both networks are measured anew.
    other = data.parent / "other"
    shutil.copytree(data, other)
    table = (other / "fer2013new.csv").read_text().splitlines()
    judged = [i for i, line in enumerate(table) if line.startswith("PublicTest")]
    (other / "fer2013new.csv").write_text(
        "\n".join(line for i, line in enumerate(table) if i not in judged[:20]) + "\n"
    )
    copy = data.parent / "copy"
    shutil.copytree(exported, copy)
    again = ferlite("export", copy / "weights.keras", "--data", other, "--out", copy)
    assert again.exit_code == 0
    metrics = json.loads((copy / "bundle.json").read_text())["metrics"]
    counts = (metrics, metrics["int8"])
    assert [sum(row["n"] for row in m["per_class"].values()) for m in counts] == [40, 40]
    # Nobody's working folder is littered.
    assert not Path("nc_workspace").exists()


def test_int8_that_loses_too_much_is_not_written(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    """A large term common to all classes changes no answer, but leaves INT8 no room."""
    import onnx
    from onnx import numpy_helper

    from ferlite.training.bundle import write_bundle
    from ferlite.training.classifier import open_classifier
    from ferlite.training.data import load
    from ferlite.training.int8 import QuantizeOptions
    from ferlite.training.quantize import quantize

    facts = json.loads((exported / "bundle.json").read_text())
    model = onnx.load(str(exported / "model.onnx"))
    dense = next(node for node in model.graph.node if node.op_type in ("MatMul", "Gemm"))
    tensor = next(t for t in model.graph.initializer if t.name == dense.input[1])
    weights = numpy_helper.to_array(tensor)
    common = np.random.default_rng(1).normal(size=(len(weights), 1)).astype(np.float32)
    spoiled = weights + 500 * np.abs(weights).max() * common
    tensor.CopyFrom(numpy_helper.from_array(spoiled, tensor.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    write_bundle(tmp_path, facts)
    before = (tmp_path / "bundle.json").read_bytes()
    valid = load(trained[0], "valid")
    # Judge against the network's own answers, so that fp32 is right on all.
    answers = open_classifier(tmp_path / "model.onnx").logits(valid.images).argmax(axis=1)
    valid = replace(valid, targets=np.eye(8, dtype=np.float32)[answers])
    options = QuantizeOptions(images=32, max_drop=0.0, engine="onnxruntime")
    with pytest.raises(ModelError, match="nothing was written"):
        quantize(tmp_path, load(trained[0], "train"), valid, options)
    assert not (tmp_path / "model.int8.onnx").exists()
    assert (tmp_path / "bundle.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "bundle.json", "README.md"}


def test_onnxruntime_takes_the_place_of_neural_compressor(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferlite.training import int8 as module

    model = tmp_path / "model"
    shutil.copytree(exported, model)
    present = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "neural_compressor" else present(name, *rest),
    )
    result = ferlite("quantize", model, "--data", trained[0], "--max-drop", 5, "--images", 64)
    assert result.exit_code == 0
    assert "notice: neural-compressor is not installed" in result.output
    assert "by onnxruntime" in result.output
    assert convolutions_in_float(model / "model.int8.onnx") == 0
    find(model).verify()
    with pytest.raises(UsageError, match="not installed"):
        module.engine_here("neural-compressor")


def test_a_teacher_and_a_resume(trained: tuple[Path, Path], exported: Path) -> None:
    data, run = trained
    out = run.parent / "distilled"
    command = ["train", "--data", data, "--out", out, "--arch", "cnn711k", "--batch", 64]
    command += ["--epochs", 2, "--targets", "votes", "--teacher", exported / "model.onnx"]
    command += ["--teacher-sees", "view"]
    assert ferlite(*command).exit_code == 0
    options = json.loads((out / "train.json").read_text())["options"]
    assert options["teacher"].startswith("model.onnx ") and options["teacher_weight"] == 0.5
    again = ferlite(*command, "--resume")
    assert again.exit_code == 0 and "epoch" not in again.output
    other = ferlite(*command, "--resume", "--seed", 9)
    assert other.exit_code == 2 and "another seed" in other.output
    assert len(other.output.strip().splitlines()[-1]) < 300


@pytest.mark.parametrize("option", ["weight", "sees", "scale", "offset"])
def test_a_setting_of_a_teacher_needs_one(tmp_path: Path, option: str) -> None:
    value = "view" if option == "sees" else "0.5"
    result = ferlite("train", "--data", "x", "--out", tmp_path, f"--teacher-{option}", value)
    assert result.exit_code == 2
    assert f"--teacher-{option} without a teacher; add --teacher" in result.output


def test_balance_draws_rare_classes_oftener(trained: tuple[Path, Path]) -> None:
    from ferlite.training.data import load
    from ferlite.training.emotion import Batches, wanted_draws
    from ferlite.training.recipes import TrainOptions

    data = load(trained[0], "train")
    hard = np.arange(len(data)) % 10  # nine of ten are of the first class
    targets = np.zeros_like(data.targets)
    targets[np.arange(len(data)), np.where(hard == 9, 1, 0)] = 1
    data = dataclasses.replace(data, targets=targets)
    share = float((hard == 9).mean())
    for balance in (0.0, 0.5, 1.0):
        odds = (share / (1 - share)) ** (1 - balance)
        wanted = wanted_draws(data, balance)
        assert wanted.mean() == pytest.approx(1)
        assert wanted[hard == 9].sum() / len(data) == pytest.approx(odds / (1 + odds))
        batches = Batches(data, TrainOptions(batch=1, balance=balance), 4, wanted)
        drawn = np.bincount(batches._order, minlength=len(data))
        assert drawn.sum() == len(data)
        assert (np.abs(drawn - wanted) < 1).all(), "as often as wanted, but for a fraction"
    # Of shares of votes: a class, each equally often, then a picture by its share of the class.
    targets = np.random.default_rng(1).dirichlet(np.full(8, 0.3), len(data)).astype(np.float32)
    odds = (targets / targets.sum(axis=0)).mean(axis=1)
    soft = dataclasses.replace(data, targets=targets)
    np.testing.assert_allclose(wanted_draws(soft, 1) / len(data), odds, rtol=1e-4)


def test_a_baseline_trains_on_stronger_views_when_told(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    from ferlite.training.augment import Augmentation

    command = ["train", "--data", trained[0], "--arch", "cnn711k", "--epochs", 1, "--batch", 70]
    strong, mixup = ["--augmentation", "strong"], ["--mixup", 1]
    wanted = [([], 0.0, 0.0), (strong, Augmentation().contrast, 0.2), (mixup, 0.0, 1.0)]
    for flags, contrast, mixup_alpha in wanted:
        out = tmp_path / f"run{mixup_alpha}"
        assert ferlite(*command, *flags, "--out", out).exit_code == 0
        written = json.loads((out / "train.json").read_text())["options"]["augmentation"]
        assert (written["contrast"], written["mixup_alpha"]) == (contrast, mixup_alpha)
    losses = {path.read_text().splitlines()[1].split(",")[2] for path in tmp_path.glob("*/*.csv")}
    assert len(losses) == 3  # other views, another first epoch
    result = ferlite(*command, "--mixup", -1, "--out", tmp_path / "none")
    assert result.exit_code == 2 and "mixup -1.0 must not be negative" in result.output


def test_the_cards_command_has_what_differs_from_the_recipe() -> None:
    from ferlite.training.augment import Augmentation
    from ferlite.training.card import _commands
    from ferlite.training.recipes import AUGMENTATIONS, RECIPES

    int8 = {"accuracy": 0.5, "calibration_images": 1024, "calibration_seed": 2}

    def command(**changes: Any) -> str:
        options = dataclasses.asdict(dataclasses.replace(RECIPES["cnn711k"], **changes))
        training = {"options": options, "init": "my start.keras 0123456789ab"}
        facts = {"task": "emotion", "training": training, "input": {"width": 64}}
        made = _commands({**facts, "metrics": {"protocol": "fer2013", "int8": int8}})
        assert made[4] == "ferlite quantize MODEL --data FER --images 1024 --seed 2"
        made = made[2]
        assert made.endswith(" --init 'my start.keras'")
        return made.removesuffix(" --init 'my start.keras'")

    plain = "ferlite train --data FER --out RUN --arch cnn711k --protocol fer2013 --size 64"
    plain += " --epochs 60 --batch 16 --seed 1"
    assert command() == plain + " --learning-rate 0.001 --weight-decay 0.0 --precision float32"
    changed = command(ema_decay=0.99, balance=0.25, targets="votes", patience_epochs=3)
    assert changed == command() + " --ema 0.99 --patience 3 --targets votes --balance 0.25"
    assert command(augmentation=Augmentation()) == command() + " --augmentation strong"
    mixed = dataclasses.replace(AUGMENTATIONS["narrow"], mixup_alpha=1.0)
    assert command(augmentation=mixed) == command() + " --augmentation narrow --mixup 1.0"
    mixed = dataclasses.replace(AUGMENTATIONS["mild"], mixup_alpha=1.0)
    assert command(augmentation=mixed) == command() + " --mixup 1.0"


def test_soft_targets_are_the_stated_mixture(trained: tuple[Path, Path], exported: Path) -> None:
    from ferlite.training.classifier import Classifier, open_classifier
    from ferlite.training.data import load
    from ferlite.training.distill import Teaching, soften

    data = load(trained[0], "valid")
    teacher = open_classifier(exported / "model.onnx")
    mirrored = np.ascontiguousarray(data.images[:, :, ::-1])
    says = (teacher.probabilities(data.images) + teacher.probabilities(mirrored)) / 2

    def softened(weight: float, *teachers: Classifier) -> NDArray[np.float32]:
        return soften(data, Teaching(teachers, weight, data.labels, 48)).targets

    mixture = 0.75 * data.targets + 0.25 * says
    np.testing.assert_allclose(softened(0.25, teacher), mixture, atol=1e-6)
    np.testing.assert_allclose(softened(0.25, teacher, teacher), mixture, atol=1e-6)
    with pytest.raises(UsageError, match=r"teacher weight 0\.0"):
        softened(0.0, teacher)


def test_a_teacher_has_its_say_beside_hard_labels_too(
    trained: tuple[Path, Path], exported: Path
) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.data import load
    from ferlite.training.distill import Teaching
    from ferlite.training.emotion import EmotionJob
    from ferlite.training.recipes import TrainOptions

    data, valid = load(trained[0], "train"), load(trained[0], "valid")
    teaching = Teaching([open_classifier(exported / "model.onnx")], 0.5, data.labels, 48)
    options = TrainOptions(targets="majority", batch=len(data), augmentation=STILL)
    _, targets = EmotionJob(data, valid, options, None, teaching).batches(0)[0]
    assert len(targets) == len(data.only_judged())
    # Half of each is one label, the other half what the teacher says.
    assert (targets.max(axis=1) >= 0.5).all() and (targets.max(axis=1) < 0.999).any()


def test_a_teacher_judges_the_views_that_are_shown(
    trained: tuple[Path, Path], exported: Path
) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.data import load
    from ferlite.training.distill import Teaching
    from ferlite.training.emotion import Batches, wanted_draws
    from ferlite.training.recipes import TrainOptions

    data = load(trained[0], "valid")
    teacher = open_classifier(exported / "model.onnx")
    options = TrainOptions(batch=8)
    wanted = wanted_draws(data, 0)
    taught = Batches(data, options, 3, wanted, Teaching([teacher], 0.75, data.labels, 48))
    plain = Batches(data, options, 3, wanted)
    views, targets = taught[0]
    same, votes = plain[0]
    np.testing.assert_array_equal(views, same)
    says = teacher.probabilities(views[..., 0] / teacher.scale - teacher.offset / teacher.scale)
    np.testing.assert_allclose(targets, 0.25 * votes + 0.75 * says, atol=1e-4)
    with pytest.raises(DataError, match="in training 64x64"):
        Teaching([teacher], 0.5, data.labels, 64)
    with pytest.raises(DataError, match="has classes"):
        Teaching([teacher], 0.5, ("one", "two"), 48)


@pytest.mark.parametrize(
    ("channels", "filters", "shapes"),
    [(3, 5, [(5, 3, 2, 2)]), (128, 144, [(128, 1, 2, 2), (144, 128, 1, 1)])],
)
def test_folded_pools_compute_the_same(
    channels: int, filters: int, shapes: list[tuple[int, ...]]
) -> None:
    """Average pool 2x2 and 1x1 convolution against the merged one, or two where that is wide."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from ferlite import session
    from ferlite.training.graph import fold_pools

    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(filters, channels, 1, 1)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["p", "w", "b"], ["y"], kernel_shape=[1, 1]),
        ],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", filters, 4, 4])],
        [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = rng.normal(size=(2, channels, 8, 8)).astype(np.float32)
    before = session.create(model.SerializeToString(), provider="cpu").run(images)[0]
    assert fold_pools(model.graph) == 1
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} == {"Conv"}
    weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
    assert [weights[node.input[1]] for node in model.graph.node] == shapes
    after = session.create(model.SerializeToString(), provider="cpu").run(images)[0]
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_export_refuses_a_network_that_differs(trained: tuple[Path, Path], exported: Path) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.data import load
    from ferlite.training.export import parity

    data = load(trained[0], "valid")
    one = open_classifier(exported / "model.onnx")
    assert parity(one, one, data) == 0
    with pytest.raises(ModelError, match="differ by"):
        parity(one, replace(one, offset=one.offset + 0.05), data)


def test_weights_are_rounded_no_further_than_parity_allows(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferlite.training import export as module
    from ferlite.training.classifier import load_keras, open_classifier
    from ferlite.training.data import load

    data, keras = load(trained[0], "valid"), trained[1] / "best.keras"
    path, network = tmp_path / "model.onnx", open_classifier(keras)
    module.convert(load_keras(keras), path)
    whole, files = path.read_bytes(), {}
    for bits in ((2,), (2, 19), (19,)):
        path.write_bytes(whole)
        monkeypatch.setattr(module, "MANTISSA_BITS", bits)
        assert module.compact(path, network, data) < module.PARITY
        files[bits] = path.read_bytes()
    assert files[2,] == whole
    assert files[2, 19] == files[19,] != whole


@pytest.mark.skipif(find_spec("neural_compressor") is None, reason="needs Neural Compressor")
def test_int8_that_is_hardly_smaller_is_refused(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferlite.training import int8 as module

    monkeypatch.setattr(module, "_SMALLER", 0.1)
    batches = [np.zeros((8, 48, 48, 1), np.float32)]
    search = module.Search(exported / "model.onnx", batches, lambda model: 0.0, 0.0, 1.0)
    with pytest.raises(ModelError, match="hardly smaller than the fp32 network; allow more"):
        module.write_int8(search, tmp_path / "model.int8.onnx", module.QuantizeOptions())


@pytest.mark.skipif(find_spec("neural_compressor") is None, reason="needs Neural Compressor")
@pytest.mark.parametrize("stop", ["score", "signal", "ranges"])
def test_nothing_that_ends_the_search_is_dropped(exported: Path, tmp_path: Path, stop: str) -> None:
    from ferlite.training.int8 import QuantizeOptions, Search, write_int8

    calls = []

    class Batches(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            if stop == "ranges":
                signal.raise_signal(signal.SIGINT)
            return super().__iter__()

    def score(model: object) -> float:
        calls.append(model)
        if stop == "score":
            raise DataError("no picture")
        if stop == "signal":
            signal.raise_signal(signal.SIGINT)
        return 1.0

    batches = Batches([np.zeros((2, 48, 48, 1), np.float32)])
    search = Search(exported / "model.onnx", batches, score, 1.0, 0.1, [[], []])
    # What a shell starts in the background ignores SIGINT, these tests too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(DataError if stop == "score" else KeyboardInterrupt):
            write_int8(search, tmp_path / "model.int8.onnx", QuantizeOptions(trials=3))
        assert len(calls) <= 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_no_model_folder_is_left_alone(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    from ferlite.training.bundle import revised

    (tmp_path / "README.md").write_text("mine")
    command = ["export", trained[1] / "best.keras", "--data", trained[0], "--out"]
    result = ferlite(*command, tmp_path)
    assert result.exit_code == 2 and "README.md is there, and " in result.output
    assert ferlite(*command, "").exit_code == 2
    assert (tmp_path / "README.md").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    # A model folder may be a link to another disk: what is written stays within it.
    shutil.copytree(exported, tmp_path / "disk" / "model")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    with revised(tmp_path / "link") as (work, _):
        assert work.resolve().parent == tmp_path / "disk" / "model"
    find(tmp_path / "link").verify()
    names = {path.name for path in (tmp_path / "link").iterdir()}
    assert names == {path.name for path in exported.iterdir()}


def test_licence_and_data_of_the_first_weights_stay(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    shutil.copytree(exported, first)
    facts = json.loads((first / "bundle.json").read_text())
    stated = {"license": "CC-BY-4.0", "version": "2.0.0", "data": ["pictures of a zoo"]}
    (first / "bundle.json").write_text(json.dumps(facts | stated))
    data, command = trained[0], ["--data", trained[0], "--out"]
    assert ferlite("export", first / "weights.keras", *command, tmp_path / "same").exit_code == 0
    again = json.loads((tmp_path / "same" / "bundle.json").read_text())
    assert (again["name"], again["version"], again["license"]) == ("tiny", "2.0.0", "CC-BY-4.0")
    assert again["data"] == ["pictures of a zoo", *facts["data"]]

    run = tmp_path / "run"
    start = ["--init", first / "weights.keras", "--epochs", 1, "--batch", 64]
    assert ferlite("train", "--data", data, "--out", run, *start).exit_code == 0
    assert ferlite("export", run / "last.keras", *command, tmp_path / "tuned").exit_code == 0
    tuned = json.loads((tmp_path / "tuned" / "bundle.json").read_text())
    assert (tuned["name"], tuned["version"]) == ("ferlite-s", "1.0.0")
    assert (tuned["license"], tuned["data"]) == (again["license"], again["data"])


def test_a_network_that_ends_in_softmax_is_exported_as_such(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    import keras
    import onnx

    from ferlite import emotion, session
    from ferlite.training.classifier import load_keras, open_classifier
    from ferlite.training.data import load

    data, run = trained
    body = load_keras(run / "best.keras")
    own = keras.Model(body.inputs, keras.layers.Softmax()(body.outputs[0]))
    own.save(tmp_path / "own.keras")
    shutil.copy(run / "train.json", tmp_path)
    result = ferlite("export", tmp_path / "own.keras", "--data", data, "--out", tmp_path / "model")
    assert result.exit_code == 0
    bundle = find(tmp_path / "model")
    assert bundle.task == "emotion" and bundle.output == "probabilities"
    path = tmp_path / "model" / "model.onnx"
    assert [o.name for o in onnx.load(str(path)).graph.output] == ["probabilities"]
    # The runtime says what `ferlite evaluate` says.
    images = load(data, "valid", "majority", 48).images
    evaluated = open_classifier(path)
    raw = session.create(path, provider="cpu").run(evaluated.input(images))[0]
    said = emotion.probabilities(bundle, raw, "own")
    np.testing.assert_allclose(said, evaluated.probabilities(images), atol=1e-5)
    assert not np.allclose(said, raw, atol=1e-3) or bundle.temperature == 1


def test_keras_files_that_score_no_pictures_are_one_line(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    import keras

    from ferlite.training.classifier import load_keras

    data, run = trained
    shutil.copy(run / "train.json", tmp_path)
    body = load_keras(run / "best.keras")
    keras.Model(body.inputs, [body.outputs[0]] * 2).save(tmp_path / "two.keras")
    body.set_weights([np.full_like(w, np.nan) for w in body.get_weights()])
    body.save(tmp_path / "nan.keras")
    for name, said in (("two", "has 2 outputs, not one score"), ("nan", "is not a finite number")):
        result = ferlite("evaluate", tmp_path / f"{name}.keras", "--data", data)
        assert result.exit_code == 1 and said in result.output.splitlines()[-1]
    result = ferlite("evaluate", run / "best.keras", "--data", data, "--out", "")
    assert result.exit_code == 2 and "it is empty; give a name or path" in result.output


def test_features_of_a_network_that_ends_in_a_convolution(tmp_path: Path) -> None:
    from ferlite.training import require_keras

    require_keras()
    from ferlite.training.classifier import open_classifier
    from ferlite.training.export import convert
    from ferlite.training.networks import build

    network = build("xception8", 7, 48)
    network.save(tmp_path / "x.keras")
    convert(network, tmp_path / "x.onnx")
    images = np.random.default_rng(1).integers(0, 256, (2, 48, 48), np.uint8)
    trained = open_classifier(tmp_path / "x.keras", embedding=True)
    scaling = {"scale": trained.scale, "offset": trained.offset}
    converted = open_classifier(tmp_path / "x.onnx", embedding=True, **scaling)
    one, other = (network.embedding(images) for network in (trained, converted))
    assert one is not None and other is not None and one.shape == (2, 256)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_wrong_files_are_one_clear_line(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "bundle.json").write_text('{"task": "emotion"}')
    cases = [
        (["evaluate", tmp_path / "none.onnx", "--data", data], "does not exist"),
        (["evaluate", tmp_path / "broken.onnx", "--data", data], "broken.onnx"),
        (["evaluate", tmp_path / "broken.keras", "--data", data], "not a Keras model"),
        (["evaluate", run / "train.json", "--data", data], "neither a .keras nor"),
        (["evaluate", run / "best.keras", "--data", tmp_path / "no"], "does not exist"),
        (["export", tmp_path / "broken.keras", "--data", data, "--out", tmp_path / "o"], "Keras"),
        (["quantize", tmp_path, "--data", data], "bundle.json"),
        (["quantize", tmp_path / "m", "--data", data, "--seed", -1], "seed -1 must be 0"),
        (["train", "--data", data, "--out", tmp_path / "m"], "m holds a model; name another"),
        (["train", "--data", tmp_path, "--out", tmp_path / "r"], "holds no data set"),
        (["train", "--data", data, "--out", tmp_path / "r", "--epochs", 0], "epochs 0"),
    ]
    for command, expected in cases:
        result = ferlite(*command)
        assert result.exit_code in (1, 2), command
        assert expected in result.output.splitlines()[-1], result.output
    assert not (tmp_path / "o").exists() and not (tmp_path / "r").exists()


def test_export_writes_nothing_that_the_runtime_refuses(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    shutil.copytree(exported, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "crop.json").write_text('{"haar": {"scale": 1.0}}')
    command = ["export", trained[1] / "best.keras", "--data", trained[0], "--out", out]
    for extra, said in (
        (("--crop", tmp_path / "crop.json"), "crop.haar.dx is missing"),
        (("--name", "two\nlines"), "name is "),
    ):
        result = ferlite(*command, *extra)
        assert result.exit_code == 1
        assert said in result.output and "nothing was written" in result.output
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crop.json", "model"]
    (tmp_path / "file").touch()
    result = ferlite(*command[:-1], tmp_path / "file")
    assert result.exit_code == 2 and "is a file; name a folder" in result.output


@pytest.mark.parametrize("broken", ["metrics", "interrupt"])
def test_a_failed_quantize_leaves_the_model_whole(
    trained: tuple[Path, Path],
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    from ferlite.training import bundle as module

    model = tmp_path / "model"
    shutil.copytree(exported, model)
    if broken == "metrics":
        facts = json.loads((model / "bundle.json").read_text())
        (model / "bundle.json").write_text(json.dumps({**facts, "metrics": {}}))
    else:

        def stop(facts: object) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "model_card", stop)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    command = ["quantize", model, "--data", trained[0], "--max-drop", 5, "--images", 32]
    result = ferlite(*command, "--engine", "onnxruntime")
    if broken == "metrics":
        assert result.exit_code == 1
        assert "bundle.json lacks a figure of the model card: 'protocol'" in result.output
    else:
        assert result.exit_code == 130
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    find(model).verify()


def test_networks_that_score_otherwise_are_refused(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def network(outputs: int, shape: tuple[int, ...]) -> Path:
        weights = np.random.default_rng(1).normal(size=(48 * 48, outputs)).astype(np.float32)
        nodes = [
            helper.make_node("Flatten", ["faces"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["dense"]),
            helper.make_node("Reshape", ["dense", "shape"], ["scores"]),
        ]
        graph = helper.make_graph(
            nodes,
            "foreign",
            [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 48, 48, 1])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(weights, "weights"),
                numpy_helper.from_array(np.array(shape), "shape"),
            ],
        )
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "f.onnx")
        return tmp_path / "f.onnx"

    for outputs, shape, said in (
        (7, (-1, 7), "gives 7 scores for a picture; the valid data has neutral"),
        (8, (-1, 8, 1, 1), "gives an array of shape (1, 8, 1, 1) for a picture"),
        (8, (-1,), "gives an array of shape (8,) for a picture"),
    ):
        result = ferlite("evaluate", network(outputs, shape), "--data", trained[0])
        assert result.exit_code == 1 and said in result.output
    labels = ",".join("abcdefgh")
    result = ferlite("evaluate", network(7, (-1, 7)), "--data", trained[0], "--labels", labels)
    assert result.exit_code == 1 and "gives 7 scores for a picture, not one for" in result.output
    face = Path(find("face").path) / "weights.keras"
    if face.is_file():
        result = ferlite("evaluate", face, "--data", trained[0])
        assert result.exit_code == 1 and "not square grey pictures" in result.output


def test_a_network_that_states_its_input_takes_no_other(
    trained: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    from ferlite.training.classifier import open_classifier

    stated = open_classifier(exported / "model.onnx", scale=0.5, offset=3.0)
    assert (stated.scale, stated.offset) == (1 / 64, -2.0)
    result = ferlite("evaluate", exported / "model.onnx", "--data", trained[0], "--input-scale", 1)
    assert result.exit_code == 2 and "says itself how it takes pictures" in result.output
    command = ["train", "--data", trained[0], "--out", tmp_path / "run", "--epochs", 1]
    result = ferlite(*command, "--teacher", exported / "model.onnx", "--teacher-scale", 1)
    assert (
        result.exit_code == 2 and "leave --teacher-scale and --teacher-offset out" in result.output
    )
    result = ferlite("evaluate", exported, "--data", trained[0])
    assert result.exit_code == 2 and "is a folder; name the .keras or .onnx" in result.output
    result = ferlite(
        "evaluate", exported / "model.onnx", "--data", trained[0], "--history", tmp_path
    )
    assert result.exit_code == 2 and "no history.csv in this folder" in result.output
    # Weights in a bundle: what they tell apart, and by which protocol, stands beside them.
    assert open_classifier(exported / "weights.keras").labels == find(exported).labels


def test_missing_extras_name_the_remedy() -> None:
    from ferlite.training import require

    with pytest.raises(FerliteError, match=r"pip install 'ferlite\[train,quantize\]'"):
        require("no_such_package")


def test_labels_must_agree(trained: tuple[Path, Path], exported: Path) -> None:
    from ferlite.training.classifier import aligned, open_classifier
    from ferlite.training.data import load

    data = load(trained[0], "valid")
    model = open_classifier(exported / "model.onnx", labels=tuple(reversed(data.labels)))
    turned = aligned(data, model)
    np.testing.assert_array_equal(turned.targets, data.targets[:, ::-1])
    with pytest.raises(DataError, match="choose another --protocol"):
        aligned(replace(data, labels=(*data.labels[:7], "bored")), model)


@pytest.mark.shared
def test_the_road_on_200_real_pictures(shared: Path, tmp_path: Path) -> None:
    """Four commands on FER+ pictures; the first of the archive, so that unpacking is quick."""
    data = tmp_path / "data"
    wanted = {"FER2013Valid": 200}
    with tarfile.open(shared / "data" / "ferplus.tar.xz") as archive:
        for member in archive:
            folder = Path(member.name).parent.name
            if Path(member.name).name == "fer2013new.csv":
                archive.extract(member, data, filter="data")
            elif member.name.endswith(".png") and wanted.get(folder, 0) > 0:
                wanted[folder] -= 1
                archive.extract(member, data, filter="data")
    table = next(data.rglob("fer2013new.csv"))
    root = table.parent
    names = {path.name for path in (root / "FER2013Valid").glob("*.png")}
    (root / "FER2013Train").mkdir()
    kept = []
    for i, line in enumerate(table.read_text().splitlines()):
        name = line.split(",")[1] if "," in line else ""
        if i == 0:
            kept.append(line)
        elif name in names and line.startswith("PublicTest"):
            if len(kept) % 3:
                line = line.replace("PublicTest", "Training", 1)
                (root / "FER2013Valid" / name).rename(root / "FER2013Train" / name)
            kept.append(line)
    table.write_text("\n".join(kept) + "\n")
    run, model = tmp_path / "run", tmp_path / "model"
    steps = [
        ["train", "--data", root, "--out", run, "--epochs", 2, "--batch", 32],
        ["evaluate", run / "best.keras", "--data", root, "--out", tmp_path / "report"],
        ["export", run / "best.keras", "--data", root, "--out", model],
        ["quantize", model, "--data", root, "--max-drop", 5],
    ]
    for step in steps:
        assert ferlite(*step).exit_code == 0, step
    find(model).verify()
    assert (tmp_path / "report" / "evaluation_report.txt").is_file()
