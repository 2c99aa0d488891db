"""Ctrl-C and SIGTERM end a run between two records, never within one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Two SIGTERMs within this time, seconds, are one.
ONCE_S = 1.0


class Interrupted(KeyboardInterrupt):
    """The signal `signum` asked to stop; its message is the line for the user."""

    def __init__(self, signum: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signum = signum


class Signals:
    """While entered, the first SIGINT or SIGTERM calls `stop`; a second one raises Interrupted.

    A SIGTERM within `ONCE_S` of the first is not a second one: `timeout` sends it to the process
    and to its group. For the same reason it is ignored from the end on.

    The first is never raised, so nothing is lost or cut short by it: whoever reads what `stop` ends
    comes to that end. `stop` is called on a thread of its own, as the main thread, which handles
    signals, may hold a lock that `stop` takes.

    received: the first signal, None before.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.received: int | None = None
        self._at = 0.0
        self._stop = stop
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
            # The other one of `timeout` may come when all is written.
            ending = self.received == signum == signal.SIGTERM
            signal.signal(signum, signal.SIG_IGN if ending else handler)

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if signum == signal.SIGTERM and time.monotonic() - self._at < ONCE_S:
                return
            raise Interrupted(signum)
        self.received, self._at = signum, time.monotonic()
        threading.Thread(target=self._stop, name="ferlite-stop", daemon=True).start()


@contextmanager
def raised() -> Iterator[None]:
    """SIGINT or SIGTERM raises Interrupted, for work that is undone and not finished when stopped.

    Only the first does: what it sets off, such as removing files, is not disturbed by a second.
    """
    arrived = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal arrived
        if not arrived:
            arrived = True
            raise Interrupted(signum)

    previous = {one: signal.signal(one, handler) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, before in previous.items():
            signal.signal(signum, before)
