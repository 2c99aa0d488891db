"""ferlite evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ferlite.cli.params import Name
from ferlite.cli.train import PROTOCOLS, load_split, protocol_of
from ferlite.errors import DataError, UsageError

if TYPE_CHECKING:
    from ferlite.training.faces.candidates import SearchSize

_EMOTION_ONLY = ("protocol", "history", "labels", "input_scale", "input_offset")
_FACE_ONLY = ("size", "face_free", "sheets", "threshold")


class _Size(click.ParamType[Any]):
    name = "native|PIXELS"

    def convert(self, value: Any, param: Any, ctx: Any) -> SearchSize:
        if value == "native":
            return "native"
        return click.IntRange(32, 8192).convert(value, param, ctx)


@click.command(
    epilog="""\b
Examples:
  ferlite evaluate runs/a/best.keras --data FER --out report
  ferlite evaluate models/emotion/model.int8.onnx --data FER --split test
  ferlite evaluate other.onnx --data FER --input-scale 0.00392157 --input-offset 0
  ferlite evaluate --task face --data FACES haar yunet.onnx models/face/model.onnx --out report
  ferlite evaluate --task face --data FACES models/face --size 320 --size 416 --size native
"""
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set folder.")
@click.option(
    "--task", type=click.Choice(["emotion", "face"]), default="emotion", show_default=True
)
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), default="valid", show_default=True
)
@click.option(
    "--out", type=Name(path_type=Path, file_okay=False), help="Write tables and plots here."
)
@click.option("--threads", type=int, default=1, show_default=True, help="For an ONNX network.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Default: what the data allow.")
@click.option("--history", type=click.Path(path_type=Path), help="Run folder with history.csv.")
@click.option("--labels", help="Classes of a foreign ONNX in its order, with commas.")
@click.option("--input-scale", type=float, help="Foreign ONNX: pixel * scale + offset; 1/255.")
@click.option("--input-offset", type=float, help="See --input-scale; 0.")
@click.option(
    "--size",
    type=_Size(),
    multiple=True,
    default=("native",),
    show_default=True,
    help="Faces: longest side that is searched, smaller pictures enlarged to it. Repeatable.",
)
@click.option(
    "--face-free", multiple=True, help="Faces: a clip or folder without a face. Repeatable."
)
@click.option("--threshold", type=click.FloatRange(0.02, 1), help="Faces: for every detector.")
@click.option("--sheets", is_flag=True, help="Faces: draw contact sheets, to --out.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    data: Path,
    task: str,
    split: str,
    **options: Any,
) -> None:
    """Score networks (fp32 or INT8) on labelled pictures.

    Emotion: MODEL is one .keras or .onnx file; prints accuracy, macro and per-class figures,
    confusion, calibration error and times. Faces: any number of .keras and .onnx files, YuNet's
    among them, names of installed detectors, and haar; prints one table of average precision, false
    positives, landmark error and times. With --out also writes metrics.csv, evaluation_report.txt
    and plots.
    """
    from ferlite.training import require, require_keras

    require("onnx", "matplotlib")
    for name in _FACE_ONLY if task == "emotion" else _EMOTION_ONLY:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(f"--{name.replace('_', '-')} is not for --task {task}; leave it out")
    if any(model.endswith(".keras") for model in models):
        require_keras()
    (_faces if task == "face" else _emotion)(models, data, split, **options)


def _emotion(
    models: tuple[str, ...],
    data: Path,
    split: str,
    *,
    out: Path | None,
    threads: int,
    protocol: str | None,
    history: Path | None,
    labels: str | None,
    input_scale: float | None,
    input_offset: float | None,
    **_: object,
) -> None:
    from ferlite.training.classifier import open_classifier
    from ferlite.training.evaluate import evaluate as run
    from ferlite.training.evaluate import report

    if len(models) != 1:
        raise UsageError(f"{len(models)} models; --task emotion scores one at a time")
    model = Path(models[0])
    classifier = open_classifier(
        model,
        scale=input_scale,
        offset=input_offset,
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        threads=threads,
        embedding=out is not None,
    )
    if classifier.states_input and (input_scale is not None or input_offset is not None):
        raise UsageError(
            f"{model} says itself how it takes pictures; leave --input-scale and --input-offset out"
        )
    rows = _epochs(history, model.parent)
    protocol = protocol_of(model, data, protocol)
    result = run(classifier, load_split(data, split, protocol, classifier.size), out, rows)
    click.echo("\n" + report(result), nl=False)
    if out:
        click.echo(f"\nwritten to {out}")


def _epochs(given: Path | None, beside: Path) -> list[dict[str, float]]:
    """The history as given; else that beside the model, where a run wrote it and it fits."""
    from ferlite.training.history import read_history
    from ferlite.training.records import RUN

    if given is None and not (beside / RUN).is_file():
        return []
    try:
        rows = read_history(given or beside, "valid_accuracy")
    except DataError as error:
        if given is not None:
            raise
        click.echo(f"notice: {error}; left out", err=True)
        return []
    if given is not None and not rows:
        raise UsageError(f"--history {given}: no history.csv in this folder")
    return rows


def _faces(
    models: tuple[str, ...],
    data: Path,
    split: str,
    *,
    out: Path | None,
    threads: int,
    size: tuple[SearchSize, ...],
    face_free: tuple[str, ...],
    threshold: float | None,
    sheets: bool,
    **_: object,
) -> None:
    from ferlite.training.faces.evaluate import evaluate_faces, text, write

    if split == "test":
        raise UsageError("--split test: faces.json has train and valid (its val)")
    if sheets and not out:
        raise UsageError("--sheets needs --out, the folder to draw to")
    report = evaluate_faces(
        models,
        data,
        split="val" if split == "valid" else split,
        sizes=size,
        face_free=face_free,
        threshold=threshold,
        threads=threads,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo("\n" + text(report), nl=False)
    if out:
        write(report, out)
        if sheets:
            from ferlite.training.faces.sheets import draw

            draw(report, out)
        click.echo(f"\nwritten to {out}")
