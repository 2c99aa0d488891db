"""Whether results can be written, found out before the run and without leaving anything behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ferlite.sinks.partfile import sink_error


def writable(folder: Path) -> None:
    """Raises SinkError unless files can be made in `folder`, or `folder` itself can be made."""
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        # Permission bits mean nothing to root or on a read-only mount; a file tells for sure.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise sink_error(folder, error) from error
