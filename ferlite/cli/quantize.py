"""ferlite quantize"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferlite.cli.train import PROTOCOLS, load_split, protocol_of
from ferlite.errors import UsageError

if TYPE_CHECKING:
    from ferlite.training.int8 import QuantizeOptions

# Points of accuracy (per cent), and average precision as 0..1.
_MAX_DROP = {"emotion": 0.3, "face": 0.01}
# Photographs are larger than crops.
_IMAGES = {"emotion": 512, "face": 128}


@click.command(
    epilog="""\b
Examples:
  ferlite quantize models/mine --data FER
  ferlite quantize models/mine --data FER --max-drop 0.1 --images 1024
  ferlite quantize models/face --data FACES
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option(
    "--protocol", type=click.Choice(PROTOCOLS), help="Emotion: default, that of the model."
)
@click.option(
    "--max-drop",
    type=float,
    help="What may be lost. Emotion: points of accuracy, default 0.3. Faces: average precision, "
    "0.01.",
)
@click.option("--images", type=int, help="For calibration. Emotion: 512, faces: 128.")
@click.option("--trials", type=int, default=20, show_default=True, help="Configurations to try.")
@click.option("--seed", type=int, default=1, show_default=True, help="Picks calibration images.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "neural-compressor", "onnxruntime"]),
    default="auto",
    show_default=True,
)
def quantize(
    model: Path,
    data: Path,
    protocol: str | None,
    max_drop: float | None,
    images: int | None,
    trials: int,
    seed: int,
    engine: str,
) -> None:
    """Add the INT8 network to a model folder that `ferlite export` wrote.

    Nothing is written when the validation accuracy, or average precision, falls by more than
    --max-drop.
    """
    from ferlite.training import require

    require("onnx")
    from ferlite.cli.interrupt import raised
    from ferlite.training.int8 import QuantizeOptions, engine_here
    from ferlite.training.records import read_facts

    task = str(read_facts(model).get("task"))
    if task not in _MAX_DROP:
        raise UsageError(f"{model} is a model for {task!r}; emotion and face can be quantized")
    if task == "face" and protocol is not None:
        raise UsageError("--protocol is not for a face detector; leave it out")
    options = QuantizeOptions(
        images=_IMAGES[task] if images is None else images,
        max_drop=_MAX_DROP[task] if max_drop is None else max_drop,
        trials=trials,
        seed=seed,
        engine=engine_here(engine),
    )
    if engine == "auto" and options.engine == "onnxruntime":
        click.echo(
            "notice: neural-compressor is not installed (it has no build for Python 3.13); "
            "onnxruntime's own quantization takes its place",
            err=True,
        )
    with raised():
        if task == "face":
            _faces(model, data, options)
        else:
            _emotion(model, data, protocol, options)
    click.echo(f"written to {model} by {options.engine}")


def _emotion(model: Path, data: Path, protocol: str | None, options: QuantizeOptions) -> None:
    from ferlite.training.bundle import FP32
    from ferlite.training.classifier import open_classifier
    from ferlite.training.quantize import quantize as run

    protocol = protocol_of(model / FP32, data, protocol)
    size = open_classifier(model / FP32).size
    before, after = run(
        model,
        load_split(data, "train", protocol, size),
        load_split(data, "valid", protocol, size),
        options,
    )
    click.echo(f"{'':5} {'MB':>6} {'accuracy':>9} {'macro-F1':>9} {'ms, 1 face':>11} {'ms, 16':>8}")
    for row in (before, after):
        click.echo(
            f"{row.name:5} {row.size / 1e6:6.2f} {row.accuracy:9.4f} {row.macro_f1:9.4f} "
            f"{row.batch1_ms:11.2f} {row.batch16_ms * 16:8.2f}"
        )


def _faces(model: Path, data: Path, options: QuantizeOptions) -> None:
    from ferlite.training.faces.evaluate import FLOOR, KNOWN_FLOOR
    from ferlite.training.faces.quantize import quantize_faces

    low, known = f"AP from {FLOOR:g}", f"from {KNOWN_FLOOR:g}"
    click.echo(f"{'':5} {'MB':>6} {low:>13} {known:>9} {'ms, 320x320':>12}")
    for row in quantize_faces(model, data, options):
        click.echo(
            f"{row.name:5} {row.size / 1e6:6.2f} {row.ap50:13.4f} {row.known_ap50:9.4f} "
            f"{row.ms:12.2f}"
        )
