"""Checks of numbers that a caller gives; a wrong one is a UsageError naming it and its value."""

from __future__ import annotations

import math
import operator

from ferlite.errors import UsageError

# Each thread costs a stack; thousands hang the machine.
MOST_THREADS = 256


def number(name: str, value: float, low: float, high: float, wanted: str) -> float:
    """`value` as a float; UsageError unless it is a finite number from `low` to `high`."""
    try:
        # Not float(), which reads texts as well.
        result = math.fsum([value])
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not low <= result <= high or not math.isfinite(result):
        raise UsageError(f"{name} is {value!r:.80}; {wanted}")
    return result


def integer(name: str, value: int, low: int, high: int, wanted: str) -> int:
    """`value` as an int; UsageError unless it is a whole number from `low` to `high`."""
    try:
        result = operator.index(value)
    except TypeError:
        result = low - 1
    if not low <= result <= high:
        raise UsageError(f"{name} is {value!r:.80}; {wanted}")
    return result


def threads(value: int) -> int:
    """UsageError unless 0 (the default) to `MOST_THREADS`."""
    wanted = f"use 0 for the default, or a whole number up to {MOST_THREADS}"
    return integer("threads", value, 0, MOST_THREADS, wanted)
