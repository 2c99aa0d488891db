"""ferlite quantize"""

from __future__ import annotations

from pathlib import Path

import click

from ferlite.cli.train import PROTOCOLS, load_split


@click.command(
    epilog="""\b
Examples:
  ferlite quantize models/mine --data FER
  ferlite quantize models/mine --data FER --max-drop 0.1 --images 1024
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Default: that of the model.")
@click.option(
    "--max-drop", type=float, default=0.3, show_default=True, help="Points of accuracy to lose."
)
@click.option("--images", type=int, default=512, show_default=True, help="For calibration.")
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
    max_drop: float,
    images: int,
    trials: int,
    seed: int,
    engine: str,
) -> None:
    """Add the INT8 network to a model folder that `ferlite export` wrote.

    Nothing is written when the validation accuracy falls by more than --max-drop points.
    """
    from ferlite.training import require

    require("onnx")
    from ferlite.training.bundle import FP32, read_facts
    from ferlite.training.classifier import open_classifier
    from ferlite.training.quantize import QuantizeOptions, engine_here
    from ferlite.training.quantize import quantize as run

    options = QuantizeOptions(
        images=images,
        max_drop=max_drop,
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
    protocol = protocol or read_facts(model).get("metrics", {}).get("protocol")
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
    click.echo(f"written to {model} by {options.engine}")
