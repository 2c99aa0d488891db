"""Fit a network: schedule, weight averaging, early stopping, a checkpoint an epoch, exact resume.

Files in the output folder:
    best.keras, last.keras   float32 weights (averaged, if so set), for evaluate and export
    history.csv              one row an epoch
    train.json               the settings of the run, its labels and versions
    checkpoint.npz           everything a resume needs, as of the last whole epoch
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError, UsageError
from ferlite.training.augment import augment_batch
from ferlite.training.data import EmotionData
from ferlite.training.history import Row, read_history, write_history
from ferlite.training.networks import INPUT_OFFSET, INPUT_SCALE, build
from ferlite.training.recipes import TrainOptions


class Reporter(Protocol):
    """Told how the run goes; numbers are of the epoch so far, time in seconds."""

    def begin(self, first_epoch: int, epochs: int, steps: int) -> None: ...
    def step(self, epoch: int, step: int, loss: float, accuracy: float) -> None: ...
    def epoch(self, row: Row, best: float) -> None: ...


class Batches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """Augmented batches of one epoch after another, drawn from (seed, epoch, batch)."""

    def __init__(self, data: EmotionData, options: TrainOptions, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._data, self._options, self._epoch = data, options, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        rng = np.random.default_rng((self._options.seed, self._epoch))
        self._order = rng.permutation(len(self._data))

    def __len__(self) -> int:
        return max(1, len(self._data) // self._options.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = self._order[index * self._options.batch : (index + 1) * self._options.batch]
        rng = np.random.default_rng((self._options.seed, self._epoch, index))
        views, targets = augment_batch(
            self._data.images[rows], self._data.targets[rows], self._options.augmentation, rng
        )
        return views * np.float32(INPUT_SCALE) + np.float32(INPUT_OFFSET), targets

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n, h, w] to the network's float32 [n, h, w, 1]."""
    return images[..., None].astype(np.float32) * np.float32(INPUT_SCALE) + np.float32(INPUT_OFFSET)


def majority_accuracy(model: keras.Model, data: EmotionData) -> tuple[float, float]:
    """(accuracy over the judged images, mean cross-entropy against the soft targets over all)."""
    logits = model.predict(scaled(data.images), batch_size=256, verbose=0).astype(np.float64)
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    right = logits.argmax(axis=1) == data.classes
    loss = float(-(data.targets * log_p).sum(axis=1).mean())
    return float(right[data.judged].mean()), loss


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Averages weights, judges them, writes everything a resume needs."""

    AVERAGE_EVERY = 4  # steps; a copy of all weights costs more than it is worth at each

    def __init__(
        self,
        out: Path,
        options: TrainOptions,
        valid: EmotionData,
        averaged: keras.Model,
        state: list[keras.Variable],
        reporter: Reporter | None,
    ) -> None:
        super().__init__()
        self.out, self.options, self.valid, self.averaged = out, options, valid, averaged
        self.state, self.reporter = state, reporter
        self.average: list[NDArray[np.float32]] = []
        self.best, self.best_epoch, self.steps, self.rows = -1.0, -1, 0, list[Row]()
        self.current, self.started = 0, time.monotonic()

    def _synced(self) -> None:
        # On JAX the variables lag behind the loop's own state until asked.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _weights(self) -> list[NDArray[np.float32]]:
        self._synced()
        return [np.array(w, np.float32) for w in self.model.get_weights()]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.current = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.reporter and logs:
            self.reporter.step(self.current, batch + 1, logs["loss"], logs["accuracy"])
        if self.options.ema_decay == 0 or self.steps % self.AVERAGE_EVERY:
            return
        if not self.average:
            self.average = self._weights()
        # Ramp up: early weights are forgotten as fast as they become wrong.
        decay = min(self.options.ema_decay, (1 + self.steps) / (10 + self.steps))
        keep = np.float32(decay**self.AVERAGE_EVERY)
        for mean, now in zip(self.average, self._weights(), strict=True):
            mean *= keep
            mean += (1 - keep) * now

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._synced()
        if self.options.ema_decay == 0 or not self.average:
            self.average = self._weights()
        self.averaged.set_weights(self.average)
        accuracy, loss = majority_accuracy(self.averaged, self.valid)
        if accuracy > self.best:
            self.best, self.best_epoch = accuracy, epoch
            _replace(self.out / "best.keras", self.averaged.save)
        _replace(self.out / "last.keras", self.averaged.save)
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        row: Row = {
            "epoch": epoch + 1,
            "loss": logs["loss"],
            "accuracy": logs["accuracy"],
            "valid_loss": loss,
            "valid_accuracy": accuracy,
            "learning_rate": float(rate),
            "seconds": time.monotonic() - self.started,
        }
        self.rows.append(row)
        _replace(self.out / "history.csv", lambda part: write_history(part, self.rows))
        _replace(self.out / "checkpoint.npz", self._save_state)
        if self.reporter:
            self.reporter.epoch(row, self.best)
        self.started = time.monotonic()
        patience = self.options.patience_epochs
        if patience and epoch - self.best_epoch >= patience:
            self.model.stop_training = True

    def _save_state(self, part: Path) -> None:
        arrays = {f"state_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.state)}
        arrays |= {f"average_{i}": a for i, a in enumerate(self.average)}
        numbers = np.array([self.current + 1, self.steps, self.best, self.best_epoch])
        with part.open("wb") as file:
            np.savez(file, numbers=numbers, **arrays)

    def restore(self) -> int:
        """Take up the checkpoint; returns the first epoch still to do, from 0."""
        path = self.out / "checkpoint.npz"
        if not path.is_file():
            raise DataError(f"{path} is missing: nothing to resume; leave --resume out")
        with np.load(path) as saved:
            first, self.steps = int(saved["numbers"][0]), int(saved["numbers"][1])
            self.best, self.best_epoch = float(saved["numbers"][2]), int(saved["numbers"][3])
            count = sum(name.startswith("average_") for name in saved.files)
            self.average = [saved[f"average_{i}"] for i in range(count)]
            for i, variable in enumerate(self.state):
                variable.assign(saved[f"state_{i}"])
        self.rows = [row for row in read_history(self.out) if row["epoch"] <= first]
        return first


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside, then rename: a killed run leaves the old file whole."""
    part = path.with_name(f"part-{path.name}")
    write(part)
    part.replace(path)


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _optimizer(options: TrainOptions, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(options.warmup_epochs * steps)
    rate: Any = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else options.learning_rate,
            max(1, options.epochs * steps - warmup),
            warmup_target=options.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    decay = options.weight_decay or None
    if options.optimizer == "adam":
        optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(
            rate, momentum=options.momentum, nesterov=True, weight_decay=decay
        )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def train(
    train_data: EmotionData,
    valid_data: EmotionData,
    options: TrainOptions,
    out: Path,
    *,
    resume: bool = False,
    imagenet: Path | None = None,
    reporter: Reporter | None = None,
) -> float:
    """Fit `options.arch`; returns the best validation accuracy of the weights it writes.

    imagenet: weights to start the body of a Keras-applications network from.
    Raises UsageError when a resume names other settings than the run had.
    """
    settings = json.loads(json.dumps(asdict(options)))
    record = out / "train.json"
    if resume and not record.is_file():
        raise DataError(f"{record} is missing: nothing to resume; leave --resume out")
    if resume:
        before = json.loads(record.read_text())["options"]
        other = [k for k in settings if before.get(k) != settings[k]]
        if other:
            raise UsageError(
                f"{record} was written with another {other[0]} ({before.get(other[0])!r}, not "
                f"{settings[other[0]]!r}); resume with the same settings"
            )
    if train_data.labels != valid_data.labels:
        raise DataError(f"train has classes {train_data.labels}, valid {valid_data.labels}")
    if options.targets == "majority":
        train_data = train_data.only_judged()
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    size, classes = train_data.images.shape[1], len(train_data.labels)
    with _precision("float32"):
        averaged = build(options.arch, classes, size)
    with _precision(options.precision):
        model = build(options.arch, classes, size, imagenet)
    steps = len(Batches(train_data, options, 0))
    optimizer = _optimizer(options, steps)
    optimizer.build(model.trainable_variables)
    # Before compile: that adds metrics. Seeds of the dropout layers are among the variables.
    state = [*model.variables, *optimizer.variables]
    model.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    epochs = _Epochs(out, options, valid_data, averaged, state, reporter)
    first = 0
    if resume:
        first = epochs.restore()
        patience = options.patience_epochs
        if first >= options.epochs or (patience and first - 1 - epochs.best_epoch >= patience):
            return epochs.best
    else:
        for name in ("history.csv", "checkpoint.npz", "best.keras", "last.keras"):
            (out / name).unlink(missing_ok=True)
        facts = {
            "options": settings,
            "labels": list(train_data.labels),
            "protocol": train_data.protocol,
            "train": train_data.summary(),
            "valid": valid_data.summary(),
            "keras": keras.__version__,
            "backend": keras.config.backend(),
        }
        record.write_text(json.dumps(facts, indent=2) + "\n")
    if reporter:
        reporter.begin(first, options.epochs, steps)
    model.fit(
        Batches(train_data, options, first),
        epochs=options.epochs,
        initial_epoch=first,
        callbacks=[epochs],
        verbose=0,
        shuffle=False,
    )
    return epochs.best
