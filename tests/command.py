"""Runs ferlite as a user does: as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ferlite

# Where the ferlite under test was imported from: the checkout, or an installed wheel.
PACKAGE_ROOT = Path(ferlite.__file__).resolve().parent.parent


def start(
    *arguments: str | Path, cwd: Path, terminal: str = "dumb", **options: Any
) -> subprocess.Popen[str]:
    """`ferlite arguments...`, started in `cwd`, its caches there too; output is captured."""
    environment = os.environ | {
        "PYTHONPATH": str(PACKAGE_ROOT),
        "XDG_CACHE_HOME": str(cwd / ".cache"),
        "COLUMNS": "100",
        "TERM": terminal,
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(
        [sys.executable, "-m", "ferlite", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        text=True,
        **pipes,
    )


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The records of a finished run."""
    text = (folder / "results.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def ferlite_command(
    *arguments: str | Path, cwd: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The same, waited for."""
    process = start(*arguments, cwd=cwd, **options)
    try:
        stdout, stderr = process.communicate(timeout=240)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
