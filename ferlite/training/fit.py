"""Fit a network: schedule, weight averaging, early stopping, a checkpoint an epoch, exact resume.

What is fitted, on what and how it is judged is a `Job`: emotion.py and faces/job.py have one each.

Files in the output folder:
    best.keras, last.keras   float32 weights (averaged, if so set), for evaluate and export
    history.csv              one row an epoch
    train.json               the settings of the run, what it began with, its data and versions
    checkpoint.npz           everything a resume needs, as of the last whole epoch
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import keras
import numpy as np
from numpy.typing import NDArray

from ferlite.bundles import DESCRIPTION
from ferlite.errors import DataError, SinkError, UsageError
from ferlite.training.bundle import inherited
from ferlite.training.classifier import load_keras
from ferlite.training.history import HISTORY, Row, read_history, write_history
from ferlite.training.recipes import FitOptions
from ferlite.training.records import BEST, LAST, RUN, fingerprint, read_run

CHECKPOINT = "checkpoint.npz"


class Reporter(Protocol):
    """Told how the run goes; numbers are of the epoch so far, time in seconds."""

    def notice(self, text: str) -> None: ...
    def begin(self, first_epoch: int, epochs: int, steps: int) -> None: ...
    def step(self, epoch: int, step: int, means: Row) -> None: ...
    def epoch(self, row: Row, best: float) -> None: ...


class Job(Protocol):
    """One task for `fit`.

    criterion: the column of `judge` that chooses the best epoch, larger is better.
    loss, metrics: as `keras.Model.compile` takes them.
    """

    criterion: str
    loss: keras.losses.Loss
    metrics: list[keras.metrics.Metric]

    def build(self, start: bool) -> keras.Model:
        """The network as it is saved; `start`: with the weights that a run begins with."""
        ...

    def trained(self, model: keras.Model) -> keras.Model:
        """The same weights in the form that the loss takes."""
        ...

    def batches(self, epoch: int) -> keras.utils.PyDataset:
        """The batches of `epoch` and of those after it, one epoch after another."""
        ...

    def judge(self, model: keras.Model, epoch: int, last: bool) -> Row:
        """Validation columns of the history; NaN in an epoch that is not judged."""
        ...

    def facts(self) -> dict[str, Any]:
        """What train.json says of the data; a resumed run must have the same."""
        ...


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Averages weights, judges them, writes everything a resume needs."""

    AVERAGE_EVERY = 4  # steps; a copy of all weights costs more than it is worth at each

    def __init__(
        self,
        out: Path,
        options: FitOptions,
        job: Job,
        averaged: keras.Model,
        state: list[keras.Variable],
        reporter: Reporter | None,
    ) -> None:
        super().__init__()
        self.out, self.options, self.job, self.averaged = out, options, job, averaged
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
            self.reporter.step(self.current, batch + 1, logs)
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
        if not math.isfinite(logs["loss"]):
            raise DataError(
                f"the loss became {logs['loss']} in epoch {epoch + 1}; lower --learning-rate "
                "(what was written before stays)"
            )
        self._synced()
        if self.options.ema_decay == 0 or not self.average:
            self.average = self._weights()
        self.averaged.set_weights(self.average)
        judged = self.job.judge(self.averaged, epoch, epoch + 1 == self.options.epochs)
        if judged[self.job.criterion] > self.best:
            self.best, self.best_epoch = judged[self.job.criterion], epoch
            _replace(self.out / BEST, self.averaged.save)
        _replace(self.out / LAST, self.averaged.save)
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        row: Row = {
            "epoch": epoch + 1,
            **logs,
            **judged,
            "learning_rate": float(rate),
            "seconds": time.monotonic() - self.started,
        }
        self.rows.append(row)
        _replace(self.out / HISTORY, lambda part: write_history(part, self.rows))
        _replace(self.out / CHECKPOINT, self._save_state)
        if self.reporter:
            self.reporter.epoch(row, self.best)
        self.started = time.monotonic()
        if self.without_gain():
            self.model.stop_training = True

    def without_gain(self) -> bool:
        """Whether the last epoch was judged, and patience is at its end."""
        patience, last = self.options.patience_epochs, self.rows[-1]
        judged = not math.isnan(last[self.job.criterion])
        return patience > 0 and judged and last["epoch"] - 1 - self.best_epoch >= patience

    def _save_state(self, part: Path) -> None:
        arrays = {f"state_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.state)}
        arrays |= {f"average_{i}": a for i, a in enumerate(self.average)}
        numbers = np.array([self.current + 1, self.steps, self.best, self.best_epoch])
        # Not to the file: a full disk would come up again when the archive is collected.
        whole = io.BytesIO()
        np.savez(whole, numbers=numbers, **arrays)
        part.write_bytes(whole.getbuffer())

    def restore(self) -> int:
        """Take up the checkpoint; returns the first epoch still to do, from 0."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise DataError(f"{path} is missing: nothing to resume; leave --resume out")
        try:
            first = self._load_state(path)
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise DataError(
                f"{path} is damaged or of another network ({error}); train to another --out"
            ) from error
        self.rows = [row for row in read_history(self.out) if row["epoch"] <= first]
        if len(self.rows) != first or self.job.criterion not in self.rows[-1]:
            raise DataError(f"{self.out / HISTORY} does not have the {first} epochs done")
        return first

    def _load_state(self, path: Path) -> int:
        with np.load(path) as saved:
            numbers = saved["numbers"]
            count = sum(name.startswith("average_") for name in saved.files)
            self.average = [saved[f"average_{i}"] for i in range(count)]
            for i, variable in enumerate(self.state):
                variable.assign(saved[f"state_{i}"])
        self.steps, self.best, self.best_epoch = int(numbers[1]), float(numbers[2]), int(numbers[3])
        return int(numbers[0])


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside, then rename: a killed run leaves the old file whole."""
    part = path.with_name(f"part-{path.name}")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _optimizer(options: FitOptions, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(min(options.warmup_epochs, options.epochs / 4) * steps)
    rate: Any = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else options.learning_rate,
            max(1, options.epochs * steps - warmup),
            warmup_target=options.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    decay = options.weight_decay or None
    clip = options.clip_norm or None
    if options.optimizer == "adam":
        optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(
            rate, weight_decay=decay, global_clipnorm=clip
        )
    else:
        optimizer = keras.optimizers.SGD(
            rate,
            momentum=options.momentum,
            nesterov=True,
            weight_decay=decay,
            global_clipnorm=clip,
        )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def _compiled(network: keras.Model) -> bool | str:
    """Whether Keras should have XLA compile the step; "auto" leaves it to the backend.

    On a processor TensorFlow's own convolutions (oneDNN) are faster: in mixed_bfloat16 a step of
    ferlite-s or ferlite-face takes XLA 1.6 times as long. Depthwise ones in bfloat16 are the
    exception: with these a step of xception8 took 7 times as long without XLA.
    """
    if keras.config.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return "auto"
    slow = any(
        isinstance(layer, keras.layers.DepthwiseConv2D) and layer.compute_dtype == "bfloat16"
        for layer in network.layers
    )
    return "auto" if slow else False


def _start_from(path: Path, model: keras.Model, reporter: Reporter | None) -> None:
    """Take the weights of another run; its network must have the same layers.

    Where only the last layer differs, in its number of classes, that one starts at random.
    """
    source = load_keras(path)
    weights = source.get_weights()
    shapes, wanted = ([tuple(w.shape) for w in m.weights] for m in (source, model))
    differ = [pair for pair in zip_longest(shapes, wanted, fillvalue="none") if pair[0] != pair[1]]
    if len(shapes) == len(wanted) and differ == [*zip(shapes[-2:], wanted[-2:], strict=True)]:
        (kernel, _), (kernel_wanted, _) = shapes[-2:], wanted[-2:]
        if kernel[:-1] == kernel_wanted[:-1]:
            weights[-2:] = model.get_weights()[-2:]
            differ = []
            if reporter:
                reporter.notice(
                    f"{path} has {kernel[-1]} classes, the data {kernel_wanted[-1]}: the last "
                    "layer starts at random"
                )
    if differ:
        has, wants = differ[0]
        raise DataError(
            f"{path} is no start for {model.name}: it is {source.name}, which has a weight of "
            f"shape {has}, not {wants}"
        )
    model.set_weights(weights)


def check_free(out: Path) -> None:
    """UsageError where `out` holds a run or a model; a run killed in its first epoch is none."""
    if (out / DESCRIPTION).is_file():
        raise UsageError(f"{out} holds a model; name another folder for the run")
    checkpoint = (out / CHECKPOINT).is_file()
    if checkpoint or any((out / name).is_file() for name in (BEST, LAST)):
        remedy = "add --resume, or name another folder" if checkpoint else "name another folder"
        raise UsageError(f"{out} holds a run; {remedy}")
    for name in (HISTORY, RUN):
        if (out / name).is_file() and "keras" not in read_run(out):
            raise UsageError(f"{out / name} is not of a run; name another folder")


def fit(
    job: Job,
    options: FitOptions,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    reporter: Reporter | None = None,
) -> float:
    """Fit the job's network; returns the best criterion of the weights it writes.

    resume: go on after the last whole epoch in `out`. UsageError when the run there had other
        settings or data, DataError when there is none; without it, UsageError when there is one.
    init: a .keras file to start from instead of random weights, of the same network; it may have
        other classes, then its last layer is left out. ModelError or DataError for anything else.
    """
    if resume and init is not None:
        raise UsageError(f"a resumed run goes on from its own weights; leave {init} out")
    settings = json.loads(json.dumps(asdict(options)))
    facts = json.loads(json.dumps(job.facts()))
    record = out / RUN
    if resume and not record.is_file():
        raise DataError(f"{record} is missing: nothing to resume; leave --resume out")
    if resume:
        written = read_run(out)
        # A setting that the run did not know yet was as its default is.
        before = json.loads(json.dumps(asdict(type(options)()))) | written.get("options", {})
        # What it did not say of its data cannot be compared.
        before |= {name: written.get(name, value) for name, value in facts.items()}
        for name, now in (settings | facts).items():
            if before[name] != now:
                raise UsageError(
                    f"{record} was written with another {name} ({before[name]!r}, not {now!r}); "
                    "resume with the same settings and data"
                )
    else:
        check_free(out)
    began = fingerprint(init) if init is not None else ""
    keras.utils.set_random_seed(options.seed)
    with _precision("float32"):
        averaged = job.build(start=False)
    with _precision(options.precision):
        network = job.build(start=True)
        model = job.trained(network)
    if init is not None:
        _start_from(init, network, reporter)
    steps = len(job.batches(0))
    optimizer = _optimizer(options, steps)
    optimizer.build(model.trainable_variables)
    # Before compile: that adds metrics. Seeds of the dropout layers are among the variables.
    state = [*model.variables, *optimizer.variables]
    model.compile(optimizer, loss=job.loss, metrics=job.metrics, jit_compile=_compiled(network))
    epochs = _Epochs(out, options, job, averaged, state, reporter)
    first = 0
    if resume:
        first = epochs.restore()
        if first >= options.epochs or epochs.without_gain():
            return epochs.best
    else:
        out.mkdir(parents=True, exist_ok=True)
        whole = {
            "options": settings,
            "init": began,
            "began_with": inherited(init) if init is not None else {},
            **facts,
            "keras": keras.__version__,
            "backend": keras.config.backend(),
        }
        text = json.dumps(whole, indent=2) + "\n"
        _replace(record, lambda part: part.write_text(text, encoding="utf-8"))
    if reporter:
        reporter.begin(first, options.epochs, steps)
    model.fit(
        job.batches(first),
        epochs=options.epochs,
        initial_epoch=first,
        callbacks=[epochs],
        verbose=0,
        shuffle=False,
    )
    return epochs.best
