"""ferlite export"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ferlite.cli.params import Name
from ferlite.cli.train import PROTOCOLS, load_split, protocol_of
from ferlite.errors import UsageError

_EMOTION_ONLY = ("protocol", "crop")
_FACE_ONLY = ("detect_size", "smallest", "nms_iou", "provenance")


@click.command(
    epilog="""\b
Examples:
  ferlite export runs/a/best.keras --data FER --out models/mine
  ferlite detect clip.mp4 --model models/mine
  ferlite export runs/face/best.keras --data FACES --out models/face
  ferlite export models/face/model.onnx --size 320 --out face-320.onnx
"""
)
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Data set folder.")
@click.option("--out", type=Name(path_type=Path), required=True, help="Model folder.")
@click.option("--name", default="", help="Of the model; default: of its bundle or network.")
@click.option("--model-version", default="", help="Default: its bundle's, or 1.0.0.")
@click.option(
    "--license",
    "license_",
    default="",
    help="Of the weights; default: that of those they began with, or Apache-2.0.",
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Emotion: default, that of the run.")
@click.option(
    "--crop",
    type=click.Path(path_type=Path),
    help="Emotion: JSON of crop geometry by detector (benchmarks/crop_geometry.py); "
    "default: FER framing.",
)
@click.option(
    "--detect-size",
    type=click.IntRange(32, 8192),
    default=640,
    show_default=True,
    help="Faces: longest side that is searched by default.",
)
@click.option(
    "--smallest",
    type=click.IntRange(1, 1024),
    default=12,
    show_default=True,
    help="Faces: pixels there of the smallest face that is found.",
)
@click.option(
    "--nms-iou",
    type=click.FloatRange(0, 1),
    default=0.45,
    show_default=True,
    help="Faces: overlap from which the weaker box is dropped.",
)
@click.option(
    "--provenance", multiple=True, help="Faces: where data are from, for the card. Repeatable."
)
@click.option(
    "--size", type=int, help="Copy a detector's .onnx for pictures of SIZE x SIZE only; no --data."
)
@click.pass_context
def export(
    ctx: click.Context, /, weights: Path, data: Path | None, size: int | None, **options: Any
) -> None:
    """Turn trained .keras weights into a model folder that `ferlite detect` runs.

    Emotion: the validation pictures check that ONNX and Keras agree, and fit the temperature and
    the confidence under which an answer counts as uncertain. Faces: the training photographs make
    the scores probabilities and choose the threshold, the validation photographs are for checks.
    """
    from ferlite.training import require, require_keras

    if size is not None:
        for name in (*options, "data"):
            given = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
            if given and name != "out":
                flag = "license" if name == "license_" else name.replace("_", "-")
                raise UsageError(f"--{flag} does not go with --size, which copies a network")
        require("onnx")
        from ferlite.training.faces.convert import fix_size

        fix_size(weights, options["out"], size)
        click.echo(f"written to {options['out']}, for pictures of {size}x{size}")
        return
    if data is None:
        raise UsageError("--data is missing; name the folder with the data set")
    if options["out"].is_file():
        raise UsageError(f"--out {options['out']} is a file; name a folder")
    require_keras()
    require("tensorflow", "tf2onnx", "onnx")
    from ferlite.cli.interrupt import raised
    from ferlite.training.faces.export import is_face_network

    face = is_face_network(weights)
    for name in _EMOTION_ONLY if face else _FACE_ONLY:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            task = "face detector" if face else "emotion network"
            raise UsageError(
                f"--{name.replace('_', '-')} is not for a {task}, which {weights} is; leave it out"
            )
    with raised():
        (_faces if face else _emotion)(weights, data, **options)


def _emotion(
    weights: Path,
    data: Path,
    *,
    out: Path,
    protocol: str | None,
    name: str,
    model_version: str,
    license_: str,
    crop: Path | None,
    **_: object,
) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.export import export as run
    from ferlite.training.metrics import TEMPERATURES

    geometry = None
    if crop is not None:
        try:
            geometry = json.loads(crop.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"--crop {crop}: {error}") from error
    protocol = protocol_of(weights, data, protocol)
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
    coldest, hottest = TEMPERATURES
    if not 1.01 * coldest < facts["temperature"] < 0.99 * hottest:
        click.echo(
            "notice: that temperature is the end of its range; a network this far from calibrated "
            "needs more training",
            err=True,
        )
    click.echo(f"written to {out}")


def _faces(
    weights: Path,
    data: Path,
    *,
    out: Path,
    name: str,
    model_version: str,
    license_: str,
    detect_size: int,
    smallest: int,
    nms_iou: float,
    provenance: tuple[str, ...],
    **_: object,
) -> None:
    from ferlite.training.faces.export import FaceExportOptions, export_faces

    options = FaceExportOptions(
        name=name,
        version=model_version,
        license=license_,
        detect_size=detect_size,
        smallest=smallest,
        nms_iou=nms_iou,
        provenance=provenance,
    )
    facts = export_faces(weights, data, out, options, click.echo)
    metrics = facts["metrics"]
    fitted = metrics["calibration"]
    click.echo(
        f"calibration error {fitted['error_before']:.4f} before, {fitted['error_after']:.4f} after "
        f"(n = {fitted['n']} detections)"
    )
    precision = f"precision {metrics['precision']:.3f}, " if "precision" in metrics else ""
    click.echo(
        f"AP 0.5 {metrics['ap50']:.4f} (n = {metrics['n']}); at threshold {facts['threshold']} "
        f"{precision}recall {metrics['recall']:.3f}"
    )
    click.echo(f"written to {out}")
