"""ferlite evaluate"""

from __future__ import annotations

from pathlib import Path

import click

from ferlite.cli.train import PROTOCOLS, load_split


@click.command(
    epilog="""\b
Examples:
  ferlite evaluate runs/a/best.keras --data FER --out report
  ferlite evaluate models/emotion/model.int8.onnx --data FER --split test
  ferlite evaluate other.onnx --data FER --input-scale 0.00392157 --input-offset 0
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), default="valid", show_default=True
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Default: what the data allow.")
@click.option("--out", type=click.Path(path_type=Path), help="Write tables and plots here.")
@click.option("--history", type=click.Path(path_type=Path), help="Run folder with history.csv.")
@click.option("--labels", help="Classes of a foreign ONNX in its order, with commas.")
@click.option("--input-scale", type=float, help="Foreign ONNX: pixel * scale + offset; 1/255.")
@click.option("--input-offset", type=float, help="See --input-scale; 0.")
@click.option("--threads", type=int, default=1, show_default=True, help="For an ONNX network.")
def evaluate(
    model: Path,
    data: Path,
    split: str,
    protocol: str | None,
    out: Path | None,
    history: Path | None,
    labels: str | None,
    input_scale: float | None,
    input_offset: float | None,
    threads: int,
) -> None:
    """Score a .keras or .onnx network (fp32 or INT8) on labelled pictures.

    Prints accuracy, macro and per-class figures, confusion, calibration error and times; with
    --out also writes metrics.csv, evaluation_report.txt and plots.
    """
    from ferlite.training import require, require_keras

    require("onnx", "matplotlib")
    if model.suffix == ".keras":
        require_keras()
    from ferlite.training.classifier import open_classifier, read_run
    from ferlite.training.evaluate import evaluate as run
    from ferlite.training.evaluate import report
    from ferlite.training.history import read_history

    classifier = open_classifier(
        model,
        scale=input_scale,
        offset=input_offset,
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        threads=threads,
        embedding=out is not None,
    )
    folder = history or model.parent
    protocol = protocol or read_run(model.parent).get("protocol")
    result = run(
        classifier, load_split(data, split, protocol, classifier.size), out, read_history(folder)
    )
    click.echo("\n" + report(result), nl=False)
    if out:
        click.echo(f"\nwritten to {out}")
