"""`ferlite models`: what is installed and what it says of itself; adding and removing your own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ferlite.cli.params import Name
from ferlite.errors import ModelError

if TYPE_CHECKING:
    from ferlite.bundles import Bundle
    from ferlite.download import Progress

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(
    epilog="""\b
Examples:
  ferlite models list
  ferlite models show emotion
  ferlite models verify
  ferlite models add face_detection_yunet_2023mar.onnx
  ferlite models remove yunet
"""
)
def models() -> None:
    """Installed models: those that came with ferlite, and your own.

    Yours are folders with a bundle.json under ~/.local/share/ferlite/models
    ($XDG_DATA_HOME/ferlite/models or $FERLITE_HOME/models where these are set). Wherever a NAME is
    asked for, the path of such a folder or of an .onnx file that ferlite exported does as well.
    """


@models.command(
    "list", epilog="\b\nExamples:\n  ferlite models list\n  ferlite models list --json\n"
)
@_JSON
def list_(as_json: bool) -> None:
    """One line a model: name, task, version, size, licence, score, state of the files, folder."""
    from ferlite.bundles import installed_names

    rows = []
    for name in installed_names():
        try:
            rows.append(_facts(_find(name)))
        except ModelError as error:
            rows.append({"model": name, "verified": False, "problem": str(error)})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        raise ModelError("no model is installed; install ferlite again, or train one")
    for row in rows:
        if "name" not in row:
            click.echo(f"{row['model']:12} broken: {row['problem']}")
            continue
        size = sum(file["bytes"] or 0 for file in row["files"].values()) / 1e6
        state = "files verified" if row["verified"] else f"broken: {row['problem']}"
        click.echo(
            f"{row['model']:12} {row['task']} {row['version']}  {size:.2f} MB  {row['license']}"
            f"  {_score(row['metrics'])}  {state}  {row['path']}"
        )


@models.command(
    "show",
    epilog="\b\nExamples:\n  ferlite models show emotion\n  ferlite models show ./mine --json\n",
)
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """What the model NAME says of itself: input, labels, crops, thresholds, scores, data, licence.

    The model card, a README.md beside the model, tells the same and more in prose.
    """
    row = _facts(_find(name))
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    lines = {
        "model": f"{row['name']} {row['version']} ({row['task']})",
        "folder": row["path"],
        "license": row["license"],
        **_of_task(row),
        "score": _score(row["metrics"]),
        "trained on": "; ".join(row["data"]) or "not stated",
    }
    for file, about in row["files"].items():
        size = "missing" if about["bytes"] is None else f"{about['bytes'] / 1e3:.0f} kB"
        lines[f"file {file}"] = f"{size}, SHA-256 {about['sha256']}"
    lines["files"] = "verified" if row["verified"] else f"broken: {row['problem']}"
    for key, value in lines.items():
        click.echo(f"{key:22} {value}")


@models.command(
    "verify",
    epilog="""\b
Examples:
  ferlite models verify               all that are installed
  ferlite models verify emotion       one
  ferlite models verify ./mine --json

Exit status 1 when a file is missing or was changed.
""",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_JSON
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Hash every file of the models anew and compare with what their bundle.json states."""
    from ferlite.bundles import installed_names

    chosen = list(names) or installed_names()
    if not chosen:
        raise ModelError("no model is installed; install ferlite again, or train one")
    problems: dict[str, str | None] = {}
    for name in chosen:
        try:
            _find(name).verify()
            problems[name] = None
        except ModelError as error:
            problems[name] = str(error)
    if as_json:
        rows = [{"model": n, "verified": p is None, "problem": p} for n, p in problems.items()]
        click.echo(json.dumps(rows, indent=2))
    else:
        for name, problem in problems.items():
            click.echo(f"{name}: {'ok' if problem is None else 'broken'}", err=problem is not None)
            if problem is not None:
                click.echo(f"error: {problem}", err=True)
    ctx.exit(1 if any(problems.values()) else 0)


@models.command(
    "add",
    epilog="""\b
Examples:
  ferlite models add face_detection_yunet_2023mar.onnx
  ferlite models add runs/mine                       a folder that ferlite exported
  ferlite models add https://example.org/m.onnx --sha256 3f9a... --name mine
  ferlite models add https://github.com/opencv/opencv_zoo/raw/main/models/\
face_detection_yunet/face_detection_yunet_2023mar.onnx
Then: ferlite detect clip.mp4 --detector yunet, or --model mine
""",
)
@click.argument("source", metavar="FILE|FOLDER|URL", type=Name())
@click.option("--sha256", metavar="HEX", help="Checksum that the file must have.")
@click.option("--name", metavar="NAME", help="What to call it; by default as it calls itself.")
@click.option("--force", is_flag=True, help="Replace another model of that name.")
@click.option(
    "--timeout",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for a server that sends nothing or next to nothing.",
)
def add(source: str, sha256: str | None, name: str | None, force: bool, timeout: float) -> None:
    """Install a model of your own: it is checked, copied and found by its name from then on.

    It goes to your own models (see `ferlite models --help`), needs no network later, and must be a
    file or folder that ferlite exported, or the face detector YuNet 2023mar of the OpenCV model
    zoo, which is known by its checksum. Any other file from a URL needs --sha256. What is wrong, or
    was interrupted, leaves nothing behind.
    """
    from ferlite.cli.interrupt import raised
    from ferlite.registry import add as install

    with raised(), _download_bar() as progress:
        added = install(
            source, sha256=sha256, name=name, force=force, timeout_s=timeout, progress=progress
        )
    row = _facts(added.bundle)
    size = sum(file["bytes"] or 0 for file in row["files"].values()) / 1e6
    option = "--detector" if row["task"] == "face" else "--model"
    click.echo(
        f"{'added' if added.changed else 'already installed:'} {row['model']}"
        f" ({row['task']} {row['version']}, {size:.2f} MB, {row['license']}) in {row['path']};"
        f" use it with {option} {row['model']}"
    )


@models.command("remove", epilog="\b\nExamples:\n  ferlite models remove yunet\n")
@click.argument("name", type=Name())
def remove(name: str) -> None:
    """Remove the model NAME, one of your own, with its folder."""
    from ferlite.cli.interrupt import raised
    from ferlite.registry import remove as uninstall

    with raised():
        folder = uninstall(name)
    click.echo(f"removed {name} from {folder}")


@contextmanager
def _download_bar() -> Iterator[Progress | None]:
    """A bar on stderr from the first bytes on; None unless that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    with Bar(
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        refresh_per_second=4,
    ) as bar:
        task = None

        def progress(received: int, total: int | None) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("download", total=total)
            bar.update(task, completed=received)

        yield progress


def _find(name: str) -> Bundle:
    from ferlite.bundles import find

    return find(name)


def _facts(bundle: Bundle) -> dict[str, Any]:
    """Everything known of a bundle as plain JSON types."""
    alone = bundle.path.is_file()
    files: dict[str, Any] = {}
    for name, digest in bundle.files.items():
        path = bundle.path if alone else bundle.path / name
        size = path.stat().st_size if path.is_file() else None
        files[name] = {"bytes": size, "sha256": digest}
    try:
        bundle.verify()
        problem = None
    except ModelError as error:
        problem = str(error)
    row = {"model": bundle.path.stem if alone else bundle.path.name, **asdict(bundle)}
    return row | {
        "path": str(bundle.path),
        "files": files,
        "verified": problem is None,
        "problem": problem,
    }


def _of_task(row: dict[str, Any]) -> dict[str, str]:
    """The lines that only a classifier or only a detector has."""
    if "labels" in row:
        takes = row["input"]
        lines = {
            "input": f"{takes['width']}x{takes['height']} {takes['color']} {takes['dtype']}"
            f" {takes['layout']}, pixel * {takes['scale']:g} + {takes['offset']:g}",
            "labels": ", ".join(row["labels"]),
            "output": f"{row['output']}, temperature {row['temperature']:g},"
            f" uncertain below {row['uncertain_below']:g}",
        }
        for detector, crop in row["crop"].items():
            lines[f"crop {detector}"] = (
                f"{crop['scale']:g} x the box, moved by ({crop['dx']:g}, {crop['dy']:g}) of it"
                + (", eyes level" if crop["rotate"] else "")
            )
        return lines
    if "strides" in row:
        return {
            "searches": f"the picture at {row['size']} pixels of its longest side, faces from"
            f" {row['smallest']} pixels there",
            "output": f"strides {', '.join(map(str, row['strides']))}, {row['landmarks']}"
            f" landmarks, threshold {row['threshold']:g}, overlap at most {row['nms_iou']:g}",
        }
    return {}


def _score(metrics: dict[str, Any]) -> str:
    """The scores with n and protocol, without which they would tell nothing."""
    if not metrics.get("n"):
        return "no score stated"
    names = {
        "accuracy": "accuracy",
        "macro-F1": "macro_f1",
        "AP 0.5": "ap50",
        "AP 0.5:0.95": "ap50_95",
    }
    scores = {title: metrics.get(name) for title, name in names.items()}
    told = ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, int | float))
    return f"{told} (n={metrics['n']}, {metrics.get('protocol', 'protocol not stated')})"
