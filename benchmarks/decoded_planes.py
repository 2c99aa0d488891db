"""A video read from the decoder's planes, against the same with each frame converted to BGR first.

    python benchmarks/decoded_planes.py CLIP [--rounds N]

Whole pipeline, decoding included, no output, the two in turns in one process. The answers are
compared: FFmpeg's quick conversion is about one level darker than the planes say, so that scores
differ a little and a face near the threshold may come or go.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import time
from collections.abc import Iterator

import ferlite
from ferlite.sources import Source, SourceOptions, open_source
from ferlite.sources.base import SourceBase
from ferlite.types import Frame, FrameResult


class Converted(SourceBase):
    """A source whose frames are BGR when they leave it."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.info, SourceOptions())
        self._source = source

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield dataclasses.replace(frame, picture=frame.image)


def used() -> float:
    """Processor seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run(analyzer: ferlite.Analyzer, source: Source) -> tuple[float, float, list[FrameResult]]:
    """Frames a second, milliseconds of processor time a frame, and the results."""
    start, before = time.perf_counter(), used()
    results = list(analyzer.stream(source))
    seconds = time.perf_counter() - start
    return len(results) / seconds, (used() - before) / len(results) * 1000, results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    analyzer = ferlite.Analyzer()
    rates: dict[str, list[float]] = {"planes": [], "BGR": []}
    costs: dict[str, list[float]] = {"planes": [], "BGR": []}
    found = {}
    run(analyzer, open_source(options.clip))
    for _ in range(options.rounds):
        for name in rates:
            source = open_source(options.clip)
            rate, cost, results = run(analyzer, Converted(source) if name == "BGR" else source)
            rates[name].append(rate)
            costs[name].append(cost)
            found[name] = results
    faces = {name: sum(len(one.faces) for one in results) for name, results in found.items()}
    assert min(faces.values()) > 0.95 * max(faces.values()), faces
    print("| frames as | frames a second (least to most) | CPU ms a frame | faces |")
    print("|---|---|---|---|")
    for name, values in rates.items():
        print(
            f"| {name} | {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f}) |"
            f" {statistics.median(costs[name]):.2f} | {faces[name]} |"
        )
    ratios = [a / b for a, b in zip(rates["planes"], rates["BGR"], strict=True)]
    print(f"\nplanes are {statistics.median(ratios):.2f}x as fast (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
