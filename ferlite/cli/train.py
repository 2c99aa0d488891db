"""ferlite train"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ferlite.training.data import EmotionData

ARCHS = ("ferlite-s", "cnn711k", "xception8", "efficientnet_b3", "resnet152v2")
PROTOCOLS = ("majority", "fer2013", "folders")


class _Progress:
    """A live line with loss, accuracy and time left; one plain line an epoch when piped."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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

    def live(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._bar is None else self._bar

    def begin(self, first_epoch: int, epochs: int, steps: int) -> None:
        self._first, self._epochs, self._steps = first_epoch, epochs, steps
        self._started = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("starting", total=(epochs - first_epoch) * steps)

    def step(self, epoch: int, step: int, means: dict[str, float]) -> None:
        if self._bar is not None:
            said = " ".join(f"{name} {float(mean):.4f}" for name, mean in means.items())
            self._bar.update(
                self._task,
                completed=(epoch - self._first) * self._steps + step,
                description=f"epoch {epoch + 1}/{self._epochs} {said}",
            )

    def epoch(self, row: dict[str, float], best: float) -> None:
        done = int(row["epoch"])
        mean = (time.monotonic() - self._started) / (done - self._first)
        left = mean * (self._epochs - done)
        self._console.print(
            f"epoch {done}/{self._epochs} loss {row['loss']:.4f} accuracy {row['accuracy']:.4f} "
            f"valid {row['valid_accuracy']:.4f} best {best:.4f} {row['seconds']:.0f} s, "
            f"{left / 60:.0f} min left",
            highlight=False,
            soft_wrap=True,
        )


def load_split(root: Path, split: str, protocol: str | None, size: int) -> EmotionData:
    """One split, with its summary line and what was left out on the terminal."""
    from ferlite.training.data import load

    data = load(root, split, protocol, size)
    click.echo(data.summary())
    shown = 10
    for line in data.problems[:shown]:
        click.echo(f"  left out: {line}", err=True)
    if len(data.problems) > shown:
        click.echo(f"  and {len(data.problems) - shown} more", err=True)
    return data


@click.command(
    epilog="""\b
Examples:
  ferlite train --data FER --out runs/a
  ferlite train --data FER --out runs/a --resume
  ferlite train --data FER --arch cnn711k --out runs/baseline
  ferlite train --data FER --teacher big.onnx --out runs/distilled
"""
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--arch", type=click.Choice(ARCHS), default="ferlite-s", show_default=True)
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Default: what the data allow.")
@click.option("--resume", is_flag=True, help="Go on after the last whole epoch of --out.")
@click.option("--epochs", type=int, help="At most so many.")
@click.option("--batch", type=int, help="Pictures a step.")
@click.option("--seed", type=int, help="Equal seeds give equal runs on one machine.")
@click.option("--size", type=int, default=48, show_default=True, help="Side of the input, pixels.")
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]))
@click.option("--learning-rate", type=float)
@click.option("--schedule", type=click.Choice(["cosine", "constant"]))
@click.option("--weight-decay", type=float, help="Decoupled, times the learning rate.")
@click.option("--ema", "ema_decay", type=float, help="Weight averaging a step; 0 turns it off.")
@click.option("--patience", "patience_epochs", type=int, help="Stop after so many without gain.")
@click.option("--precision", type=click.Choice(["float32", "mixed_bfloat16"]))
@click.option("--targets", type=click.Choice(["votes", "majority"]), help="Vote shares or labels.")
@click.option("--teacher", type=click.Path(path_type=Path), help="Learn from this network too.")
@click.option("--teacher-weight", type=float, default=0.5, show_default=True)
@click.option("--teacher-scale", type=float, help="Its input: pixel * scale + offset; 1/255.")
@click.option("--teacher-offset", type=float, help="See --teacher-scale; 0.")
@click.option("--imagenet", type=click.Path(path_type=Path), help="Start weights of a large arch.")
def train(
    data: Path,
    out: Path,
    arch: str,
    protocol: str | None,
    resume: bool,
    size: int,
    teacher: Path | None,
    teacher_weight: float,
    teacher_scale: float | None,
    teacher_offset: float | None,
    imagenet: Path | None,
    **recipe: Any,
) -> None:
    """Train an emotion network on FER2013, FER+ or folders of pictures.

    Settings that are not given are those of the network's own recipe. Writes best.keras,
    last.keras, history.csv, train.json and a checkpoint after every epoch.
    """
    from ferlite.training import require_keras

    require_keras()
    from ferlite.training.classifier import open_classifier
    from ferlite.training.distill import fingerprint, soften
    from ferlite.training.emotion import train as fit
    from ferlite.training.recipes import RECIPES

    options = replace(RECIPES[arch], **{k: v for k, v in recipe.items() if v is not None})
    train_data = load_split(data, "train", protocol, size)
    valid_data = load_split(data, "valid", train_data.protocol, size)
    if teacher is not None:
        opened = open_classifier(teacher, scale=teacher_scale, offset=teacher_offset)
        train_data = soften(train_data, opened, teacher_weight)
        options = replace(options, teacher=fingerprint(teacher), teacher_weight=teacher_weight)
    progress = _Progress()
    with progress.live():
        best = fit(
            train_data,
            valid_data,
            options,
            out,
            resume=resume,
            imagenet=imagenet,
            reporter=progress,
        )
    judged = int(valid_data.judged.sum())
    click.echo(f"best validation accuracy {best:.4f} (n = {judged}): {out / 'best.keras'}")
