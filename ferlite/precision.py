"""fp32 or INT8, on the CPU provider or OpenVINO: the fastest way here to run a bundle's network.

INT8 wins where the processor has integer dot products and loses on many others, where its sums may
also saturate: x86 without VNNI adds pairs of products in 16 bits. OpenVINO is sometimes faster and
sometimes not. So all that work are run and compared: once for a model, runtime, processor and
thread count, then remembered in the user's cache folder. Where there is but one way, nothing is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ferlite import cache, graphs, session
from ferlite.arguments import number
from ferlite.bundles import Bundle
from ferlite.errors import FerliteError, ModelError, ProviderError, UsageError
from ferlite.session import Session

PRECISIONS = ("auto", "fp32", "int8")
PROVIDERS = ("auto", *session.PROVIDERS)
# For each way to run it.
MEASURE_S = 0.075
# How much of the time of the best way so far another may take: INT8 is less exact, and a session of
# OpenVINO takes 50 to 140 ms of processor time to make, one of the CPU provider 3 to 9.
WORTH = {"cpu": 0.95, "openvino": 0.8}
# How far any probability may be off. Where the processor has VNNI, the two networks of the packaged
# emotion model differ by at most 0.06.
AGREE = 0.2
# Old entries (models since replaced) are dropped beyond this many.
MAX_ENTRIES = 64

_log = logging.getLogger("ferlite")
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a network. provider: "cpu" or "openvino". precision: "fp32" or "int8"."""

    provider: str
    precision: str

    def __str__(self) -> str:
        return f"{self.precision} on {self.provider}"


@dataclass(frozen=True, slots=True)
class Measured:
    """ms: milliseconds that one run took.

    difference: the most by which a probability was off from fp32 on the CPU provider.
    """

    way: Way
    ms: float
    difference: float


@dataclass(frozen=True, slots=True)
class Choice:
    """way: the one taken. measured: all that were, in the order of preference at equal speed."""

    way: Way
    measured: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What networks are put to.

    timed: an input as large as in use.
    difference: of the answers of two networks, the exact one first: by how much a probability
        differs.
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

    def description(self, bundle: Bundle) -> dict[str, str]:
        """What runs, for records; `bundle` is the one it was opened from."""
        return {
            "task": bundle.task,
            "name": bundle.name,
            "version": bundle.version,
            "precision": self.precision,
            "provider": self.session.provider,
            "file": self.file,
            "sha256": bundle.files[self.file],
        }


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

    provider: "cpu"; "openvino", an error where it does not work; "auto" for the faster.
    threads: as for `session.create`. precision: one of `PRECISIONS`, "auto" for the faster.
    check: raises ModelError unless the network does what the bundle says; called on each opened.
    trial: made when there is something to measure.
    Raises UsageError, ModelError, ProviderError.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    if provider not in PROVIDERS:
        raise UsageError(f"unknown provider {provider!r}; use one of {', '.join(PROVIDERS)}")
    files = bundle.precisions
    if precision not in ("auto", *files):
        raise ModelError(f"{bundle.path}: has no {precision} network, only {', '.join(files)}")

    def opened(way: Way) -> Session:
        name = files[way.precision]

        def made(digest: str) -> Session:
            one = session.create(
                bundle.load(name),
                provider=way.provider,
                threads=threads,
                name=str(bundle.path / name if bundle.path.is_dir() else bundle.path),
                digest=digest,
            )
            check(one)
            return one

        digest = bundle.files[name] if way.precision == "int8" else ""
        try:
            return made(digest)
        except ModelError:
            # What was kept of it on disk may be to blame.
            if not digest:
                raise
            graphs.discard(digest)
            return made("")

    def network(made: Session, kind: str, choice: Choice | None) -> Network:
        return Network(made, kind, files[kind], choice)

    # fp32 first, however the description lists them.
    kinds = sorted(files) if precision == "auto" else [precision]
    providers = session.installed() if provider == "auto" else {provider: ""}
    ways = [Way(one, kind) for kind in kinds for one in providers]
    if len(ways) == 1:
        return network(opened(ways[0]), ways[0].precision, None)
    key = _key(bundle, threads, ways)
    choice = _read().get(key)
    if choice is not None and choice.way in ways:
        # A provider that worked may be gone; one asked for by name is tried again, and says why.
        with contextlib.suppress(ProviderError):
            return network(opened(choice.way), choice.way.precision, choice)
    made, choice = choose(ways, opened, trial(), Way("cpu", min(files)), provider == "auto")
    _write(_read() | {key: choice})
    return network(made, choice.way.precision, choice)


def choose(
    ways: Iterable[Way],
    opened: Callable[[Way], Session],
    trial: Trial,
    exact: Way,
    lenient: bool,
) -> tuple[Session, Choice]:
    """The fastest of the ways that agree with the exact one, by the best time of each, in turns.

    The first way where none agrees. lenient: go without providers that cannot take the network.
    """
    reference = opened(exact)
    networks: dict[Way, tuple[Session, float]] = {}
    for way in ways:
        try:
            made = reference if way == exact else opened(way)
            difference = 0.0 if made is reference else trial.difference(reference, made)
        except FerliteError as error:
            if way.provider == "cpu" or not lenient:
                raise
            if str(error) not in _told:
                _told.add(str(error))
                _log.warning("%s; going without provider %s", error, way.provider)
            continue
        networks[way] = made, difference
    times = _times([made for made, _ in networks.values()], trial.timed)
    measured = [
        Measured(way, round(spent * 1e3, 4), round(difference, 4))
        for (way, (_, difference)), spent in zip(networks.items(), times, strict=True)
    ]
    best = measured[0]
    for one in measured[1:]:
        if one.difference <= AGREE and one.ms < WORTH[one.way.provider] * best.ms:
            best = one
    return networks[best.way][0], Choice(best.way, tuple(measured))


def cache_file() -> Path:
    """Where choices are remembered: $XDG_CACHE_HOME/ferlite/choice.json."""
    return cache.folder() / "choice.json"


def _times(networks: list[Session], batch: NDArray[Any]) -> list[float]:
    """Seconds of one run of each, the best of what fits into the time."""
    times: list[list[float]] = [[] for _ in networks]
    end = time.perf_counter() + MEASURE_S * len(networks)
    while time.perf_counter() < end or len(times[0]) < 3:
        for one, spent in zip(networks, times, strict=True):
            start = time.perf_counter()
            one.run(batch)
            spent.append(time.perf_counter() - start)
    return [min(spent) for spent in times]


def _key(bundle: Bundle, threads: int, ways: Iterable[Way]) -> str:
    versions = [" ".join(one) for one in session.installed().items()]
    parts = [
        *(bundle.files[name][:16] for _, name in sorted(bundle.precisions.items())),
        *versions,
        cache.processor(),
        # A virtual machine may hide VNNI, and INT8 then answers otherwise.
        hashlib.sha256(cache.instructions().encode()).hexdigest()[:16],
        f"threads={threads}",
        ", ".join(map(str, ways)),
    ]
    return "|".join(parts)


def _read() -> dict[str, Choice]:
    """What is remembered, without entries that are damaged or of another version."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    found = {}
    for key, entry in content.items() if isinstance(content, dict) else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            found[key] = _choice(entry)
    return found


def _choice(entry: Any) -> Choice:
    """Of what the cache holds, which anything may have written."""
    measured = tuple(
        Measured(
            _way(one["way"]),
            **{name: number(name, one[name], 0, math.inf, "") for name in ("ms", "difference")},
        )
        for one in entry["measured"]
    )
    way = _way(entry["way"])
    if way not in [one.way for one in measured]:
        raise ValueError(f"{way} was not measured")
    return Choice(way, measured)


def _way(entry: Any) -> Way:
    way = Way(entry["provider"], entry["precision"])
    if way.provider not in session.PROVIDERS or way.precision not in PRECISIONS[1:]:
        raise ValueError(f"{way} is unknown")
    return way


def _write(choices: dict[str, Choice]) -> None:
    kept = dict(list(choices.items())[-MAX_ENTRIES:])
    text = json.dumps({key: asdict(value) for key, value in kept.items()}, indent=1)
    # A cache that cannot be written costs a measurement at each start, nothing else.
    with contextlib.suppress(OSError):
        temporary = cache.temporary(cache_file())
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(cache_file())
        finally:
            temporary.unlink(missing_ok=True)
