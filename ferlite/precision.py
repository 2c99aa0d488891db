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

from numpy.typing import NDArray

from ferlite import session
from ferlite.arguments import number
from ferlite.bundles import Bundle
from ferlite.errors import ModelError, UsageError
from ferlite.session import Session

PRECISIONS = ("auto", "fp32", "int8")
MEASURE_S = 0.15
# The fp32 network is the more exact one; INT8 must be worth it.
WORTH = 0.95
# How far any probability may be off. Where the processor has VNNI, the two networks of the packaged
# emotion model differ by at most 0.06.
AGREE = 0.2
# Old entries (models since replaced) are dropped beyond this many.
MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """precision: "fp32" or "int8"; fp32_ms, int8_ms: milliseconds that one run of each took.

    difference: the most by which a probability differed between the two.
    """

    precision: str
    fp32_ms: float
    int8_ms: float
    difference: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What two networks are put to.

    timed: an input as large as in use.
    difference: of the answers of two networks, fp32 first: by how much a probability differs.
    """

    timed: NDArray[Any]
    difference: Callable[[Session, Session], float]


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a bundle that runs: its session, "fp32" or "int8", and its file's name.

    choice: how it was chosen; None where there was nothing to choose.
    """

    session: Session
    precision: str
    file: str
    choice: Choice | None


def open_network(
    bundle: Bundle,
    *,
    provider: str,
    threads: int,
    precision: str,
    check: Callable[[Session], None],
    trial: Callable[[], Trial],
) -> Network:
    """Open one of a bundle's networks.

    provider, threads: as for `session.create`. precision: one of `PRECISIONS`.
    check: raises ModelError unless the network does what the bundle says; called on each opened.
    trial: made when there is something to measure.
    Raises UsageError, ModelError, ProviderError.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    files = bundle.precisions

    def opened(kind: str) -> Session:
        name = files[kind]
        made = session.create(
            bundle.load(name),
            provider=provider,
            threads=threads,
            name=str(bundle.path / name if bundle.path.is_dir() else bundle.path),
        )
        check(made)
        return made

    choice = None
    if precision == "auto":
        precision = next(iter(files))
        if len(files) > 1:
            fp32 = opened("fp32")
            choice = choose(bundle, fp32, lambda: opened("int8"), threads, trial)
            precision = choice.precision
            if precision == "fp32":
                return Network(fp32, precision, files[precision], choice)
    elif precision not in files:
        raise ModelError(f"{bundle.path}: has no {precision} network, only {', '.join(files)}")
    return Network(opened(precision), precision, files[precision], choice)


def choose(
    bundle: Bundle,
    fp32: Session,
    open_int8: Callable[[], Session],
    threads: int,
    trial: Callable[[], Trial],
) -> Choice:
    """What `measure` says of a bundle's two networks, unless that is remembered."""
    key = _key(bundle, fp32.provider, threads)
    found = _read().get(key)
    if found is None:
        found = measure(trial(), fp32, open_int8())
        _write(_read() | {key: found})
    return found


def measure(trial: Trial, fp32: Session, int8: Session) -> Choice:
    """The faster by the best time of each, run in turns for `MEASURE_S`; fp32 unless they agree."""
    difference = round(trial.difference(fp32, int8), 4)
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + MEASURE_S
    while time.perf_counter() < end or len(times[1]) < 3:
        for one, spent in zip((fp32, int8), times, strict=True):
            spent.append(_time(one, trial.timed))
    fast = [round(min(spent) * 1e3, 4) for spent in times]
    better = fast[1] < WORTH * fast[0] and difference <= AGREE
    return Choice("int8" if better else "fp32", fast[0], fast[1], difference)


def cache_file() -> Path:
    """Where choices are remembered: $XDG_CACHE_HOME/ferlite/choice.json."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ferlite" / "choice.json"


def _time(network: Session, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    network.run(batch)
    return time.perf_counter() - start


def _key(bundle: Bundle, provider: str, threads: int) -> str:
    import onnxruntime

    sums = [bundle.files[name][:16] for _, name in sorted(bundle.precisions.items())]
    parts = [*sums, onnxruntime.__version__, processor(), provider, f"threads={threads}"]
    return "|".join(parts)


def processor() -> str:
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
