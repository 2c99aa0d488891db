"""Fit an emotion network: its batches, its loss and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ferlite.errors import DataError, UsageError
from ferlite.training.augment import augment_batch
from ferlite.training.data import EmotionData
from ferlite.training.distill import Teaching, soften
from ferlite.training.fit import Reporter, fit
from ferlite.training.history import Row
from ferlite.training.networks import INPUT_OFFSET, INPUT_SCALE, build
from ferlite.training.recipes import TrainOptions
from ferlite.training.records import digest, fingerprint


class Batches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """Augmented batches of one epoch after another, drawn from (seed, epoch, batch)."""

    def __init__(
        self,
        data: EmotionData,
        options: TrainOptions,
        epoch: int,
        wanted: NDArray[np.float64],
        teaching: Teaching | None = None,
    ) -> None:
        """wanted: as of `wanted_draws`. teaching: has a say in the targets of every view."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._data, self._options, self._epoch = data, options, epoch
        self._wanted, self._teaching = wanted, teaching
        self._shuffle()

    def _shuffle(self) -> None:
        rng = np.random.default_rng((self._options.seed, self._epoch))
        order = rng.permutation(len(self._data))
        if self._options.balance > 0:
            # One draw at every whole step along the wanted ones: a picture wanted 2.3 times comes
            # two or three times.
            ends = np.cumsum(self._wanted[order])
            steps = rng.random() + np.arange(len(order))
            drawn = np.searchsorted(ends, steps * (ends[-1] / len(order)), side="right")
            order = rng.permutation(order[np.minimum(drawn, len(order) - 1)])
        self._order = order

    def __len__(self) -> int:
        return max(1, len(self._data) // self._options.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = self._order[index * self._options.batch : (index + 1) * self._options.batch]
        rng = np.random.default_rng((self._options.seed, self._epoch, index))
        views, targets = augment_batch(
            self._data.images[rows], self._data.targets[rows], self._options.augmentation, rng
        )
        if self._teaching is not None:
            targets = self._teaching.mixed(targets, self._teaching.says(views[..., 0]))
        return views * np.float32(INPUT_SCALE) + np.float32(INPUT_OFFSET), targets

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()


def wanted_draws(data: EmotionData, balance: float) -> NDArray[np.float64]:
    """How often an epoch should draw each picture, float64 [n], the mean being 1.

    By its targets: the wish of each class is its share of all targets to the power of -balance.
    """
    shares = data.targets.mean(axis=0, dtype=np.float64)
    wishes = np.zeros_like(shares)
    np.power(shares, -balance, out=wishes, where=shares > 0)
    wanted = data.targets @ wishes
    return np.asarray(wanted / wanted.mean(), np.float64)


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


class EmotionJob:
    """See `ferlite.training.fit.Job`."""

    criterion = "valid_accuracy"

    def __init__(
        self,
        train_data: EmotionData,
        valid_data: EmotionData,
        options: TrainOptions,
        imagenet: Path | None,
        teaching: Teaching | None,
    ) -> None:
        if train_data.labels != valid_data.labels:
            raise DataError(f"train has classes {train_data.labels}, valid {valid_data.labels}")
        if options.targets == "majority":
            train_data = train_data.only_judged()
        self._summary = train_data.summary()
        parts = (part for one in (train_data, valid_data) for part in (one.images, one.targets))
        self._digest = digest(*parts)
        self._wanted = wanted_draws(train_data, options.balance)
        if teaching is not None and options.teacher_sees == "picture":
            train_data, teaching = soften(train_data, teaching), None
        self._train, self._valid, self._options = train_data, valid_data, options
        self._imagenet, self._teaching = imagenet, teaching
        self.loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        self.metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def build(self, start: bool) -> keras.Model:
        size, classes = self._train.images.shape[1], len(self._train.labels)
        return build(self._options.arch, classes, size, self._imagenet if start else None)

    def trained(self, model: keras.Model) -> keras.Model:
        return model

    def batches(self, epoch: int) -> Batches:
        return Batches(self._train, self._options, epoch, self._wanted, self._teaching)

    def judge(self, model: keras.Model, epoch: int, last: bool) -> Row:
        accuracy, loss = majority_accuracy(model, self._valid)
        return {"valid_loss": loss, "valid_accuracy": accuracy}

    def facts(self) -> dict[str, Any]:
        return {
            "labels": list(self._train.labels),
            "protocol": self._train.protocol,
            "size": self._train.images.shape[1],
            "data": self._digest,
            "train": self._summary,
            "valid": self._valid.summary(),
            "imagenet": "" if self._imagenet is None else fingerprint(self._imagenet),
        }


def train(
    train_data: EmotionData,
    valid_data: EmotionData,
    options: TrainOptions,
    out: Path,
    *,
    resume: bool = False,
    imagenet: Path | None = None,
    init: Path | None = None,
    teaching: Teaching | None = None,
    reporter: Reporter | None = None,
) -> float:
    """Fit `options.arch`; returns the best validation accuracy of the weights it writes.

    imagenet: weights to start the body of a Keras-applications network from.
    teaching: has a say in the targets, as `options.teacher_sees` says.
    resume, init: see `ferlite.training.fit.fit`.
    """
    if imagenet is not None and init is not None:
        raise UsageError(f"{imagenet} and {init}: start from ImageNet weights or from a network's")
    job = EmotionJob(train_data, valid_data, options, imagenet, teaching)
    return fit(job, options, out, resume=resume, init=init, reporter=reporter)
