"""Whether results can be written, found out before the run and without leaving anything behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ferlite.errors import SinkError


def writable(folder: Path) -> None:
    """Raises SinkError unless files can be made in `folder`, or `folder` itself can be made."""
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise SinkError(
                f"cannot write to {folder}: {existing} is a file; choose another folder with -o"
            )
        # Permission bits mean nothing to root or on a read-only mount; a file tells for sure.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise SinkError(
            f"cannot write to {folder}: {reason}; choose another folder with -o"
        ) from error
