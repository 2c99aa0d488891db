"""The user's cache folder, and what names this machine in it.

Nothing there is ever needed: what is missing, damaged or cannot be written costs time alone.
"""

from __future__ import annotations

import functools
import os
import platform
import tempfile
from pathlib import Path


def folder() -> Path:
    """$XDG_CACHE_HOME/ferlite, or ~/.cache/ferlite; perhaps not there yet.

    OSError where the user has no home.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "ferlite"
    except RuntimeError as error:  # neither $HOME nor an entry in the list of users
        raise OSError(str(error)) from None


def temporary(path: Path) -> Path:
    """A new empty file beside `path`, to be renamed to it, so that no reader sees half a file.

    The folder is made where it is missing. OSError passes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(handle)
    return Path(name)


def processor() -> str:
    """The processor's model as Linux names it; aarch64 has only part numbers, which do."""
    wanted = ("model name", "CPU implementer", "CPU part", "Model")
    return f"{platform.machine()} {_cpuinfo(*wanted)}".strip()


def instructions() -> str:
    """What the processor can do, in Linux's words; a virtual machine may hide some of it."""
    return _cpuinfo("flags", "Features")


def _cpuinfo(*names: str) -> str:
    """The different values of these fields of /proc/cpuinfo; empty where there is none."""
    fields = {line for line in _lines() if line.split("\t")[0].strip() in names}
    return " ".join(sorted(line.split(":")[-1].strip() for line in fields))


# Linux makes it up anew for each reader, which takes it a while.
@functools.cache
def _lines() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/cpuinfo").read_text(errors="replace").splitlines())
    except OSError:
        return ()
