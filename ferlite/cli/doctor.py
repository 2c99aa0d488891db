"""`ferlite doctor`: what works on this machine, and what to do where something does not."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ferlite.cli.checks import Check, run_checks
from ferlite.cli.params import Name

_COLORS = {"ok": "green", "missing": "yellow", "broken": "red"}


@click.command(
    epilog="""\b
Examples:
  ferlite doctor                      look at everything
  ferlite doctor -o /mnt/usb/faces    is there room to write there?
  ferlite doctor --json | jq '.[] | select(.state != "ok")'

Exit status 1 when something that ferlite needs is broken, else 0.
"""
)
@click.option(
    "-o",
    "--output",
    type=Name(path_type=Path),
    default=Path("ferlite-output"),
    show_default=True,
    help="Folder whose writability is tested; nothing is left there.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list of checks instead of text.")
@click.pass_context
def doctor(ctx: click.Context, output: Path, as_json: bool) -> None:
    """Tells what works on this machine: versions, processor, providers, models, codecs, cameras.

    Kernels, providers, models, detectors, codecs and folders are put to work, the rest is looked
    up; under each line that is missing or broken stands what to do.
    """
    checks = []
    for check in run_checks(output):
        checks.append(check)
        if not as_json:
            _print(check)
    if as_json:
        click.echo(json.dumps([vars(check) for check in checks], indent=2))
    broken = [check.name for check in checks if check.state == "broken"]
    if not as_json:
        click.echo(f"broken: {', '.join(broken)}" if broken else "everything ferlite needs works")
    ctx.exit(1 if broken else 0)


def _print(check: Check) -> None:
    state = click.style(f"{check.state:7}", fg=_COLORS[check.state])
    click.echo(f"{state}  {check.name:22}  {check.detail}")
    if check.remedy:
        click.echo(f"{'':9}{'':24}-> {check.remedy}")
