from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import PACKAGE_ROOT

from ferlite.pipeline import Pipeline


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    # A thread that was told to end may need a moment; one that hangs fails the test.
    end = time.monotonic() + 5
    while (left := ferlite_threads()) and time.monotonic() < end:
        time.sleep(0.005)
    assert not left


def ferlite_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("ferlite-")]


class Endless:
    """Counts until closed, as a camera does; `next` waits when told to."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = threading.Event()
        self.blocked = threading.Event()
        self.waiting = threading.Event()

    def __iter__(self) -> Iterator[int]:
        while not self.closed.is_set():
            if self.blocked.is_set():
                self.waiting.set()
                self.closed.wait()
                return
            yield self.given
            self.given += 1

    def close(self) -> None:
        self.closed.set()


def test_order_is_kept_when_every_stage_dawdles() -> None:
    def dawdle(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item

    stages = [("a", dawdle), ("b", lambda item: item * 10), ("c", dawdle)]
    assert list(Pipeline(range(100), stages)) == [10 * i for i in range(100)]


def test_no_items_and_no_stages() -> None:
    assert list(Pipeline([], [("a", str)])) == []
    assert list(Pipeline("abc", [])) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="depth is 0"):
        Pipeline([], [], depth=0)


def test_the_end_stays_the_end() -> None:
    pipeline: Pipeline[int] = Pipeline([1], [])
    assert list(pipeline) == [1]
    assert next(pipeline, None) is None and next(pipeline, None) is None


def test_stages_overlap() -> None:
    """Two stages meet at a barrier, which they can only do at the same time."""
    barrier = threading.Barrier(2, timeout=20)

    def meet(item: int) -> int:
        barrier.wait()
        return item

    # The second stage holds item k while the first one holds k + 1: one extra round for each end.
    pipeline: Pipeline[int] = Pipeline(
        range(6),
        [
            ("first", lambda item: meet(item) if item else item),
            ("second", lambda item: meet(item) if item < 5 else item),
        ],
    )
    assert list(pipeline) == list(range(6))


@pytest.mark.parametrize("stage", ["first", "second", "third"])
def test_an_exception_in_a_stage_reaches_the_consumer(stage: str) -> None:
    def fail_at_seven(item: int) -> int:
        if item == 7:
            raise KeyError("the seventh")
        return item

    source = Endless()
    stages = [
        (name, fail_at_seven if name == stage else (lambda item: item))
        for name in ("first", "second", "third")
    ]
    got = []
    with (
        pytest.raises(KeyError, match="the seventh") as caught,
        Pipeline(source, stages) as pipeline,
    ):
        for item in pipeline:
            got.append(item)
    assert got == list(range(7))  # all that came before it
    assert source.closed.is_set()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "fail_at_seven" in frames
    assert ferlite_threads() == []


def test_an_exception_in_the_source_reaches_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("cable pulled")

    got = []
    with pytest.raises(OSError, match="cable pulled"):
        for item in Pipeline(broken(), [("a", lambda item: item)]):
            got.append(item)
    assert got == [1, 2]
    assert ferlite_threads() == []

    class Unreadable:
        def __iter__(self) -> Iterator[int]:
            raise OSError("no permission")

    with pytest.raises(OSError, match="no permission"):
        list(Pipeline(Unreadable(), []))


def test_a_slow_consumer_holds_the_source_back() -> None:
    source = Endless()
    stages = [("a", lambda item: item), ("b", lambda item: item)]
    with Pipeline(source, stages, depth=2) as pipeline:
        assert next(pipeline) == 0
        # Ten items are under way: two in each of three queues, one with each of three threads,
        # and the one taken. The last of them, number 9, waits to be put.
        wait_until(lambda: source.given == 9)
        time.sleep(0.05)
        assert source.given == 9


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_slow_stage_holds_the_source_back() -> None:
    release = threading.Event()

    def stuck(item: int) -> int:
        release.wait(20)
        return item

    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [("stuck", stuck)], depth=3)
    wait_until(lambda: source.given == 4)  # one in the stage, three in the queue, one waiting
    time.sleep(0.05)
    assert source.given == 4
    release.set()
    assert [next(pipeline) for _ in range(20)] == list(range(20))
    pipeline.close()


def test_closing_early_ends_the_threads_at_once() -> None:
    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [("a", lambda item: item)])
    assert next(pipeline) == 0
    pipeline.close()
    assert ferlite_threads() == []
    assert source.closed.is_set()
    assert list(pipeline) == []
    pipeline.close()  # once more does no harm


def test_closing_while_the_source_waits() -> None:
    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [("a", lambda item: item)])
    source.blocked.set()
    taken = threading.Thread(target=list, args=(pipeline,))
    taken.start()  # so that the source is never held back
    assert source.waiting.wait(20)
    pipeline.close()
    taken.join()
    assert ferlite_threads() == []


def test_a_pipeline_that_is_forgotten_ends_its_threads() -> None:
    pipeline: Pipeline[int] = Pipeline(iter(range(10**9)), [("a", lambda item: item)])
    next(pipeline)
    assert ferlite_threads()
    del pipeline
    gc.collect()  # the fixture waits for the threads


def test_stop_lets_what_was_read_come_out() -> None:
    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [("a", lambda item: item)])
    got = [next(pipeline), next(pipeline)]
    pipeline.stop()
    got += list(pipeline)
    assert got == list(range(len(got)))
    assert len(got) >= 3  # the queues were not thrown away
    assert source.given <= len(got) + 1


def test_an_interrupt_of_the_consumer_loses_nothing() -> None:
    """Ctrl-C while waiting for a result: stop, then the rest comes out whole and in order."""
    import signal

    slow_down = threading.Event()

    def slow(item: int) -> int:
        if slow_down.is_set():
            time.sleep(0.3)
        return item

    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [("slow", slow)])
    got = [next(pipeline) for _ in range(5)]
    slow_down.set()
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    # A shell starts its background jobs with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                got.append(next(pipeline))
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    slow_down.clear()
    pipeline.stop()
    got += list(pipeline)
    assert got == list(range(len(got)))
    assert len(got) > 5


def test_a_complaint_of_a_source_that_was_stopped_is_no_error() -> None:
    class Touchy(Endless):
        def __iter__(self) -> Iterator[int]:
            yield 0
            self.closed.wait()
            raise OSError("device closed")

    pipeline: Pipeline[int] = Pipeline(Touchy(), [])
    assert next(pipeline) == 0
    pipeline.stop()
    assert list(pipeline) == []


def test_live_items_make_way_for_newer_ones() -> None:
    source = Endless()
    busy, release = threading.Event(), threading.Event()

    def slow(item: int) -> int:
        busy.set()
        release.wait(20)
        return item

    pipeline: Pipeline[int] = Pipeline(
        source, [("slow", slow)], depth=2, expendable=lambda item: True
    )
    busy.wait(20)
    before = source.given
    wait_until(lambda: source.given > before + 1000)  # never held back
    source.blocked.set()
    source.waiting.wait(20)
    source.close()
    last = source.given - 1
    release.set()
    got = list(pipeline)
    # The one under way, and the newest two.
    assert got[1:] == [last - 1, last]
    assert pipeline.dropped == source.given - len(got)


def test_only_expendable_items_are_dropped() -> None:
    """Stills before a camera's frames wait their turn."""
    release = threading.Event()

    def slow(item: int) -> int:
        release.wait(20)
        return item

    source = [1, 3, 5, 7, 2, 4, 6, 8, 10, 12, 9]
    pipeline: Pipeline[int] = Pipeline(
        source, [("slow", slow)], depth=1, expendable=lambda item: item % 2 == 0
    )
    time.sleep(0.1)
    release.set()
    got = list(pipeline)
    assert [item for item in got if item % 2] == [1, 3, 5, 7, 9]
    assert len(got) + pipeline.dropped == len(source)


def test_seconds_of_each_stage() -> None:
    def sleepy(item: int) -> int:
        time.sleep(0.02)
        return item

    pipeline: Pipeline[int] = Pipeline(range(5), [("sleepy", sleepy), ("quick", abs)])
    list(pipeline)
    assert list(pipeline.seconds) == ["read", "sleepy", "quick"]
    assert pipeline.seconds["sleepy"] >= 0.1
    # Waiting for the stage before is not counted.
    assert pipeline.seconds["quick"] < 0.05 and pipeline.seconds["read"] < 0.05


def test_memory_does_not_grow_with_the_source() -> None:
    """No item outlives its turn."""
    import weakref

    class Item:
        pass

    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0

    def make() -> Iterator[Item]:
        for _ in range(500):
            item = Item()
            alive.add(item)
            yield item
            del item

    for item in Pipeline(make(), [("a", lambda item: item), ("b", lambda item: item)]):
        most = max(most, len(alive))
        del item
    assert most <= 3 * 2 + 3 + 4


@pytest.mark.parametrize(("weight", "under_way"), [(250, 1), (60, 2), (1, 8)])
def test_heavy_items_hold_the_source_back(weight: int, under_way: int) -> None:
    source = Endless()
    stages = [("a", lambda item: item), ("b", lambda item: item)]
    pipeline: Pipeline[int]
    with Pipeline(source, stages, weigh=lambda item: weight, limit=100) as pipeline:
        for taken in range(1, 11):
            next(pipeline)
            # `given` is one behind: an item counts when the next one is asked for.
            wait_until(lambda taken=taken: source.given >= taken + under_way - 1)  # type: ignore[misc]
            time.sleep(0.01)
            if weight > 1:
                assert source.given == taken + under_way - 1


def test_closing_while_the_source_waits_for_room() -> None:
    source = Endless()
    pipeline: Pipeline[int] = Pipeline(source, [], weigh=lambda item: 10, limit=10)
    wait_until(lambda: source.given == 0 and len(pipeline._last._items) == 1)
    pipeline.close()
    assert ferlite_threads() == []


def test_live_items_weigh_nothing() -> None:
    release = threading.Event()
    source = Endless()
    pipeline: Pipeline[bool] = Pipeline(
        source,
        [("stuck", lambda item: release.wait(20))],
        expendable=lambda item: True,
        weigh=lambda item: 10,
        limit=10,
    )
    wait_until(lambda: source.given > 100)
    release.set()
    pipeline.close()


@pytest.mark.parametrize("wrapped", [False, True])
def test_closing_does_not_wait_for_a_generator_that_blocks(wrapped: bool) -> None:
    release = threading.Event()

    def blocking() -> Iterator[int]:
        yield 1
        release.wait(30)
        yield 2

    class Closable:
        def __iter__(self) -> Iterator[int]:
            return blocking()

        def close(self) -> None:
            pass

    pipeline: Pipeline[int] = (
        Pipeline(Closable(), [], stubborn=lambda: True) if wrapped else Pipeline(blocking(), [])
    )
    assert next(pipeline) == 1
    began = time.monotonic()
    pipeline.close()
    assert time.monotonic() - began < 10
    assert ferlite_threads() == ["ferlite-read"]
    release.set()  # the fixture sees that the thread then ends


@pytest.mark.parametrize("ending", ["", "raise RuntimeError('broken')"])
def test_a_program_that_ends_with_a_pipeline_open(tmp_path: Path, ending: str) -> None:
    # Threads that Python kills inside C++ abort the program, and what it wrote is lost.
    code = f"""
import numpy as np
from ferlite.crops import letterbox
from ferlite.pipeline import Pipeline

picture = np.zeros((1080, 1920, 3), np.uint8)
def shrunk(item):
    for _ in range(20):
        letterbox(picture, (640, 384))
    return item
results = Pipeline(range(10**9), [("a", shrunk), ("b", shrunk)])
log = open("log.txt", "w")
log.write(str(next(results)))
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (1 if ending else 0), done.stderr
    assert (tmp_path / "log.txt").read_text() == "0"


def test_losing_a_pipeline_ends_a_source_that_waits() -> None:
    source = Endless()
    pipeline = Pipeline(source, [("a", str)])
    assert next(pipeline) == "0"
    source.blocked.set()
    while not source.waiting.is_set():
        with contextlib.suppress(StopIteration):
            next(pipeline)
    del pipeline
    gc.collect()
    assert source.closed.wait(5)


def test_a_source_read_to_its_end_may_be_read_again() -> None:
    class Numbers(Endless):
        def __iter__(self) -> Iterator[int]:
            return iter(() if self.closed.is_set() else (1, 2))

    source = Numbers()
    for _ in range(2):
        assert list(Pipeline(source, [("a", str)])) == ["1", "2"]


@pytest.mark.parametrize(("behind", "old"), [(1, 7), (2, 9)])
def test_how_old_results_are_when_nobody_takes_them(behind: int, old: int) -> None:
    given = list[int]()

    def items() -> Iterator[int]:
        for i in range(100):
            given.append(i)
            yield i

    stages = [("a", lambda i: i), ("b", lambda i: i)]
    pipeline = Pipeline(items(), stages, depth=2, behind=behind)
    # One waits to be put, two stand in the first queue; a and b hold one and `behind` wait there.
    wait_until(lambda: len(given) >= old)
    time.sleep(0.2)
    pipeline.close()
    assert len(given) == old


def test_only_the_first_queue_is_long() -> None:
    release, given = threading.Event(), list[int]()

    def items() -> Iterator[int]:
        for i in range(100):
            given.append(i)
            yield i

    pipeline = Pipeline(items(), [("a", lambda i: i), ("b", lambda i: release.wait(60))], depth=8)
    # One waits to be put, eight stand in the first queue, one is in a, two in the next, one in b.
    wait_until(lambda: len(given) >= 13)
    time.sleep(0.2)
    count = len(given)
    release.set()
    pipeline.close()
    assert count == 13
