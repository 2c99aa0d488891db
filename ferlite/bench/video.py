"""A clip through ferlite: a whole process, the pipeline in this one, and stage after stage."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ferlite
from ferlite.bench.machine import peak_mb
from ferlite.bench.timing import Row
from ferlite.errors import SourceError, UsageError
from ferlite.faces import seen_by
from ferlite.sinks import JsonLines
from ferlite.sources import Source, open_source
from ferlite.tracks import Tracker
from ferlite.types import Frame, FrameResult

if TYPE_CHECKING:
    from ferlite.analyzer import Analyzer

# The demo's clip is shown so often in a row: 16 s, of which a fast machine needs one.
DEMO_TIMES = 4
# Of the frames that are decoded before the next stage has its turn: ten of 1080p.
CHUNK_BYTES, CHUNK_FRAMES = 2**26, 32
# In which order the stages are shown; "frame" is all of them one after another.
STAGES = ("decode", "detect", "crop", "classify", "track", "write", "frame")
# The stages that share a thread of the pipeline (`Analyzer.frames`).
TOGETHER = (("decode",), ("detect",), ("crop", "classify", "track"), ("write",))


def demo_clip(path: Path) -> Path:
    """Writes the demo's clip as H.264, as it has to be decoded to measure decoding."""
    import av

    from ferlite.demo.clip import FPS, HEIGHT, WIDTH, frames

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        pictures = [av.VideoFrame.from_ndarray(image, format="bgr24") for _, image in frames()]
        for number in range(DEMO_TIMES * len(pictures)):
            frame = pictures[number % len(pictures)].reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def open_clip(path: Path) -> Source:
    """A video file; SourceError when it cannot be read, UsageError when it is something else."""
    source = open_source(path)
    if source.items != 1 or source.info.kind != "video":
        source.close()
        raise UsageError(f"{path}: is no video file; give one with --video")
    return source


def process(clip: Path, detector: str, model: str, seconds: float) -> dict[str, Any]:
    """`ferlite detect` in a process of its own, for so long after its first record.

    Returns first_record_s, from the start of the process; peak_mb, resident; records. Without a
    record: `unavailable` with the reason.
    """
    command = [sys.executable, "-m", "ferlite", "detect", "--stdout"]
    command += [f"--detector={detector}", f"--model={model}", "--", str(clip)]
    # The ferlite that runs here, wherever it was imported from.
    package = str(Path(ferlite.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
    ) as run:
        try:
            assert run.stdout is not None
            first: float | None = None
            peak: float | None = None
            records = 0
            for line in run.stdout:
                if "error" in json.loads(line):
                    continue
                now = time.perf_counter() - start
                first = first or now
                records += 1
                peak = peak_mb(run.pid) or peak
                if now > first + seconds:
                    break
            else:
                run.wait()
        finally:
            run.kill()
    if first is None:
        return {"unavailable": f"`ferlite detect` gave no record, status {run.returncode}"}
    return {"first_record_s": round(first, 3), "peak_mb": peak, "records": records}


class Whole:
    """The pipeline of a run that only writes records: frames a second of each round.

    facts: what it is, for the row.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.rates: list[float] = []

    def round(self, analyzer: Analyzer, clip: Path, out: Path, seconds: float) -> list[FrameResult]:
        """One more: from the clip's start to its end, or until the time is up."""
        results: list[FrameResult] = []
        with _records(out) as sink, open_clip(clip) as source:
            start = time.perf_counter()
            with analyzer.frames(source) as frames:
                for frame, result in frames:
                    if result.error is not None:
                        break
                    sink.write(frame, result)
                    results.append(result)
                    if time.perf_counter() - start > seconds:
                        break
                spent = time.perf_counter() - start
        if not results:
            raise SourceError(f"{clip}: holds no picture that can be read; give another --video")
        self.rates.append(len(results) / spent)
        return results

    def to_dict(self) -> dict[str, Any]:
        """The facts, per_s (median of the rounds) and per_s_range."""
        if not self.rates:
            return dict(self.facts)
        return {
            **self.facts,
            "per_s": round(float(np.median(self.rates)), 2),
            "per_s_range": [round(min(self.rates), 2), round(max(self.rates), 2)],
        }


@dataclass(slots=True)
class Stages:
    """Stage after stage of a clip, one frame at a time, and whether the answers stay the same.

    The frames of a chunk pass one stage before the next begins, so that no decoder works in the
    background meanwhile.
    frames, faces: compared with the pipeline's. differing: frames with another number of faces.
    box_px, probability: the most by which the others differ.
    """

    rows: dict[str, Row] = field(
        default_factory=lambda: {stage: Row({"stage": stage}) for stage in STAGES}
    )
    frames: int = 0
    faces: int = 0
    differing: int = 0
    box_px: float = 0.0
    probability: float = 0.0

    def round(
        self,
        analyzer: Analyzer,
        clip: Path,
        out: Path,
        results: list[FrameResult],
        seconds: float,
    ) -> None:
        """One more: the frames that the pipeline gave these results for, until the time is up."""
        times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for stage, row in self.rows.items():
            row.rounds.append(times[stage])
        tracker = Tracker()
        end = time.perf_counter() + seconds
        with _records(out) as sink, open_clip(clip) as source:
            waiting = iter(results)
            for chunk in _chunks(source, times["decode"]):
                pairs = list(zip(chunk, waiting, strict=False))
                self._chunk(analyzer, pairs, tracker, sink, times)
                if time.perf_counter() > end or len(pairs) < len(chunk):
                    break

    def slowest(self) -> tuple[str, float] | None:
        """The thread of the pipeline that has most to do, and its frames a second alone."""
        seconds = {}
        for group in TOGETHER:
            rounds = [row for stage in group for row in self.rows[stage].rounds]
            calls = sum(len(one) for one in self.rows[group[0]].rounds)
            if not calls:
                return None
            seconds[" + ".join(group)] = sum(map(sum, rounds)) / calls
        name = max(seconds, key=seconds.__getitem__)
        return name, 1 / max(seconds[name], 1e-9)

    def answers(self) -> dict[str, Any]:
        """How the answers compare with the pipeline's; JSON types."""
        return {
            "frames": self.frames,
            "faces": self.faces,
            "frames_differing": self.differing,
            "largest_box_difference_px": round(self.box_px, 4),
            "largest_probability_difference": round(self.probability, 6),
        }

    def _chunk(
        self,
        analyzer: Analyzer,
        pairs: list[tuple[Frame, FrameResult]],
        tracker: Tracker,
        sink: JsonLines,
        times: dict[str, list[float]],
    ) -> None:
        classifier, name = analyzer.classifier, analyzer.detector.name
        begun = len(times["detect"])
        detect = analyzer.detector.detect
        seen = [seen_by(analyzer.detector, frame) for frame, _ in pairs]
        found = [_timed(times["detect"], detect, picture) for picture in seen]
        crops = [
            _timed(times["crop"], classifier.crop, frame.pixels, one.boxes, name, one.landmarks)
            for (frame, _), one in zip(pairs, found, strict=True)
        ]
        rows = [_timed(times["classify"], classifier.run, one) for one in crops]

        for (frame, result), one, row in zip(pairs, found, rows, strict=True):
            start = time.perf_counter()
            numbers = tracker.update(frame.t, one.boxes, one.scores)
            tracker.smooth(frame.t, numbers, row)
            times["track"].append(time.perf_counter() - start)
            self._compare(result, one.boxes, row)
        for frame, result in pairs:
            _timed(times["write"], sink.write, frame, result)
        for number in range(begun, len(times["write"])):
            times["frame"].append(sum(times[stage][number] for stage in STAGES[:-1]))

    def _compare(self, result: FrameResult, boxes: Any, probabilities: Any) -> None:
        self.frames += 1
        self.faces += len(result.faces)
        if len(result.faces) != len(boxes):
            self.differing += 1
        elif len(boxes):
            theirs = np.array([face.box for face in result.faces])
            self.box_px = max(self.box_px, float(np.abs(boxes - theirs).max()))
            shares = np.array([list(face.raw_emotions.values()) for face in result.faces])
            worst = float(np.abs(probabilities - shares).max())
            self.probability = max(self.probability, worst)


def _chunks(source: Source, times: list[float]) -> Iterator[list[Frame]]:
    """The readable frames of a source, some at a time, and the seconds that each took to decode."""
    chunk: list[Frame] = []
    frames = iter(source)
    while True:
        start = time.perf_counter()
        frame = next(frames, None)
        spent = time.perf_counter() - start
        if frame is None or frame.error is not None:
            break
        times.append(spent)
        chunk.append(frame)
        if len(chunk) * math.prod(frame.pixels.shape) >= CHUNK_BYTES or len(chunk) >= CHUNK_FRAMES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _timed(times: list[float], function: Any, *arguments: Any) -> Any:
    start = time.perf_counter()
    answer = function(*arguments)
    times.append(time.perf_counter() - start)
    return answer


@contextlib.contextmanager
def _records(folder: Path) -> Iterator[JsonLines]:
    """Where a round's records go; nothing is kept of them."""
    sink = JsonLines(folder / "results.jsonl")
    try:
        yield sink
        sink.finish()
    except BaseException:
        sink.abort()
        raise
