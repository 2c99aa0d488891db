"""Ctrl-C and SIGTERM end a run between two records, never within one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The signal `signum` asked to stop; its message is the line for the user."""

    def __init__(self, signum: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signum = signum


class Signals:
    """While entered, SIGINT and SIGTERM raise Interrupted in the main thread.

    Inside `with signals.held():` the first one waits for the end of the block, so that a record
    or a file being closed is whole; a second one means it and is raised at once.
    """

    def __init__(self) -> None:
        self._holding = False
        self._seen = False
        self._waiting: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._previous[signum] = signal.signal(signum, self._arrived)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs the block whole, then raises what arrived meanwhile."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            raise Interrupted(waiting)

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        again, self._seen = self._seen, True
        if again or not self._holding:
            raise Interrupted(signum)
        self._waiting = signum
