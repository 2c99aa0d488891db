"""Rows of measurements, taken in rounds, and what is compared taken in turns.

Other work comes and goes on a machine, and clocks change. So what is compared runs in turns within
a round, each round has a bit of everything, and a row states its median over all rounds and how far
apart the rounds were.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A turn is as many calls in a row as fit in this time, seconds: caches are then as warm as on
# video, and the turns short enough that all compared see the same machine.
TURN_S = 0.03


@dataclass(slots=True)
class Row:
    """Timed calls of one thing.

    facts: what it is. items: frames or faces of one call. alike: whether every call has the same
        to do; a round's rate is then that of its median call, which no other work disturbs.
    rounds: the seconds of each call.
    """

    facts: Mapping[str, Any]
    items: int = 1
    alike: bool = False
    rounds: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The facts, and of the calls, in milliseconds where the name says so:

        calls: how many. p50_ms, p95_ms: of one call. per_s: items a second, the median over the
        rounds; per_s_range: of the slowest and the fastest round.
        Only the facts where nothing is measured yet.
        """
        rounds = [one for one in self.rounds if one]
        if not rounds:
            return dict(self.facts)
        calls = sorted(second for one in rounds for second in one)
        typical = statistics.median if self.alike else statistics.fmean
        rates = sorted(self.items / max(typical(one), 1e-9) for one in rounds)
        return {
            **self.facts,
            "calls": len(calls),
            "p50_ms": round(statistics.median(calls) * 1e3, 4),
            "p95_ms": round(percentile(calls, 95) * 1e3, 4),
            "per_s": round(statistics.median(rates), 2),
            "per_s_range": [round(rates[0], 2), round(rates[-1], 2)],
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of numbers in rising order: the least one that `percent` of them do not exceed."""
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def in_turns(calls: Sequence[tuple[Row, Callable[[], object]]], seconds: float) -> None:
    """One more round of each row: the calls in turns, until the time is up, at least one turn each.

    Each is called once before, untimed.
    """
    for row, call in calls:
        row.rounds.append([])
        call()
    end = time.perf_counter() + seconds
    while True:
        for row, call in calls:
            turn_end = time.perf_counter() + TURN_S
            while True:
                start = time.perf_counter()
                call()
                now = time.perf_counter()
                row.rounds[-1].append(now - start)
                if now >= turn_end:
                    break
        if time.perf_counter() >= end:
            break
