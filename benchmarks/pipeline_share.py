"""How near the pipeline comes to its slowest stage.

    python benchmarks/pipeline_share.py CLIP [--rounds 5] [--frames 300] [--threads N]

The pipeline over a clip, records written, against each of its stages alone over the same frames, in
turns: reading (the source is iterated, frames are dropped), detection (frames decoded before, a
threshold of 1 so that there is nothing to classify), classification (those frames and the
detections found before), writing (the results found before). All wait for their first frame, which
costs the pipeline more than a stage.

Beside the seconds stand the processor seconds: no order of the work can take less wall time than
their sum divided by the cores. Networks that use several threads keep more than one core busy, so
that stages side by side are slower than alone; --threads 1 shows it.

Asserts that frames decoded before give the same answers as those of the pipeline.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from processes import goal, machine

from ferlite import Analyzer, Frame, FrameResult
from ferlite.sinks import JsonLines
from ferlite.sources import Source, SourceOptions, open_source
from ferlite.sources.base import SourceBase
from ferlite.types import Detections

RATIO = 0.9
ROUNDING = 1e-6


class Replay(SourceBase):
    """A source of frames that are decoded already; as if they came from their file."""

    def __init__(self, decoded: list[Frame]) -> None:
        super().__init__(decoded[0].source, SourceOptions())
        self._frames = decoded

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)


class Known:
    """A detector that gives what was found before, frame after frame."""

    takes_planes = True  # it takes anything, so nothing is converted for it

    def __init__(self, name: str, results: list[FrameResult]) -> None:
        self.name, self.models = name, ()
        self._found = itertools.cycle([detections(result) for result in results])

    def detect(self, image: object) -> Detections:
        return next(self._found)


def detections(result: FrameResult) -> Detections:
    points = [face.landmarks for face in result.faces if face.landmarks is not None]
    return Detections(
        np.array([face.box for face in result.faces], np.float32).reshape(-1, 4),
        np.array([face.score for face in result.faces], np.float32),
        np.array(points, np.float32) if len(points) == len(result.faces) > 0 else None,
    )


def part(source: Source, count: int) -> Iterator[Frame]:
    """The first frames of a source; an unreadable one is an error."""
    with source:
        for frame in itertools.islice(source, count):
            assert frame.error is None, frame.error
            yield frame


def same(a: list[FrameResult], b: list[FrameResult]) -> bool:
    """Whether the faces and their emotions are equal but for rounding."""
    return len(a) == len(b) and all(
        len(one.faces) == len(other.faces)
        and all(
            np.allclose(x.box, y.box, atol=ROUNDING)
            and all(abs(x.emotions[k] - y.emotions[k]) < 1e-3 for k in x.emotions)
            for x, y in zip(one.faces, other.faces, strict=True)
        )
        for one, other in zip(a, b, strict=True)
    )


def against_stages(clip: str, count: int, rounds: int, threads: int) -> None:
    analyzer = Analyzer(threads=threads)
    blind = Analyzer(threads=threads, detection_threshold=1.0)
    results: list[FrameResult] = []

    def through(using: Analyzer, source: Source, write: bool = False) -> list[FrameResult]:
        with tempfile.TemporaryDirectory() as folder, using.frames(source) as pairs:
            sink, given = JsonLines(Path(folder, "results.jsonl")), []
            for frame, result in itertools.islice(pairs, count):
                if write:
                    sink.write(frame, result)
                given.append(result)
            sink.finish()
        return given

    def write(decoded: list[Frame]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            sink = JsonLines(Path(folder, "results.jsonl"))
            for frame, result in zip(decoded, results, strict=True):
                sink.write(frame, result)
            sink.finish()

    decoded = list(part(open_source(clip), count))
    results = through(analyzer, open_source(clip))
    faces = sum(len(result.faces) for result in results)
    assert len(results) == len(decoded) and faces, f"{len(results)} frames, {faces} faces"
    known = Analyzer(Known(analyzer.detector.name, results), threads=threads)
    assert same(through(analyzer, Replay(decoded)), results), "decoded before: other answers"
    assert same(through(known, Replay(decoded)), results), "detected before: other answers"
    assert not any(result.faces for result in through(blind, Replay(decoded))), "score of 1"

    walls: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        work()
        walls.setdefault(name, []).append((time.perf_counter() - start) / len(results) * 1e3)
        cpus.setdefault(name, []).append((time.process_time() - cpu) / len(results) * 1e3)

    for _ in range(rounds):
        timed("pipeline", lambda: through(analyzer, open_source(clip), write=True))
        timed("read", lambda: [None for _ in part(open_source(clip), count)])
        # Anew each round: what a stage makes of a frame may stay with it.
        decoded = list(part(open_source(clip), count))
        timed("detect", lambda: through(blind, Replay(decoded)))  # noqa: B023
        timed("classify", lambda: through(known, Replay(decoded)))  # noqa: B023
        timed("write", lambda: write(decoded))  # noqa: B023
        decoded.clear()  # 3 MB each, which would cost the next round's pipeline its caches
    print(f"{clip}: {len(results)} frames, {faces} faces; medians of {rounds} rounds, ms a frame")
    print("\n| | wall (least to most) | processor | frames a second |\n|---|---|---|---|")
    wall = {name: statistics.median(times) for name, times in walls.items()}
    cpu = {name: statistics.median(times) for name, times in cpus.items()}
    for name, times in walls.items():
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(
            f"| {name} | {wall[name]:.2f} ({spread}) | {cpu[name]:.2f} | {1e3 / wall[name]:.1f} |"
        )
    stages = [name for name in wall if name != "pipeline"]
    slowest = max(stages, key=wall.__getitem__)
    cores = len(os.sched_getaffinity(0))
    least = max(wall[slowest], sum(cpu[name] for name in stages) / cores)
    print(
        f"\nslowest stage: {slowest}; the stages' {sum(cpu[name] for name in stages):.2f} ms of"
        f" processor time on {cores} cores allow {1e3 / least:.1f} frames a second,"
        f" {wall[slowest] / least:.2f} of that stage's"
    )
    ratio = wall[slowest] / wall["pipeline"]
    goal(f"pipeline against {slowest} alone", ratio, RATIO, "", at_least=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=300, help="at most so many of the clip")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    print(machine(), flush=True)
    against_stages(options.clip, options.frames, options.rounds, options.threads)


if __name__ == "__main__":
    main()
