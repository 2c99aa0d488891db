"""Networks and their training: repeatable, resumable, and as published."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from training_sets import ballot, faces, write_ferplus

from ferlite.errors import DataError, ModelError, UsageError
from ferlite.training.augment import Augmentation
from ferlite.training.data import FERPLUS_LABELS, EmotionData, load
from ferlite.training.history import read_history
from ferlite.training.recipes import RECIPES, TrainOptions

keras_needed = pytest.mark.skipif(
    find_spec("keras") is None, reason="needs pip install 'ferlite[train,quantize]'"
)
# Keras and its backends warn of their own future; that is not ours to fix.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ROOT = Path(__file__).resolve().parent.parent


class StoppedError(Exception):
    """Stands for a run that was killed."""


class Watch:
    """Keeps what a run reports, and kills it after an epoch."""

    def __init__(self, kill_after: int = 0) -> None:
        self.kill_after = kill_after
        self.rows: list[dict[str, float]] = []
        self.steps = 0
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begin(self, first_epoch: int, epochs: int, steps: int) -> None:
        self.first = first_epoch

    def step(self, epoch: int, step: int, means: dict[str, float]) -> None:
        self.steps += 1

    def epoch(self, row: dict[str, float], best: float) -> None:
        self.rows.append(row)
        if row["epoch"] == self.kill_after:
            raise StoppedError


@pytest.fixture(scope="module")
def data(
    portraits: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[EmotionData, EmotionData]:
    """96 training and 32 validation pictures with invented votes."""
    root = tmp_path_factory.mktemp("ferplus")
    pictures = faces(portraits, 128)
    usages = ["Training"] * 96 + ["PublicTest"] * 32
    write_ferplus(
        root,
        [
            (u, p, ballot(FERPLUS_LABELS[i % 8], 8))
            for i, (u, p) in enumerate(zip(usages, pictures, strict=True))
        ],
    )
    return load(root, "train"), load(root, "valid")


def curve(folder: Path) -> list[dict[str, float]]:
    rows = read_history(folder)
    for row in rows:
        del row["seconds"]
    return rows


@keras_needed
@pytest.mark.train
def test_equal_seeds_and_a_resume_give_the_same_curve(
    data: tuple[EmotionData, EmotionData], tmp_path: Path
) -> None:
    import keras

    from ferlite.training.emotion import train

    # ferlite-s has dropout, warm-up, momentum and weight averaging to restore; the state of Adam
    # is restored in test_training_faces_fit.py.
    options = TrainOptions(epochs=4, batch=32, warmup_epochs=1)
    whole, killed = Watch(), Watch(kill_after=2)
    train(*data, options, tmp_path / "whole", reporter=whole)
    with pytest.raises(StoppedError):
        train(*data, options, tmp_path / "killed", reporter=killed)
    # The first two epochs are a second run with the same seed.
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")[:2]
    resumed = Watch()
    train(*data, options, tmp_path / "killed", resume=True, reporter=resumed)
    assert resumed.first == 2 and resumed.rows[0]["epoch"] == 3
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    weights = [
        keras.models.load_model(tmp_path / name / "last.keras", compile=False).get_weights()
        for name in ("whole", "killed")
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.steps == options.epochs * (len(data[0]) // 32)
    record = json.loads((tmp_path / "whole" / "train.json").read_text())
    assert record["labels"] == list(FERPLUS_LABELS) and record["options"]["arch"] == options.arch


@keras_needed
@pytest.mark.train
def test_stops_early_and_keeps_the_best(
    data: tuple[EmotionData, EmotionData], tmp_path: Path
) -> None:
    from ferlite.training.emotion import majority_accuracy, train

    # A rate of almost nothing: only the normalisation settles, and that soon.
    options = dataclasses.replace(
        RECIPES["cnn711k"], epochs=9, batch=48, patience_epochs=2, learning_rate=1e-12
    )
    best = train(*data, options, tmp_path)
    rows = read_history(tmp_path)
    best_epoch = next(row["epoch"] for row in rows if row["valid_accuracy"] > best - 1e-6)
    assert len(rows) == best_epoch + 2 < 9
    assert best == pytest.approx(max(row["valid_accuracy"] for row in rows))
    import keras

    model = keras.models.load_model(tmp_path / "best.keras", compile=False)
    assert majority_accuracy(model, data[1])[0] == pytest.approx(best)
    # Resuming a finished run does nothing.
    assert train(*data, options, tmp_path, resume=True) == pytest.approx(best)
    assert len(read_history(tmp_path)) == len(rows)


@keras_needed
@pytest.mark.train
def test_a_network_learns(data: tuple[EmotionData, EmotionData], tmp_path: Path) -> None:
    """Two portraits, two labels: a network that cannot tell them apart is broken."""
    from ferlite.training.emotion import train

    train_data, valid_data = (
        dataclasses.replace(
            one,
            targets=np.eye(8, dtype=np.float32)[np.arange(len(one)) % 2],
            judged=np.ones(len(one), np.bool_),
        )
        for one in data
    )
    options = dataclasses.replace(
        RECIPES["cnn711k"], epochs=8, batch=16, augmentation=Augmentation(mixup_alpha=0)
    )
    assert train(train_data, valid_data, options, tmp_path) > 0.9


@keras_needed
@pytest.mark.train
def test_resume_refuses_other_settings_and_an_empty_folder(
    data: tuple[EmotionData, EmotionData], tmp_path: Path
) -> None:
    from ferlite.training.emotion import train

    options = dataclasses.replace(RECIPES["cnn711k"], epochs=1, batch=48)
    with pytest.raises(DataError, match="nothing to resume"):
        train(*data, options, tmp_path, resume=True)
    train(*data, options, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="another seed"):
        train(*data, dataclasses.replace(options, seed=7), tmp_path, resume=True)
    larger = [dataclasses.replace(one, images=one.images.repeat(2, 1).repeat(2, 2)) for one in data]
    with pytest.raises(UsageError, match=r"another size \(48, not 96\)"):
        train(*larger, options, tmp_path, resume=True)
    named = [dataclasses.replace(one, labels=tuple("abcdefgh")) for one in data]
    with pytest.raises(UsageError, match="another labels"):
        train(*named, options, tmp_path, resume=True)
    # Nor is a run written over, or its own weights taken away before they are read.
    for init in (None, tmp_path / "best.keras"):
        with pytest.raises(UsageError, match="holds a run; add --resume, or name another folder"):
            train(*data, options, tmp_path, init=init)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    # Nor what somebody else has written; but a run that was killed in its first epoch is.
    for name, content in (("train.json", "{}"), ("history.csv", "epoch,mine\n")):
        other = tmp_path / f"other-{name}"
        other.mkdir()
        (other / name).write_text(content)
        with pytest.raises(UsageError, match=f"{name} is not of a run; name another folder"):
            train(*data, options, other)
        assert (other / name).read_text() == content
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(tmp_path / "train.json", killed)
    train(*data, options, killed)
    (killed / "checkpoint.npz").unlink()
    with pytest.raises(UsageError, match="holds a run; name another folder"):
        train(*data, options, killed)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,much\n")
    with pytest.raises(DataError, match=r"history\.csv is damaged"):
        train(*data, options, tmp_path, resume=True)
    (tmp_path / "train.json").write_text('{"options"')
    with pytest.raises(ModelError, match=r"train\.json is not the record of a run"):
        train(*data, options, tmp_path, resume=True)


@keras_needed
@pytest.mark.train
def test_a_loss_that_is_no_number_ends_the_run(
    data: tuple[EmotionData, EmotionData], tmp_path: Path
) -> None:
    from ferlite.training.emotion import train

    options = dataclasses.replace(
        RECIPES["cnn711k"], optimizer="sgd", epochs=3, batch=16, learning_rate=1e30
    )
    with pytest.raises(DataError, match=r"the loss became (nan|inf) in epoch 1; lower --learning"):
        train(*data, options, tmp_path)
    assert not (tmp_path / "best.keras").exists()


@keras_needed
@pytest.mark.train
def test_warm_up_takes_a_quarter_of_a_short_run_at_most() -> None:
    from ferlite.training.fit import _optimizer

    rates = _optimizer(TrainOptions(epochs=4, learning_rate=0.1), 10)._learning_rate
    found = [float(rates(step)) for step in range(41)]
    assert found[10] == pytest.approx(0.1) and max(found) == found[10]
    assert found[40] == pytest.approx(0, abs=1e-6)


@keras_needed
@pytest.mark.train
def test_pictures_too_small_or_odd_for_a_network_are_one_line() -> None:
    from ferlite.training.networks import build

    for name, size in (("ferlite-s", 50), ("cnn711k", 16)):
        with pytest.raises(UsageError, match=rf"^{name} cannot take pictures of {size}x{size}: "):
            build(name, size=size)


@keras_needed
@pytest.mark.train
@pytest.mark.parametrize(
    ("name", "parameters", "trainable"),
    [
        ("ferlite-s", 896_680, 893_736),
        ("cnn711k", 711_784, 708_584),  # as published
        ("xception8", 230_024, 227_464),
        ("efficientnet_b3", 11_179_063, 11_091_760),
        ("resnet152v2", 58_348_070, 58_204_326),
    ],
)
def test_parameter_counts(name: str, parameters: int, trainable: int) -> None:
    from ferlite.training.networks import build

    model = build(name)
    assert model.count_params() == parameters
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trainable
    assert model.output_shape == (None, 8) and model.input_shape == (None, 48, 48, 1)
    assert model.get_layer("embedding").output.shape[0] is None


@keras_needed
@pytest.mark.train
@pytest.mark.parametrize(("name", "wanted"), [("xception8", False), ("efficientnet_b3", "auto")])
def test_only_depthwise_convolutions_in_bfloat16_are_compiled(name: str, wanted: object) -> None:
    import keras

    from ferlite.training.fit import _compiled
    from ferlite.training.networks import build

    if keras.config.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        pytest.skip("the backend decides here")
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert _compiled(build(name)) == wanted
    finally:
        keras.mixed_precision.set_global_policy(before)


@keras_needed
@pytest.mark.train
def test_start_weights_come_from_a_file(tmp_path: Path) -> None:
    import keras

    from ferlite.training.networks import build

    keras.utils.set_random_seed(11)
    body = keras.applications.EfficientNetB3(include_top=False, weights=None, pooling="avg")

    # As in the published files: where the layer takes a variance, they hold its root.
    def normalization(network: Any) -> Any:
        return next(x for x in network.layers if isinstance(x, keras.layers.Normalization))

    mean, root, _ = normalization(body).weights
    mean.assign([0.485, 0.456, 0.406])
    root.assign([0.229, 0.224, 0.225])
    body.save_weights(tmp_path / "notop.weights.h5")
    keras.utils.set_random_seed(12)
    model = build("efficientnet_b3", weights=tmp_path / "notop.weights.h5")
    stem = [m.get_layer("stem_conv").get_weights()[0] for m in (body, model)]
    np.testing.assert_array_equal(*stem)
    normalized = normalization(model)(np.full((1, 2, 2, 3), 0.5, np.float32))
    expected = (0.5 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(normalized[0, 0, 0], expected, rtol=1e-4)
    (tmp_path / "broken.weights.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.weights\.h5"):
        build("efficientnet_b3", weights=tmp_path / "broken.weights.h5")
    with pytest.raises(UsageError, match="takes no ImageNet weights"):
        build("cnn711k", weights=tmp_path / "notop.weights.h5")
    with pytest.raises(UsageError, match="no network 'vgg'"):
        build("vgg")


@keras_needed
@pytest.mark.train
def test_a_start_with_other_classes_leaves_out_the_last_layer(tmp_path: Path) -> None:
    from ferlite.training.fit import _start_from
    from ferlite.training.networks import build

    source, model, watch = build("cnn711k", 8), build("cnn711k", 7), Watch()
    path = tmp_path / "eight.keras"
    source.save(path)
    fresh = model.get_weights()
    _start_from(path, model, watch)
    assert watch.notices == [f"{path} has 8 classes, the data 7: the last layer starts at random"]
    for one, other in zip(model.get_weights()[:-2], source.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.get_weights()[-2:], fresh[-2:], strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match=r"no start for ferlite-s: it is cnn711k, which has a wei"):
        _start_from(path, build("ferlite-s", 7), watch)
    same = build("cnn711k", 8)
    _start_from(path, same, watch)
    for one, other in zip(same.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(watch.notices) == 1


def test_names_agree() -> None:
    from ferlite.cli.train import ARCHS, PROTOCOLS
    from ferlite.training import data as data_module

    assert tuple(RECIPES) == ARCHS
    assert tuple(data_module.PROTOCOLS) == PROTOCOLS
    assert all(name == recipe.arch for name, recipe in RECIPES.items())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"ema_decay": 1.0},
        {"teacher_weight": 1.5},
        {"balance": -0.5},
        {"patience_epochs": -1},
        {"weight_decay": float("nan")},
        {"learning_rate": float("inf")},
        {"augmentation": Augmentation(gamma=float("nan"))},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    said = "gamma nan" if name == "augmentation" else f"{name.replace('_', '.')} {value}"
    with pytest.raises(UsageError, match=rf"^{said} must "):
        TrainOptions(**change)


def test_only_export_knows_tensorflow_and_the_runtime_knows_no_training() -> None:
    package = ROOT / "ferlite"
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        inside = path.relative_to(package).parts
        if inside[0] == "training":
            if path.name not in ("export.py", "graph.py", "convert.py"):  # all of them export
                assert "tf." not in text and "import tensorflow" not in text, path
        elif inside[0] != "cli":
            assert "ferlite.training" not in text and "import keras" not in text, path
