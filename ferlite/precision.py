"""fp32 or INT8: whichever network of a bundle is faster on this machine, if the two agree.

INT8 wins where the processor has integer dot products and loses on many others, where its sums may
also saturate: x86 without VNNI adds pairs of products in 16 bits. So both are run and compared:
once for a model, runtime, processor, provider and thread count, then remembered in the user's
cache folder.
"""

from __future__ import annotations

import json
import math
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

from ferlite.arguments import number
from ferlite.bundles import Bundle, InputSpec
from ferlite.crops import crop_faces
from ferlite.errors import ModelError
from ferlite.session import Session

# Faces in a measured batch: a frame of video holds a few.
BATCH = 4
MEASURE_S = 0.15
# The fp32 network is the more exact one; INT8 must be worth it.
WORTH = 0.95
# Pictures to compare answers on, and how far any probability may be off. Where the processor has
# VNNI, the two networks of the packaged model differ by at most 0.06 on such pictures.
COMPARED = 16
AGREE = 0.2
# Old entries (models since replaced) are dropped beyond this many.
MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """precision: "fp32" or "int8"; fp32_ms, int8_ms: milliseconds a batch of `BATCH` faces took.

    difference: the most by which a probability differed between the two.
    """

    precision: str
    fp32_ms: float
    int8_ms: float
    difference: float


def choose(bundle: Bundle, fp32: Session, open_int8: Callable[[], Session], threads: int) -> Choice:
    """What `measure` says of a bundle's two networks, unless that is remembered."""
    key = _key(bundle, fp32.provider, threads)
    found = _read().get(key)
    if found is None:
        found = measure(bundle, fp32, open_int8())
        _write(_read() | {key: found})
    return found


def measure(bundle: Bundle, fp32: Session, int8: Session) -> Choice:
    """The faster by the best time of each, run in turns for `MEASURE_S`; fp32 unless they agree."""
    pictures = _pictures(bundle.input)
    exact, rough = (probabilities(bundle, one.run(pictures)[0], one.name) for one in (fp32, int8))
    difference = round(float(np.abs(exact - rough).max()), 4)
    batch = pictures[:BATCH]
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + MEASURE_S
    while time.perf_counter() < end or len(times[1]) < 3:
        for session, spent in zip((fp32, int8), times, strict=True):
            spent.append(_time(session, batch))
    fast = [round(min(spent) * 1e3, 4) for spent in times]
    better = fast[1] < WORTH * fast[0] and difference <= AGREE
    return Choice("int8" if better else "fp32", fast[0], fast[1], difference)


def probabilities(bundle: Bundle, output: NDArray[np.float32], network: str) -> NDArray[np.float32]:
    """Of a network's output [n, labels], at the bundle's temperature; each row sums to 1.

    Raises ModelError, naming the network, when a score is not finite.
    """
    scores = output.astype(np.float64)
    if not np.isfinite(scores).all():
        raise ModelError(f"{network}: gave a score that is not a finite number")
    if bundle.output == "probabilities":
        # The same temperature then sharpens or flattens them.
        scores = np.log(np.maximum(scores, 1e-12))
    scores /= bundle.temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = np.divide(powers, powers.sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    return shares


def cache_file() -> Path:
    """Where choices are remembered: $XDG_CACHE_HOME/ferlite/choice.json."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ferlite" / "choice.json"


def _pictures(spec: InputSpec) -> NDArray[Any]:
    """Soft blobs, the same everywhere: enlarged noise, which stirs the network as faces do."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (64, 64, 3), np.uint8)
    side = 6
    corners = draw.uniform(0, len(noise) - side, (COMPARED, 2))
    return crop_faces(
        noise,
        np.hstack([corners, np.full_like(corners, side)]),
        size=(spec.width, spec.height),
        color=spec.color,
        dtype=spec.dtype,
        scale=spec.scale,
        offset=spec.offset,
        layout=spec.layout,
    )


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
        return {key: _choice(**value) for key, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _choice(precision: str, **numbers: float) -> Choice:
    """A Choice of what the cache holds, which anything may have written."""
    if precision not in ("fp32", "int8"):
        raise ValueError(precision)
    return Choice(
        precision,
        **{name: number(name, value, 0, math.inf, "") for name, value in numbers.items()},
    )


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
