"""ferlite export"""

from __future__ import annotations

import json
from pathlib import Path

import click

from ferlite.cli.train import PROTOCOLS, load_split


@click.command(
    epilog="""\b
Examples:
  ferlite export runs/a/best.keras --data FER --out models/mine
  ferlite detect clip.mp4 --model models/mine
"""
)
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Default: that of the run.")
@click.option("--name", default="", help="Of the model; default: of its network.")
@click.option("--model-version", default="1.0.0", show_default=True)
@click.option("--license", "license_", default="Apache-2.0", show_default=True, help="Of weights.")
@click.option(
    "--crop",
    type=click.Path(path_type=Path),
    help="JSON of crop geometry by detector (benchmarks/crop_geometry.py); default: FER framing.",
)
def export(
    weights: Path,
    data: Path,
    out: Path,
    protocol: str | None,
    name: str,
    model_version: str,
    license_: str,
    crop: Path | None,
) -> None:
    """Turn trained .keras weights into a model folder that `ferlite detect --model` runs.

    The validation pictures check that ONNX and Keras agree, and fit the temperature and the
    confidence under which an answer counts as uncertain.
    """
    from ferlite.training import require, require_keras

    require_keras()
    require("tensorflow", "tf2onnx", "onnx")
    from ferlite.errors import UsageError
    from ferlite.training.classifier import open_classifier, read_run
    from ferlite.training.export import export as run

    geometry = None
    if crop is not None:
        try:
            geometry = json.loads(crop.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"--crop {crop}: {error}") from error
    protocol = protocol or read_run(weights.parent).get("protocol")
    size = open_classifier(weights).size
    facts = run(
        weights,
        load_split(data, "valid", protocol, size),
        out,
        name=name,
        version=model_version,
        license_=license_,
        crop=geometry,
    )
    metrics = facts["metrics"]
    click.echo(
        f"accuracy {metrics['accuracy']:.4f}, macro-F1 {metrics['macro_f1']:.4f}, calibration "
        f"error {metrics['calibration_error']:.4f} (n = {metrics['n']}, temperature "
        f"{facts['temperature']}, uncertain below {facts['uncertain_below']})"
    )
    click.echo(
        f"ONNX and Keras differ by at most {metrics['parity']['max']:.1e} over "
        f"{metrics['parity']['images']} pictures"
    )
    click.echo(f"written to {out}")
