"""Folders prepared out of sight and renamed into place, whole and on the disk, or removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PREFIX = ".ferlite-part-"  # ours alone: such folders are removed, whoever else uses the place
# A working folder of no living process is removed; one so young may not have its lock yet.
_STALE_S = 60.0


@contextlib.contextmanager
def working_folder(root: Path) -> Iterator[Path]:
    """An empty folder inside `root`, removed at the end with whatever is still in it.

    `root` is made where it is missing. Folders left there by processes that were killed are
    removed: a lock, where the file system has locks, tells them from those in use. OSError passes.
    """
    # Named before it is made: a signal at any moment after finds it to be removed.
    folder = root / (_PREFIX + secrets.token_hex(8))
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_stale(root)
        folder.mkdir()
        with _opened(folder) as descriptor:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block ends; OSError where `path` exists."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, data: bytes) -> None:
    """See `new_file`."""
    with new_file(path) as file:
        file.write(data)


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


def _remove_stale(root: Path) -> None:
    for folder in root.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):  # in use, no locks here, or another removes it
            if time.time() - folder.stat().st_mtime > _STALE_S:
                with _opened(folder) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
