"""fp32 or INT8: whichever network of a bundle is faster on this machine.

INT8 wins where the processor has integer dot products and loses on many others, so it is measured:
once for a model, runtime, processor, provider and thread count, then remembered in the user's
cache folder.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.bundles import Bundle
from ferlite.session import Session

# Faces in a measured batch: a frame of video holds a few.
BATCH = 4
MEASURE_S = 0.15
# The fp32 network is the more exact one; INT8 must be worth it.
WORTH = 0.95
# Old entries (models since replaced) are dropped beyond this many.
MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """precision: "fp32" or "int8"; fp32_ms, int8_ms: milliseconds a batch of `BATCH` faces took."""

    precision: str
    fp32_ms: float
    int8_ms: float


def choose(bundle: Bundle, fp32: Session, open_int8: Callable[[], Session], threads: int) -> Choice:
    """The faster of a bundle's two networks, measured for `MEASURE_S` unless remembered."""
    key = _key(bundle, fp32.provider, threads)
    found = _read().get(key)
    if found is None:
        found = measure(bundle, fp32, open_int8())
        _write(_read() | {key: found})
    return found


def measure(bundle: Bundle, fp32: Session, int8: Session) -> Choice:
    """Time both networks on this machine, in turns, and take the best time of each."""
    spec = bundle.input
    sides = (spec.height, spec.width)
    channels = 1 if spec.color == "gray" else 3
    shape = (*sides, channels) if spec.layout == "NHWC" else (channels, *sides)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, *shape))
    batch = (pixels * spec.scale + spec.offset).astype(spec.dtype)
    for session in (fp32, int8):
        session.run(batch)  # the first run allocates
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + MEASURE_S
    while time.perf_counter() < end or len(times[1]) < 3:
        for session, spent in zip((fp32, int8), times, strict=True):
            spent.append(_time(session, batch))
    fast = [round(min(spent) * 1e3, 4) for spent in times]
    return Choice("int8" if fast[1] < WORTH * fast[0] else "fp32", fast[0], fast[1])


def cache_file() -> Path:
    """Where choices are remembered: $XDG_CACHE_HOME/ferlite/choice.json."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ferlite" / "choice.json"


def _time(session: Session, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    session.run(batch)
    return time.perf_counter() - start


def _key(bundle: Bundle, provider: str, threads: int) -> str:
    import onnxruntime

    sums = [bundle.files[name][:16] for _, name in sorted(bundle.precisions.items())]
    parts = [*sums, onnxruntime.__version__, _processor(), provider, f"threads={threads}"]
    return "|".join(parts)


def _processor() -> str:
    """The processor's model as Linux names it; aarch64 has only part numbers, which do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    wanted = ("model name", "CPU implementer", "CPU part", "Model")
    facts = {line for line in lines if line.split("\t")[0].strip() in wanted}
    return (
        platform.machine() + " " + " ".join(sorted(line.split(":")[-1].strip() for line in facts))
    )


def _read() -> dict[str, Choice]:
    """What is remembered; nothing when the file is missing, damaged or of another version."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
        choices = {key: Choice(**value) for key, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    known = {"fp32", "int8"}
    return {key: value for key, value in choices.items() if value.precision in known}


def _write(choices: dict[str, Choice]) -> None:
    kept = dict(list(choices.items())[-MAX_ENTRIES:])
    text = json.dumps({key: asdict(value) for key, value in kept.items()}, indent=1)
    path = cache_file()
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that a reader never sees half a file.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        # A cache that cannot be written costs a measurement at each start, nothing else.
        if temporary:
            Path(temporary).unlink(missing_ok=True)
