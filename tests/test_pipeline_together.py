"""Stages that take several items at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ferlite.pipeline import Pipeline, Together


class Gate:
    """A function of several items that negates them; `runs` are the items of each call.

    The first call is for the first item alone, and lasts until the source has given all items.
    """

    def __init__(self, items: list[int]) -> None:
        self._items = items
        self._entered, self._all = threading.Event(), threading.Event()
        self.runs: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int]:
        self.runs.append(items)
        self._entered.set()
        assert self._all.wait(10)
        return [-item for item in items]

    def source(self) -> Iterator[int]:
        yield self._items[0]
        assert self._entered.wait(10)
        yield from self._items[1:]
        self._all.set()


def passed(items: list[int], most: Callable[[int], int]) -> list[list[int]]:
    """What goes together of items that all wait behind the first."""
    gate = Gate(items)
    stages = [("gate", Together(gate, most))]
    assert list(Pipeline(gate.source(), stages, depth=len(items))) == [-item for item in items]
    return gate.runs


def test_items_that_wait_go_together() -> None:
    assert passed([1, 2, 3, 4], lambda item: 4) == [[1], [2, 3, 4]]
    assert passed([1, 2, 3, 4], lambda item: 2) == [[1], [2, 3], [4]]
    assert passed([1, 2, 3, 4], lambda item: 1) == [[1], [2], [3], [4]]


def test_an_item_that_goes_alone_parts_the_others() -> None:
    assert passed([1, 2, 30, 4, 5], lambda item: 1 if item > 9 else 4) == [[1], [2], [30], [4, 5]]
    assert passed([1, 2, 30, 4, 5], lambda item: 2 if item > 9 else 3) == [[1], [2, 30], [4, 5]]


def test_nothing_is_waited_for() -> None:
    """Each result comes out before the source gives the next item."""
    taken = threading.Semaphore(1)

    def source() -> Iterator[int]:
        for item in range(5):
            assert taken.acquire(timeout=10)
            yield item

    stage = Together(list, lambda item: 4)
    found = []
    for item in Pipeline(source(), [("same", stage)]):
        found.append(item)
        taken.release()
    assert found == list(range(5))


def test_results_before_the_one_that_fails_come_out() -> None:
    gate = Gate([1, 2, 3, 4])

    def run(items: list[int]) -> list[int]:
        found = gate(items)
        if 3 in items:
            raise ValueError("3 is wrong")
        return found

    pipeline: Pipeline[int] = Pipeline(
        gate.source(), [("gate", Together(run, lambda item: 4))], depth=4
    )
    assert next(pipeline) == -1 and next(pipeline) == -2
    with pytest.raises(ValueError, match="3 is wrong"):
        next(pipeline)
    # Together, then one by one.
    assert gate.runs == [[1], [2, 3, 4], [2], [3]]


def test_a_stage_that_loses_a_result_is_found_out() -> None:
    stage = Together(lambda items: [], lambda item: 2)
    with Pipeline([1], [("lost", stage)]) as pipeline, pytest.raises(ValueError, match="zip"):
        next(pipeline)


def test_the_weight_of_each_item_is_counted() -> None:
    """A source that must wait for room goes on after items that went together."""
    stage = Together(list, lambda item: 3)
    pipeline: Pipeline[int] = Pipeline(
        range(50), [("same", stage)], depth=3, weigh=lambda item: 10, limit=25
    )
    with pipeline:
        assert list(pipeline) == list(range(50))
    assert pipeline._intake._held == 0
