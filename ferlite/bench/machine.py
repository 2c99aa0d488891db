"""The machine: its processor, the energy it takes, the memory of a process."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from ferlite.cache import processor

POWERCAP = Path("/sys/class/powercap")


def describe() -> dict[str, Any]:
    """What figures depend on; JSON types."""
    import onnxruntime

    from ferlite import _core, session

    return {
        "processor": processor(),
        "logical_cores_usable": len(os.sched_getaffinity(0)),
        "threads_default": session.default_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "instruction_set": _core.instruction_set(),
        "onnxruntime": onnxruntime.__version__,
    }


def thread_counts() -> list[int]:
    """1..n of the n cores usable up to 4, beyond that powers of two, n and the default."""
    from ferlite import session
    from ferlite.arguments import MOST_THREADS

    cores = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    counts = set(range(1, min(cores, 4) + 1)) | {session.default_threads(), cores}
    return sorted(counts | {2**k for k in range(3, 9) if 2**k <= cores})


def peak_mb(pid: int) -> float | None:
    """Most memory a process has had resident so far, 10^6 bytes; None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None  # it is ending: its memory is gone


class Energy:
    """Joules that the processor's packages took while it was running, by Intel's RAPL counters.

    All that the machine did then is in them. why_not: why they cannot be read, else empty.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.joules = self.seconds = 0.0
        self.frames = 0
        self.why_not = ""
        # Packages only: core and uncore are part of them.
        zones = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
        ]
        self._counters = {
            zone / "energy_uj": int(_text(zone / "max_energy_range_uj") or 0) for zone in zones
        }
        if not zones:
            self.why_not = f"this machine shows no energy counter (RAPL in {root})"
        else:
            try:
                self._read()
            except (OSError, ValueError) as error:
                self.why_not = f"the energy counter cannot be read: {error}; root may read it"
        self._start: tuple[float, dict[Path, int]] | None = None

    def begin(self) -> None:
        """Count from here."""
        if not self.why_not:
            self._start = time.perf_counter(), self._read()

    def end(self, frames: int) -> None:
        """Count no further; so many frames were analysed meanwhile."""
        if self._start is None:
            return
        began, before = self._start
        self._start = None
        for path, value in self._read().items():
            used = value - before[path]
            # It starts again from 0 at the end of its range, after an hour or so.
            self.joules += (used if used >= 0 else used + self._counters[path]) / 1e6
        self.seconds += time.perf_counter() - began
        self.frames += frames

    def to_dict(self) -> dict[str, Any]:
        """joules_per_frame, watts, seconds measured; or `unavailable` with the reason."""
        if self.why_not or not self.frames:
            return {"unavailable": self.why_not or "nothing was measured"}
        return {
            "joules_per_frame": round(self.joules / self.frames, 6),
            "watts": round(self.joules / self.seconds, 3),
            "seconds": round(self.seconds, 3),
        }

    def _read(self) -> dict[Path, int]:
        return {path: int(path.read_text()) for path in self._counters}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
