"""`ferlite models`: what is installed, what a model says of itself, whether its files are whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ferlite.errors import ModelError

if TYPE_CHECKING:
    from ferlite.bundles import Bundle

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(
    epilog="""\b
Examples:
  ferlite models list
  ferlite models show emotion
  ferlite models verify
"""
)
def models() -> None:
    """Installed models: those that came with ferlite, and your own.

    Yours are folders with a bundle.json under ~/.local/share/ferlite/models (or
    $FERLITE_HOME/models). Wherever a NAME is asked for, the path of such a folder or of an .onnx
    file that ferlite exported does as well.
    """


@models.command(
    "list", epilog="\b\nExamples:\n  ferlite models list\n  ferlite models list --json\n"
)
@_JSON
def list_(as_json: bool) -> None:
    """One line a model: name, task, version, size, score, and whether its files are whole."""
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
            f"{row['model']:12} {row['task']} {row['version']}  {size:.2f} MB"
            f"  {_score(row['metrics'])}  {state}"
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
    takes = row["input"]
    lines = {
        "model": f"{row['name']} {row['version']} ({row['task']})",
        "folder": row["path"],
        "license": row["license"],
        "input": f"{takes['width']}x{takes['height']} {takes['color']} {takes['dtype']}"
        f" {takes['layout']}, pixel * {takes['scale']:g} + {takes['offset']:g}",
        "labels": ", ".join(row["labels"]),
        "output": f"{row['output']}, temperature {row['temperature']:g},"
        f" uncertain below {row['uncertain_below']:g}",
        "score": _score(row["metrics"]),
        "trained on": "; ".join(row["data"]) or "not stated",
    }
    for detector, crop in row["crop"].items():
        lines[f"crop {detector}"] = (
            f"{crop['scale']:g} x the box, moved by ({crop['dx']:g}, {crop['dy']:g}) of it"
            + (", eyes level" if crop["rotate"] else "")
        )
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


def _score(metrics: dict[str, Any]) -> str:
    """The scores with n and protocol, without which they would tell nothing."""
    if not metrics.get("n"):
        return "no score stated"
    scores = {"accuracy": metrics.get("accuracy"), "macro-F1": metrics.get("macro_f1")}
    told = ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, int | float))
    return f"{told} (n={metrics['n']}, {metrics.get('protocol', 'protocol not stated')})"
