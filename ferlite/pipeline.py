"""Stages on threads of their own, joined by short queues, with the order kept.

    source -> [queue] -> stage -> [queue] -> stage -> [queue] -> the consumer, on its own thread

Decoding, detection and classification overlap because all of them release the GIL. A queue holds
few items, so memory does not grow with the length of the source: a fast stage waits for a slow one.
Where items may be heavy, such as pictures of 50 megapixels, their weight is bounded as well.
A live source must not wait; there the first queue keeps the newest items and drops the others.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Together:
    """A stage's work on several items at once, where they are waiting anyway.

    function: of a list of items; gives their results, in order.
    most: how many items may go together with this one; 1: it goes alone.
    """

    function: Callable[[list[Any]], Sequence[Any]]
    most: Callable[[Any], int]


Stage = tuple[str, Callable[[Any], Any] | Together]

READ = "read"  # the name under which the source's seconds are counted

# How long `close` waits for a source that nothing can interrupt, seconds.
PATIENCE_S = 1.0


class _EndError(Exception):
    """The writer of a queue has finished and all its items are taken."""


class _Intake:
    """Whether the source is read on: until it is stopped, and while there is room."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._held = 0.0
        self._changed = threading.Condition()
        self.stopped = False

    def wait(self) -> bool:
        """Wait for room; False when the source is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or self._held < self._limit)
            return not self.stopped

    def add(self, weight: float) -> None:
        """An item came in, or with a negative weight went out."""
        with self._changed:
            self._held += weight
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


class _Queue:
    """A bounded queue with an end, an error at its end, and a reader that may leave.

    Each item comes with its weight.
    """

    def __init__(self, depth: int, expendable: Callable[[Any], bool] | None = None) -> None:
        self._items: deque[tuple[Any, float]] = deque()
        self._depth = depth
        self._expendable = expendable
        self._changed = threading.Condition()
        self._finished = False
        self._abandoned = False
        self.error: BaseException | None = None
        self.dropped = 0

    def put(self, item: Any, weight: float) -> bool:
        """Wait for room and add an item; False when the reader has left."""
        with self._changed:
            while len(self._items) >= self._depth and not self._abandoned:
                if not self._drop_for(item):
                    self._changed.wait()
            if self._abandoned:
                return False
            self._items.append((item, weight))
            self._changed.notify_all()
            return True

    def _drop_for(self, item: Any) -> bool:
        """Make room for an item that cannot wait, by the oldest that may be dropped."""
        if self._expendable is not None and self._expendable(item):
            for place, (waiting, _) in enumerate(self._items):
                if self._expendable(waiting):
                    del self._items[place]
                    self.dropped += 1
                    return True
        return False

    def get(self, most: Callable[[Any], int] | None = None) -> list[tuple[Any, float]]:
        """Wait for an item; at the end raise the writer's error, or `_EndError`.

        most: as of `Together`; the items behind it that may go together with it come too, if they
        are here.
        """
        with self._changed:
            while not self._items:
                if self.error is not None:
                    raise self.error
                if self._finished:
                    raise _EndError
                self._changed.wait()
            taken = [self._items.popleft()]
            if most is not None:
                size = most(taken[0][0])
                while self._items and len(taken) < (size := min(size, most(self._items[0][0]))):
                    taken.append(self._items.popleft())
            self._changed.notify_all()
            return taken

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
    stages: (name, function of one item, or `Together`) each run on a thread of its own.
    depth: items that may wait for the first stage. behind: and for each of the others, and for the
        consumer; where that one is slow, so many more are old when it gets them.
    expendable: of two items for which this is true, the newer one replaces the older one where it
        would have to wait, as frames of a camera must.
    weigh, limit: the weight of an item, and of all that are under way; the source is read on when
        they weigh less than the limit, so that they never exceed it by more than one item.
        Expendable items weigh nothing: they do not wait.
    stubborn: whether the source may be inside something that `close` cannot interrupt. Default: it
        is an iterator, or has no `close()`.

    An exception of the source or a stage reaches the consumer, with its traceback, after the
    results of all items before it. `stop` ends the source and lets what was read come out: an
    interrupt (Ctrl-C) inside `next()` leaves the pipeline usable, so the consumer may stop it and
    go on iterating. `close`, leaving the `with` block, or losing the last reference drop what
    is under way and end the threads. For a stubborn source they wait PATIENCE_S at most: the thread
    that is inside it then ends, unseen, when the source gives its next item, or with the program.
    After `stop` the end comes only with that item.
    """

    def __init__(
        self,
        source: Iterable[Any],
        stages: Sequence[Stage],
        *,
        depth: int = 2,
        behind: int = 2,
        expendable: Callable[[Any], bool] | None = None,
        weigh: Callable[[Any], float] | None = None,
        limit: float = math.inf,
        stubborn: Callable[[], bool] | None = None,
    ) -> None:
        if min(depth, behind) < 1:
            raise ValueError(f"depth is {depth}, {behind}; a queue holds at least 1 item")
        self.seconds: dict[str, float] = {READ: 0.0} | {name: 0.0 for name, _ in stages}
        self._source = source
        self._stubborn = stubborn or (lambda: not _closable(source))
        self._intake = _Intake(limit)

        def weight(item: Any) -> float:
            return 0.0 if weigh is None or (expendable and expendable(item)) else weigh(item)

        queues = [_Queue(depth, expendable), *(_Queue(behind) for _ in stages)]
        self._first, self._last = queues[0], queues[-1]
        self._queues = queues
        # The threads hold the queues but not this object, so that it can be collected. Daemons:
        # a program that ends with a pipeline open must not hang at its exit. Those that still run
        # then would abort it, so `_end_all` ends them before.
        self._threads = [
            threading.Thread(
                target=_read,
                args=(source, weight, queues[0], self._intake, self.seconds),
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
        _open.add(self)
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
            item: T
            ((item, weight),) = self._last.get()
        except _EndError:
            self._join()
            raise StopIteration from None
        except BaseException as error:
            # An interrupt of this thread leaves the pipeline as it is.
            if error is self._last.error:
                self.close()
            raise
        self._intake.add(-weight)
        return item

    def stop(self) -> None:
        """End the source; the results of what was read can still be taken."""
        self._intake.stop()
        self._close_source()

    def close(self) -> None:
        """End all threads and drop what is under way; may be called again."""
        self._drop()
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
        if hasattr(self, "_threads"):
            self._drop()
            # One that was read to its end may be wanted again.
            if self._threads[0].is_alive():
                self._close_source()

    def _drop(self) -> None:
        self._intake.stop()
        for queue in self._queues:
            queue.abandon()

    def _close_source(self) -> None:
        # Unblocks a camera or stream that waits for its next frame.
        if _closable(self._source):
            self._source.close()  # type: ignore[attr-defined]

    def _join(self) -> None:
        reading, *working = self._threads
        for thread in working:
            if thread is not threading.current_thread():
                thread.join()
        if reading is not threading.current_thread():
            reading.join(PATIENCE_S if self._stubborn() else None)


_open: weakref.WeakSet[Pipeline[Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """At the program's end: a thread inside C++ that Python then kills would abort the program."""
    pipelines = list(_open)
    for pipeline in pipelines:
        pipeline._drop()
        with contextlib.suppress(Exception):
            pipeline._close_source()
    deadline = time.monotonic() + PATIENCE_S
    for thread in [thread for pipeline in pipelines for thread in pipeline._threads]:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _closable(source: Iterable[Any]) -> bool:
    # A generator has close(), which another thread may not call while it runs.
    return hasattr(source, "close") and not isinstance(source, Iterator)


def _read(
    source: Iterable[Any],
    weight: Callable[[Any], float],
    queue: _Queue,
    intake: _Intake,
    seconds: dict[str, float],
) -> None:
    try:
        items = iter(source)
        while intake.wait():
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                break
            finally:
                seconds[READ] += time.perf_counter() - start
            heavy = weight(item)
            intake.add(heavy)
            if not queue.put(item, heavy):
                break
            del item
    except BaseException as error:
        # A source closed in the middle of a read may complain; it was asked to end.
        queue.finish(None if intake.stopped else error)
    else:
        queue.finish()


def _work(
    name: str,
    function: Callable[[Any], Any] | Together,
    source: _Queue,
    target: _Queue,
    seconds: dict[str, float],
) -> None:
    stage = function if isinstance(function, Together) else _alone(function)
    try:
        while True:
            taken = source.get(stage.most)
            items, weights = [item for item, _ in taken], [weight for _, weight in taken]
            del taken
            start = time.perf_counter()
            try:
                results = _results(stage, items)
            finally:
                seconds[name] += time.perf_counter() - start
            del items
            for result, weight in zip(results, weights, strict=True):
                if not target.put(result, weight):
                    return
                del result
            del results
    except _EndError:
        target.finish()
    except BaseException as error:
        target.finish(error)
    finally:
        source.abandon()


def _alone(function: Callable[[Any], Any]) -> Together:
    return Together(lambda items: [function(item) for item in items], lambda item: 1)


def _results(stage: Together, items: list[Any]) -> Iterator[Any]:
    try:
        return iter(stage.function(items))
    except Exception:
        if len(items) == 1:
            raise
    # One at a time as they are asked for: those before the one that fails still count.
    return (stage.function([item])[0] for item in items)
