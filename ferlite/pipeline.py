"""Stages on threads of their own, joined by short queues, with the order kept.

    source -> [queue] -> stage -> [queue] -> stage -> [queue] -> the consumer, on its own thread

Decoding, detection and classification overlap because all of them release the GIL. A queue holds
few items, so memory does not grow with the length of the source: a fast stage waits for a slow one.
A live source must not wait; there the first queue keeps the newest items and drops the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
Stage = tuple[str, Callable[[Any], Any]]

READ = "read"  # the name under which the source's seconds are counted


class _EndError(Exception):
    """The writer of a queue has finished and all its items are taken."""


class _Queue:
    """A bounded queue with an end, an error at its end, and a reader that may leave."""

    def __init__(self, depth: int, expendable: Callable[[Any], bool] | None = None) -> None:
        self._items: deque[Any] = deque()
        self._depth = depth
        self._expendable = expendable
        self._changed = threading.Condition()
        self._finished = False
        self._abandoned = False
        self.error: BaseException | None = None
        self.dropped = 0

    def put(self, item: Any) -> bool:
        """Wait for room and add an item; False when the reader has left."""
        with self._changed:
            while len(self._items) >= self._depth and not self._abandoned:
                if not self._drop_for(item):
                    self._changed.wait()
            if self._abandoned:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def _drop_for(self, item: Any) -> bool:
        """Make room for an item that cannot wait, by the oldest that may be dropped."""
        if self._expendable is not None and self._expendable(item):
            for place, waiting in enumerate(self._items):
                if self._expendable(waiting):
                    del self._items[place]
                    self.dropped += 1
                    return True
        return False

    def get(self) -> Any:
        """Wait for an item; at the end raise the writer's error, or `_EndError`."""
        with self._changed:
            while not self._items:
                if self.error is not None:
                    raise self.error
                if self._finished:
                    raise _EndError
                self._changed.wait()
            self._changed.notify_all()
            return self._items.popleft()

    def finish(self, error: BaseException | None = None) -> None:
        """The writer is done; the reader still gets what is queued, then the error."""
        with self._changed:
            self._finished = True
            self.error = error
            self._changed.notify_all()

    def abandon(self) -> None:
        """The reader is gone; the writer finds out at its next `put`."""
        with self._changed:
            self._abandoned = self._finished = True
            self._items.clear()
            self._changed.notify_all()


class Pipeline(Generic[T]):
    """Runs the items of a source through stages; iterate over it for the results, in order.

    source: read on a thread of its own; one that has `close()` must allow it from another thread.
    stages: (name, function of one item) each run on a thread of its own.
    depth: items in each queue.
    expendable: of two items for which this is true, the newer one replaces the older one where it
        would have to wait, as frames of a camera must.

    An exception of the source or a stage reaches the consumer, with its traceback, after the
    results of all items before it. `stop` ends the source and lets what was read come out: an
    interrupt (Ctrl-C) inside `next()` leaves the pipeline usable, so the consumer may stop it and
    go on iterating. `close`, leaving the `with` block, or losing the last reference drop what
    is under way and end the threads.
    """

    def __init__(
        self,
        source: Iterable[Any],
        stages: Sequence[Stage],
        *,
        depth: int = 2,
        expendable: Callable[[Any], bool] | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth is {depth}; a queue holds at least 1 item")
        self.seconds: dict[str, float] = {READ: 0.0} | {name: 0.0 for name, _ in stages}
        self._source = source
        self._stopping = threading.Event()
        queues = [_Queue(depth, expendable), *(_Queue(depth) for _ in stages)]
        self._first, self._last = queues[0], queues[-1]
        self._queues = queues
        # The threads hold the queues but not this object, so that it can be collected. Daemons:
        # a program that dies with a pipeline open must not hang at its exit.
        self._threads = [
            threading.Thread(
                target=_read,
                args=(source, queues[0], self._stopping, self.seconds),
                name=f"ferlite-{READ}",
                daemon=True,
            )
        ]
        for number, (name, function) in enumerate(stages):
            self._threads.append(
                threading.Thread(
                    target=_work,
                    args=(name, function, queues[number], queues[number + 1], self.seconds),
                    name=f"ferlite-{name}",
                    daemon=True,
                )
            )
        for thread in self._threads:
            thread.start()

    @property
    def dropped(self) -> int:
        """Items of a live source that were skipped because the stages were busy."""
        return self._first.dropped

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            item: T = self._last.get()
        except _EndError:
            self._join()
            raise StopIteration from None
        except BaseException as error:
            # An interrupt of this thread leaves the pipeline as it is.
            if error is self._last.error:
                self.close()
            raise
        return item

    def stop(self) -> None:
        """End the source; the results of what was read can still be taken."""
        self._stopping.set()
        self._close_source()

    def close(self) -> None:
        """End all threads and drop what is under way; may be called again."""
        self._stopping.set()
        for queue in self._queues:
            queue.abandon()
        self._close_source()
        self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Not joined: this may run on any thread, one of the pipeline's own among them.
        if hasattr(self, "_queues"):
            self._stopping.set()
            for queue in self._queues:
                queue.abandon()

    def _close_source(self) -> None:
        # Unblocks a camera or stream that waits for its next frame.
        close = getattr(self._source, "close", None)
        if close is not None and not isinstance(self._source, Iterator):
            close()

    def _join(self) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


def _read(
    source: Iterable[Any], queue: _Queue, stopping: threading.Event, seconds: dict[str, float]
) -> None:
    try:
        items = iter(source)
        while not stopping.is_set():
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                break
            finally:
                seconds[READ] += time.perf_counter() - start
            if not queue.put(item):
                break
            del item
    except BaseException as error:
        # A source closed in the middle of a read may complain; it was asked to end.
        queue.finish(None if stopping.is_set() else error)
    else:
        queue.finish()


def _work(
    name: str,
    function: Callable[[Any], Any],
    source: _Queue,
    target: _Queue,
    seconds: dict[str, float],
) -> None:
    try:
        while True:
            item = source.get()
            start = time.perf_counter()
            try:
                result = function(item)
            finally:
                seconds[name] += time.perf_counter() - start
            del item
            if not target.put(result):
                break
            del result
    except _EndError:
        target.finish()
    except BaseException as error:
        target.finish(error)
    finally:
        source.abandon()
