"""How near the pipeline comes to its slowest stage, and how much of the time is Python's.

    python benchmarks/pipeline_share.py CLIP [--rounds 5] [--frames 300] [--threads N]
        [--eight CLIP] [--seconds 10] [--py-spy FILE] [--skip pipeline|python]

1. The pipeline over a clip, records written, against each of its stages alone over the same frames,
   in turns: reading (the source is iterated, frames are dropped), detection (frames decoded before,
   a threshold of 1 so that there is nothing to classify), classification (those frames and the
   detections found before), writing (the results found before). Beside the seconds stand the
   processor seconds: no order of the work can take less wall time than their sum, without that of
   waiting, divided by the cores. Asserts that frames decoded before give the same answers.

2. `ferlite detect` with 8 faces in 1920x1080, looked at from outside by py-spy, which asks many
   times a second who holds Python's global lock. All Python code needs the lock; networks,
   kernels, decoders and waiting do not hold it. What is counted too is C code that keeps the lock
   (NumPy, arguments passed to and fro), and a holder that waits for a core on a busy machine: the
   share is an upper bound. It is set against the processor seconds of the whole process meanwhile,
   and, as a check, against the samples in which py-spy finds a Python thread at work at all, which
   leaves out the threads of the networks and of the decoder. Error: two standard deviations of so
   many samples.

   The video: nine views of 640x360, four of them the demo's clip while both its faces are there.
   Decoding it is cheaper than a camera's picture, which makes Python's share look larger.

py-spy is no dependency of the package: pip install py-spy. It needs leave to trace (root, or
kernel.yama.ptrace_scope 0).
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray
from processes import FERLITE, cpu_seconds, environment, goal, machine

from ferlite import Analyzer, Frame, FrameResult, SourceInfo
from ferlite.demo.clip import AWAY_S, FPS, frames
from ferlite.sinks import JsonLines
from ferlite.sources import Source, open_source
from ferlite.types import Detections

RATIO, SHARE = 0.9, 10.0
FACES = 8
RATE = 200  # py-spy's samples a second
WARM_S = 3.0  # before it looks
ROUNDING = 1e-6


class Replay:
    """A source of frames that are decoded already; as if they came from their file."""

    items = 1

    def __init__(self, decoded: list[Frame]) -> None:
        self._frames = decoded

    @property
    def info(self) -> SourceInfo:
        return self._frames[0].source

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is held."""


class Known:
    """A detector that gives what was found before, frame after frame."""

    def __init__(self, name: str, results: list[FrameResult]) -> None:
        self.name, self.models = name, ()
        self._found = itertools.cycle([detections(result) for result in results])

    def detect(self, image: NDArray[np.uint8]) -> Detections:
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
    """Part 1."""
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


def write_eight(path: Path) -> None:
    """1920x1080 with eight faces; see above."""
    inside = [image for t, image in frames() if not AWAY_S[0] - 0.1 <= t <= AWAY_S[1] + 0.1]
    empty = np.repeat(inside[0][:, :1], 640, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for index, view in enumerate(inside):
            rows = ((view, empty, view), (empty, empty, empty), (view, empty, view))
            mosaic = np.concatenate([np.concatenate(row, axis=1) for row in rows])
            frame = av.VideoFrame.from_ndarray(mosaic, "bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def sampled(spy: str, pid: int, seconds: float, *more: str) -> tuple[int, Counter[str], float]:
    """Samples taken, those of each function, and processor seconds for each second meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        command = [spy, "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"]
        command += ["--duration", str(math.ceil(seconds)), "--output", str(raw), *more]
        start, cpu = time.perf_counter(), cpu_seconds(pid)
        done = subprocess.run(command, capture_output=True, text=True)
        load = (cpu_seconds(pid) - cpu) / (time.perf_counter() - start)
        assert done.returncode == 0, f"py-spy: {done.stdout}{done.stderr}"
        lines = raw.read_text().splitlines()
    stacks: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        stacks[re.sub(r":\d+\)$", ")", stack.rpartition(";")[2])] += int(number)
    return RATE * math.ceil(seconds), stacks, load


def python_share(clip: str, seconds: float, spy: str) -> None:
    """Part 2."""
    counts = [len(result.faces) for result in Analyzer().stream(clip)]
    print(f"\n{len(counts)} frames, {min(counts)} to {max(counts)} faces in each", flush=True)
    assert statistics.median(counts) >= FACES, f"{statistics.median(counts)} faces found"
    rounds = math.ceil((WARM_S + 2 * seconds + 10) * 400 / len(counts))  # enough to last
    command = [*FERLITE, "detect", *[clip] * rounds, "--stdout"]
    with subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            time.sleep(WARM_S)
            taken, holders, load = sampled(spy, process.pid, seconds, "--gil")
            _, active, _ = sampled(spy, process.pid, seconds)
            assert process.poll() is None, "ferlite detect ended too early"
        finally:
            process.kill()
    held, busy = sum(holders.values()), sum(active.values())
    share = held / taken
    error = 2 * math.sqrt(share * (1 - share) / taken)
    print(
        f"lock held in {held} of {taken} samples: {share:.1%} +- {error:.1%} of the wall time;"
        f" {load:.2f} cores busy; a Python thread at work in {busy} samples\n"
    )
    print("| holder of the lock | share of the process's time |\n|---|---|")
    for function, number in holders.most_common(10):
        print(f"| {function} | {number / taken / load:.1%} |")
    print()
    goal("Python's share of the processor time", 100 * share / load, SHARE, " %")
    print(f"(+- {100 * error / load:.1f}; of the threads that Python knows: {held / busy:.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=300, help="at most so many of the clip")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--eight", help="a 1080p video with eight faces, in place of the built one")
    parser.add_argument("--seconds", type=float, default=10.0, help="of sampling")
    parser.add_argument("--py-spy", default=str(Path(sys.executable).with_name("py-spy")))
    parser.add_argument("--skip", choices=("pipeline", "python"))
    options = parser.parse_args()
    print(machine(), flush=True)
    if options.skip != "pipeline":
        against_stages(options.clip, options.frames, options.rounds, options.threads)
    if options.skip != "python":
        spy = shutil.which(options.py_spy) or shutil.which("py-spy")
        assert spy, f"{options.py_spy} is not there; pip install py-spy, or give --py-spy FILE"
        with tempfile.TemporaryDirectory() as folder:
            clip = options.eight
            if clip is None:
                clip = str(Path(folder, "eight.mp4"))
                write_eight(Path(clip))
            python_share(clip, options.seconds, spy)


if __name__ == "__main__":
    main()
