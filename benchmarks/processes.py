"""What the scripts that measure whole processes share: start one, and see what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ferlite

# The ferlite that is imported here, installed or not, is the one that the processes run.
PACKAGE = str(Path(ferlite.__file__).parent.parent)
# -P: not the one in the working folder, which `-m` would look at first.
FERLITE = (sys.executable, "-P", "-m", "ferlite")


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended.

    wall_s, cpu_s: seconds from start to end, and of processor time in all its threads.
    peak_mb: most memory it had resident, 10^6 bytes; at least that of the process that started it.
    """

    status: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with ferlite to be found, and changes."""
    path = os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | changes


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    output: IO[str] | int = subprocess.DEVNULL,
) -> Ended:
    """Run a command to its end; what it prints, errors too, goes to `output`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen cannot wait for it any more
    return Ended(
        process.returncode, wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a running process so far, all its threads, in user and system mode."""
    # The second field, its name in brackets, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def goal(what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> None:
    """Print a result beside its goal, reached or not."""
    reached = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    word = "reached" if reached else "MISSED"
    print(f"goal {word}: {what}: {value:.4g}{unit} (goal {sign} {limit:g}{unit})", flush=True)


def machine() -> str:
    """Processor, cores and load, for the head of a table."""
    from ferlite.bench.machine import describe

    facts = describe()
    return (
        f"{facts['processor']}, {facts['logical_cores_usable']} cores, load average"
        f" {facts['load_average']}, {facts['instruction_set']}, Python {sys.version.split()[0]},"
        f" ONNX Runtime {facts['onnxruntime']}"
    )
