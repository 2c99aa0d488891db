"""Fit a network: cosine schedule, weight averaging, a checkpoint every epoch, exact resume.

Files in the output folder:
    best.keras, last.keras   averaged float32 weights, ready for evaluate and export
    history.csv              one row an epoch
    train.json               the settings of the run
    checkpoint/              optimizer, raw and averaged weights of the last whole epoch
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import UsageError
from ferlite.training.augment import Augmentation, augment_batch
from ferlite.training.data import EmotionData
from ferlite.training.networks import build

INPUT_SCALE, INPUT_OFFSET = 1 / 64, -2.0  # pixel 0..255 to -2..2; exact in binary floating point


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a run; they are written to train.json and must be equal on resume."""

    arch: str = "ferlite-s"
    epochs: int = 120
    batch: int = 128
    seed: int = 1
    learning_rate: float = 0.1
    warmup_epochs: float = 3.0
    momentum: float = 0.9
    weight_decay: float = 4e-3  # decoupled: times the learning rate, per step
    ema_decay: float = 0.999  # per step
    patience_epochs: int = 0  # 0: no early stopping
    precision: str = "float32"  # or mixed_bfloat16, about twice as fast where the CPU has it
    augmentation: Augmentation = field(default_factory=Augmentation)


class Batches(keras.utils.PyDataset):
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


class _Epochs(keras.callbacks.Callback):
    """Averages weights, judges them, writes everything a resume needs."""

    AVERAGE_EVERY = 4

    def __init__(
        self, out: Path, options: TrainOptions, valid: EmotionData, averaged: keras.Model
    ) -> None:
        super().__init__()
        self.out, self.options, self.valid, self.averaged = out, options, valid, averaged
        self.average: list[NDArray[np.float32]] = []
        self.best, self.best_epoch, self.steps = -1.0, 0, 0
        self.started = time.monotonic()

    def _weights(self) -> list[NDArray[np.float32]]:
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        return [np.asarray(w, np.float32) for w in self.model.get_weights()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.steps % self.AVERAGE_EVERY:
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
        if not self.average:
            self.average = self._weights()
        self.averaged.set_weights(self.average)
        accuracy, loss = majority_accuracy(self.averaged, self.valid)
        if accuracy > self.best:
            self.best, self.best_epoch = accuracy, epoch
            _replace(self.out / "best.keras", self.averaged.save)
        _replace(self.out / "last.keras", self.averaged.save)
        folder = self.out / "checkpoint"
        folder.mkdir(exist_ok=True)
        _replace(folder / "state.keras", self.model.save)
        state = {f"average_{i}": a for i, a in enumerate(self.average)}
        numbers = [epoch + 1, self.steps, self.best, self.best_epoch]
        _replace(folder / "state.npz", lambda p: np.savez(p, numbers=np.array(numbers), **state))
        seconds = time.monotonic() - self.started
        row = {
            "epoch": epoch + 1,
            "loss": (logs or {}).get("loss", math.nan),
            "valid_accuracy": accuracy,
            "valid_loss": loss,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": seconds,
        }
        path = self.out / "history.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        print(
            f"epoch {epoch + 1}/{self.options.epochs} loss {row['loss']:.4f} valid {accuracy:.4f} "
            f"best {self.best:.4f} ({self.best_epoch + 1}) {seconds:.0f} s",
            flush=True,
        )
        self.started = time.monotonic()
        patience = self.options.patience_epochs
        if patience and epoch - self.best_epoch >= patience:
            self.model.stop_training = True


def _replace(path: Path, write: Any) -> None:
    """Write beside, then rename: a killed run leaves the old file whole."""
    part = path.with_name(f"part-{path.name}")
    write(part)
    os.replace(part, path)


def train(train_data: EmotionData, valid_data: EmotionData, options: TrainOptions, out: Path,
          *, resume: bool = False) -> float:
    """Fit `options.arch`; returns the best validation accuracy (averaged weights)."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    size, classes = train_data.images.shape[1], len(train_data.labels)
    averaged = build(options.arch, classes=classes, size=size)
    keras.mixed_precision.set_global_policy(options.precision)
    model = build(options.arch, classes=classes, size=size)
    steps = len(Batches(train_data, options, 0))
    warmup = round(options.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else options.learning_rate,
        max(1, options.epochs * steps - warmup),
        warmup_target=options.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.SGD(
        schedule, momentum=options.momentum, nesterov=True, weight_decay=options.weight_decay
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    epochs = _Epochs(out, options, valid_data, averaged)
    first = 0
    settings = json.loads(json.dumps(asdict(options)))
    if resume:
        if json.loads((out / "train.json").read_text()) != settings:
            raise UsageError(f"{out}/train.json was written with other settings; resume with those")
        state = np.load(out / "checkpoint/state.npz")
        first, epochs.steps = int(state["numbers"][0]), int(state["numbers"][1])
        epochs.best, epochs.best_epoch = float(state["numbers"][2]), int(state["numbers"][3])
        epochs.average = [state[f"average_{i}"] for i in range(len(state.files) - 1)]
        model = keras.models.load_model(out / "checkpoint/state.keras")
    else:
        (out / "train.json").write_text(json.dumps(settings, indent=2) + "\n")
        (out / "history.csv").unlink(missing_ok=True)
    model.fit(
        Batches(train_data, options, first), epochs=options.epochs, initial_epoch=first,
        callbacks=[epochs], verbose=0, shuffle=False,
    )
    return epochs.best
