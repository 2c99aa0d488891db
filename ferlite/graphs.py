"""Optimised networks on disk, so that a session starts sooner.

ONNX Runtime rewrites a network each time it loads it. For a quantized one, whose pairs of
quantization and its inverse have to be found and fused, that is most of the work: of the packaged
INT8 networks a session takes 6.1 and 5.7 ms of processor time to make, and 3.8 and 2.9 from the
rewritten network, reading and verifying it included; of the fp32 networks 5.1 and 2.9 ms against
6.1 and 2.6 (`python benchmarks/session_start.py`). So only quantized ones are kept. What is
rewritten fits the processor: a name begins with a digest of all that it depends on, and ends with
that of the content, so that a damaged file is never loaded.

OpenVINO has a cache of its own, which does not pay: with its `cache_dir` a session took 75 to 177
ms to make, without 69 to 166.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from ferlite import cache

# A larger network is not kept; all files together, and their number, stay within the others.
LARGEST_BYTES = 2**26
MOST_BYTES = 2**28
MOST_FILES = 16


def folder() -> Path:
    """Where they are kept."""
    return cache.folder() / "graphs"


def load(digest: str) -> bytes | None:
    """The optimised form, as ONNX, of the model with this SHA-256; None where none is kept."""
    for path in _kept(digest):
        try:
            facts = path.lstat()
            # Only what this user wrote and nobody else can have changed since.
            if (
                not stat.S_ISREG(facts.st_mode)
                or facts.st_uid != os.getuid()
                or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
                or facts.st_size > 2 * LARGEST_BYTES
            ):
                continue
            content = path.read_bytes()
            if path.stem.endswith("-" + hashlib.sha256(content).hexdigest()):
                with contextlib.suppress(OSError):
                    path.touch()  # the longest unused go first
                return content
            path.unlink()
        except OSError:
            continue
    return None


def discard(digest: str) -> None:
    """Remove what is kept of a model: it was not what it should be."""
    for path in _kept(digest):
        with contextlib.suppress(OSError):
            path.unlink()


def _kept(digest: str) -> list[Path]:
    try:
        return list(folder().glob(f"{_key(digest)}-*.onnx"))
    except OSError:
        return []


def begin(digest: str, size: int) -> Path | None:
    """A file to write the optimised form of a model of so many bytes to, for `keep`.

    None where it cannot be kept.
    """
    if size > LARGEST_BYTES:
        return None
    try:
        return cache.temporary(folder() / _key(digest))
    except OSError:
        return None


def keep(digest: str, written: Path) -> None:
    """Keep what was written to the file that `begin` gave, which then is no longer there."""
    with contextlib.suppress(OSError):
        content = hashlib.sha256(written.read_bytes()).hexdigest()
        written.replace(written.with_name(f"{_key(digest)}-{content}.onnx"))
        _prune()


def _key(digest: str) -> str:
    import onnxruntime

    facts = (
        digest,
        onnxruntime.__version__,
        onnxruntime.get_build_info(),
        cache.processor(),
        cache.instructions(),
    )
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:32]


def _prune() -> None:
    """Remove the longest unused beyond the limits, and what killed processes left."""
    files = [(path.stat(), path) for path in folder().iterdir()]
    total = 0
    for number, (facts, path) in enumerate(sorted(files, key=_last_use, reverse=True), 1):
        total += facts.st_size
        if number > MOST_FILES or total > MOST_BYTES:
            path.unlink(missing_ok=True)


def _last_use(file: tuple[os.stat_result, Path]) -> int:
    return file[0].st_mtime_ns
