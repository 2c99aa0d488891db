"""What is shown on stderr while a run goes on: a bar on a terminal, failures everywhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlite.cli.stderr import say

if TYPE_CHECKING:
    from ferlite.types import FrameResult, SourceInfo

# A video cut off in the middle can fail at each of its frames; a folder lists each bad picture.
MAX_FAILURES_PER_SOURCE = 5


class Progress:
    """A bar with rate, remaining time and the faces seen now; nothing of it unless on a terminal.

    Videos get a bar each; stills in a row share one that counts all `items` of the run. Counts
    failures in `failed`.
    """

    def __init__(self, items: int) -> None:
        self.failed = 0
        self._items = items
        self._number = 0
        self._source: SourceInfo | None = None
        self._failed_here = 0
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task: Any = None
        self._began = 0.0
        self._done = 0

    def begin(self, info: SourceInfo) -> None:
        """The next source starts."""
        still = info.kind == "image"
        again = still and self._source is not None and self._source.kind == "image"
        self._source = info
        self._number += 1
        self._failed_here = 0
        if self._bar is None or again:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._bar.start()
        name, total, done = _short(info), info.frames, 0
        if self._items > 1 and still:
            name, total, done = "pictures", self._items, self._number - 1
        elif self._items > 1:
            name += f" ({self._number}/{self._items})"
        elif still:
            total = 1
        self._task = self._bar.add_task(name, total=total, completed=done, faces="", rate="")
        self._began, self._done = time.monotonic(), 0

    def advance(self, result: FrameResult) -> None:
        """One more frame is done."""
        if result.error is not None:
            self._failure(result, result.error)
        if self._bar is not None:
            self._done += 1
            seconds = time.monotonic() - self._began
            rate = f"{self._done / seconds:.1f}/s" if seconds > 0.2 else ""
            count = len(result.faces)
            faces = f"{count} face{'' if count == 1 else 's'}"
            self._bar.update(self._task, advance=1, faces=faces, rate=rate)

    def stop(self) -> None:
        """Takes the bar away; may be called more than once."""
        if self._bar is not None:
            self._bar.stop()

    def _failure(self, result: FrameResult, error: str) -> None:
        self.failed += 1
        self._failed_here += 1
        if self._failed_here > MAX_FAILURES_PER_SOURCE:
            return
        still = self._source is not None and self._source.kind == "image"
        where = result.source if still else f"{result.source} at {result.t:.2f} s"
        self._say(f"error: {error}" if result.source in error else f"error: {where}: {error}")
        if self._failed_here == MAX_FAILURES_PER_SOURCE:
            self._say(f"error: {result.source}: further failures are only in the records")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            say(line)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[faces]}"),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        refresh_per_second=4,  # drawing costs time on a small CPU
    )


def _short(info: SourceInfo) -> str:
    """A name that leaves room for the bar."""
    name = info.name if info.kind == "live" else Path(info.name).name
    return name if len(name) <= 32 else "..." + name[-29:]
