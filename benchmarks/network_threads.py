"""A whole video with so many threads for each network, in turns in one process.

    python benchmarks/network_threads.py CLIP [--threads 1 2] [--rounds N]

Whole pipeline, decoding included, no output. Asserts that the answers are the same.
"""

from __future__ import annotations

import argparse
import statistics

from decoded_planes import run
from pipeline_share import same
from processes import machine

import ferlite
from ferlite.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    analyzers = {count: ferlite.Analyzer(threads=count) for count in options.threads}
    first, *others = [run(one, open_source(options.clip))[2] for one in analyzers.values()]
    assert all(same(first, other) for other in others), "other threads, other answers"
    measured: dict[int, list[tuple[float, float]]] = {count: [] for count in analyzers}
    for _ in range(options.rounds):
        for count, analyzer in analyzers.items():
            measured[count].append(run(analyzer, open_source(options.clip))[:2])
    print(machine())
    print("\n| threads | frames a second (least to most) | CPU ms a frame |\n|---|---|---|")
    for count, pairs in measured.items():
        rates, costs = zip(*pairs, strict=True)
        print(
            f"| {count} | {statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f}) |"
            f" {statistics.median(costs):.2f} |"
        )


if __name__ == "__main__":
    main()
