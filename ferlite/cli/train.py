"""ferlite train"""

from __future__ import annotations

import math
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from ferlite.cli.params import Name
from ferlite.cli.stderr import silence
from ferlite.errors import UsageError

if TYPE_CHECKING:
    from ferlite.training.data import EmotionData
    from ferlite.training.faces.data import FaceData

ARCHS = ("ferlite-s", "cnn711k", "xception8", "efficientnet_b3", "resnet152v2")
PROTOCOLS = ("majority", "fer2013", "folders")
_EMOTION_SIZE = 48  # FER2013's
_OF_A_TEACHER = ("teacher_weight", "teacher_sees", "teacher_scale", "teacher_offset")
_EMOTION_ONLY = (
    *("arch", "protocol", "targets", "balance", "augmentation", "mixup"),
    *("teacher", *_OF_A_TEACHER, "imagenet"),
)
# Columns of the history on the terminal, and their names there.
_TRAINED = {"loss": "loss", "accuracy": "accuracy"}
_JUDGED = {"valid_accuracy": "valid", "valid_ap": "valid AP"}


def _figures(row: dict[str, float], names: dict[str, str]) -> str:
    """Those that the row has; an epoch that was not judged has nan."""
    known = {said: float(row[name]) for name, said in names.items() if name in row}
    return "".join(f" {said} {value:.4f}" for said, value in known.items() if not math.isnan(value))


class _Progress:
    """A live line with loss, accuracy or AP, and time left; one plain line an epoch when piped."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        class Console(RichConsole):
            def on_broken_pipe(self) -> None:
                """Training goes on where nobody reads of it any more (`| head`)."""
                self.quiet = True
                silence(sys.stdout)

        self._console = Console()
        self._bar: Any = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=self._console,
            )
        self._task: Any = None
        self._first, self._epochs, self._steps, self._started = 0, 0, 0, 0.0
        self._judged = ""

    def live(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._bar is None else self._bar

    def notice(self, text: str) -> None:
        self._console.print(f"notice: {text}", highlight=False, soft_wrap=True)

    def begin(self, first_epoch: int, epochs: int, steps: int) -> None:
        self._first, self._epochs, self._steps = first_epoch, epochs, steps
        self._started = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("starting", total=(epochs - first_epoch) * steps)

    def step(self, epoch: int, step: int, means: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=(epoch - self._first) * self._steps + step,
                description=f"epoch {epoch + 1}/{self._epochs}{_figures(means, _TRAINED)}"
                + self._judged,
            )

    def epoch(self, row: dict[str, float], best: float) -> None:
        done = int(row["epoch"])
        mean = (time.monotonic() - self._started) / (done - self._first)
        left = mean * (self._epochs - done)
        self._judged = _figures(row, _JUDGED) or self._judged
        so_far = f" best {best:.4f}" if best >= 0 else ""
        self._console.print(
            f"epoch {done}/{self._epochs}{_figures(row, _TRAINED)}{_figures(row, _JUDGED)}{so_far} "
            f"{row['seconds']:.0f} s, {left / 60:.0f} min left",
            highlight=False,
            soft_wrap=True,
        )


def _say_what_was_read(data: EmotionData | FaceData) -> None:
    click.echo(data.summary())
    shown = 10
    for line in data.problems[:shown]:
        click.echo(f"  left out: {line}", err=True)
    if len(data.problems) > shown:
        click.echo(f"  and {len(data.problems) - shown} more", err=True)


def load_split(root: Path, split: str, protocol: str | None, size: int) -> EmotionData:
    """One split, with its summary line and what was left out on the terminal."""
    from ferlite.training.data import load

    data = load(root, split, protocol, size)
    _say_what_was_read(data)
    return data


def protocol_of(network: Path, data: Path, given: str | None) -> str | None:
    """The protocol to judge a trained network by: as given, else its own where the data allow."""
    from ferlite.training.data import allowed_protocols
    from ferlite.training.records import protocol_beside

    stated = protocol_beside(network)
    return given or (stated if stated in allowed_protocols(data) else None)


def _load_faces(root: Path, split: Literal["train", "val"]) -> FaceData:
    from ferlite.training.faces.data import load_faces

    data = load_faces(root, split)
    _say_what_was_read(data)
    return data


@click.command(
    epilog="""\b
Examples:
  ferlite train --data FER --out runs/a
  ferlite train --data FER --out runs/a --resume
  ferlite train --data FER --arch cnn711k --out runs/baseline
  ferlite train --data FER --teacher big.onnx --out runs/distilled
  ferlite train --data MINE --out runs/own --init models/emotion/weights.keras --epochs 10
  ferlite train --task face --data FACES --out runs/face --precision mixed_bfloat16
  ferlite train --task face --data MINE --out runs/tuned \\
      --init models/face/weights.keras --epochs 20 --learning-rate 0.0005
"""
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option(
    "--extra-data",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Face: more folders to train on, not to judge by.",
)
@click.option(
    "--out",
    type=Name(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the run; one that holds a run goes with --resume.",
)
@click.option(
    "--task", type=click.Choice(["emotion", "face"]), default="emotion", show_default=True
)
@click.option("--resume", is_flag=True, help="Go on after the last whole epoch of --out.")
@click.option("--init", type=click.Path(path_type=Path), help="Start from this .keras file.")
@click.option("--epochs", type=int, help="At most so many.")
@click.option("--batch", type=int, help="Pictures a step.")
@click.option("--seed", type=int, help="Equal seeds give equal runs on one machine.")
@click.option(
    "--size", type=int, help="Side of the input, pixels: emotion 48; face 288, a multiple of 32."
)
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]))
@click.option("--learning-rate", type=float)
@click.option("--schedule", type=click.Choice(["cosine", "constant"]))
@click.option("--weight-decay", type=float, help="Decoupled, times the learning rate.")
@click.option("--ema", "ema_decay", type=float, help="Weight averaging a step; 0 turns it off.")
@click.option("--patience", "patience_epochs", type=int, help="Stop after so many without gain.")
@click.option("--precision", type=click.Choice(["float32", "mixed_bfloat16"]))
@click.option(
    "--arch",
    type=click.Choice(ARCHS),
    default="ferlite-s",
    show_default=True,
    help="Emotion network.",
)
@click.option(
    "--protocol", type=click.Choice(PROTOCOLS), help="Emotion. Default: what the data allow."
)
@click.option(
    "--targets", type=click.Choice(["votes", "majority"]), help="Emotion: vote shares or labels."
)
@click.option(
    "--balance",
    type=float,
    help="Emotion: 0 draws every picture once an epoch, 1 a class first, each equally often.",
)
@click.option(
    "--augmentation",
    type=click.Choice(["mild", "narrow", "strong"]),
    help="Emotion: geometry alone, or light, occlusion, blur, noise and mixup too; narrow: faces "
    "nearer to where FER's pictures have them.",
)
@click.option(
    "--mixup",
    type=float,
    help="Emotion: pictures are blended by shares of Beta(a, a); 0 turns it off.",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Emotion: learn from this network too; of several, from their mean.",
)
@click.option("--teacher-weight", type=float, default=0.5, show_default=True)
@click.option(
    "--teacher-sees",
    type=click.Choice(["picture", "view"]),
    default="picture",
    show_default=True,
    help="Judge each picture once, or every augmented view of it (slower).",
)
@click.option(
    "--teacher-scale",
    type=float,
    help="Input of those that do not say themselves: pixel * scale + offset; 1/255.",
)
@click.option("--teacher-offset", type=float, help="See --teacher-scale; 0.")
@click.option("--imagenet", type=click.Path(path_type=Path), help="Start weights of a large arch.")
@click.pass_context
def train(
    ctx: click.Context, /, task: str, resume: bool, init: Path | None, **options: Any
) -> None:
    """Train an emotion network on FER2013, FER+ or folders of pictures, or the face detector on
    photographs with a faces.json.

    Settings that are not given are those of the network's own recipe. Writes best.keras,
    last.keras, history.csv, train.json and a checkpoint after every epoch.
    """
    from ferlite.training import require_keras

    if task == "face":
        for name in _EMOTION_ONLY:
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise UsageError(f"--{name.replace('_', '-')} is not for --task face; leave it out")
    elif options["extra_data"]:
        raise UsageError("--extra-data is for --task face; leave it out")
    elif not options["teacher"]:
        for name in _OF_A_TEACHER:
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise UsageError(f"--{name.replace('_', '-')} without a teacher; add --teacher")
    if resume and init is not None:
        raise UsageError("--resume goes on from the run's own weights; leave --init out")
    require_keras()
    from ferlite.training.fit import check_free

    if not resume:
        check_free(options["out"])
    if task == "face":
        given = {k: v for k, v in options.items() if k not in _EMOTION_ONLY}
        _train_faces(resume=resume, init=init, **given)
    else:
        del options["extra_data"]
        _train_emotion(resume=resume, init=init, **options)


def _train_faces(
    data: Path,
    out: Path,
    *,
    extra_data: tuple[Path, ...],
    resume: bool,
    init: Path | None,
    **recipe: Any,
) -> None:
    from ferlite.training.faces.data import joined
    from ferlite.training.faces.job import train_faces
    from ferlite.training.faces.photographs import SURE
    from ferlite.training.recipes import FaceOptions

    options = FaceOptions(
        extra_data=", ".join(folder.resolve().name for folder in extra_data),
        **{k: v for k, v in recipe.items() if v is not None},
    )
    train_data, valid_data = _load_faces(data, "train"), _load_faces(data, "val")
    train_data = joined(train_data, *(_load_faces(more, "train") for more in extra_data))
    progress = _Progress()
    with progress.live():
        best = train_faces(
            train_data, valid_data, options, out, resume=resume, init=init, reporter=progress
        )
    judged = sum(int((faces.teacher >= SURE).sum()) for faces in valid_data.faces)
    click.echo(
        f"best validation AP 0.5 {best:.4f} (n = {judged} faces in {len(valid_data)} photographs): "
        f"{out / 'best.keras'}"
    )


def _train_emotion(
    data: Path,
    out: Path,
    *,
    resume: bool,
    init: Path | None,
    arch: str,
    protocol: str | None,
    size: int | None,
    augmentation: str | None,
    mixup: float | None,
    teacher: tuple[Path, ...],
    teacher_weight: float,
    teacher_sees: Literal["picture", "view"],
    teacher_scale: float | None,
    teacher_offset: float | None,
    imagenet: Path | None,
    **recipe: Any,
) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.distill import Teaching
    from ferlite.training.emotion import train as fit
    from ferlite.training.recipes import AUGMENTATIONS, RECIPES
    from ferlite.training.records import fingerprint

    usual = RECIPES[arch]
    views = usual.augmentation if augmentation is None else AUGMENTATIONS[augmentation]
    if mixup is not None:
        views = replace(views, mixup_alpha=mixup)
    stated = {k: v for k, v in recipe.items() if v is not None}
    options = replace(usual, augmentation=views, **stated)
    size = _EMOTION_SIZE if size is None else size
    train_data = load_split(data, "train", protocol, size)
    valid_data = load_split(data, "valid", train_data.protocol, size)
    teaching = None
    if teacher:
        options = replace(
            options,
            teacher=", ".join(map(fingerprint, teacher)),
            teacher_weight=teacher_weight,
            teacher_sees=teacher_sees,
            teacher_scale=options.teacher_scale if teacher_scale is None else teacher_scale,
            teacher_offset=options.teacher_offset if teacher_offset is None else teacher_offset,
        )
        # Beside the training, which has the cores, an ONNX teacher gets one thread.
        threads = 1 if teacher_sees == "view" else 0
        scale, offset = options.teacher_scale, options.teacher_offset
        opened = [open_classifier(t, scale=scale, offset=offset, threads=threads) for t in teacher]
        given = teacher_scale is not None or teacher_offset is not None
        if given and all(one.states_input for one in opened):
            raise UsageError(
                "every teacher says itself how it takes pictures; leave --teacher-scale and "
                "--teacher-offset out"
            )
        teaching = Teaching(opened, teacher_weight, train_data.labels, size)
    progress = _Progress()
    with progress.live():
        best = fit(
            train_data,
            valid_data,
            options,
            out,
            resume=resume,
            imagenet=imagenet,
            init=init,
            teaching=teaching,
            reporter=progress,
        )
    judged = int(valid_data.judged.sum())
    click.echo(f"best validation accuracy {best:.4f} (n = {judged}): {out / 'best.keras'}")
