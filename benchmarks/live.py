"""What a camera costs: processor time of `ferlite detect` on a live stream, and how late it is.

    python benchmarks/live.py [--face CLIP] [--empty CLIP] [--seconds 20]

An RTSP camera in this process (`rtsp_camera.py`) sends 640x480 at 30 frames a second to
`ferlite detect rtsp://... --stdout` in another; only the other's processor time counts, with all
its threads, user and system, of the middle --seconds. First with one face in view, then with none,
last with an empty stream that is only read (PyAV decodes it, nothing else), in its own process.

Without clips: the packaged portrait, swaying on a wall with a sensor's noise, and the wall alone.
Clips are cut and scaled to 640x480 and played at 30 frames a second.

Latency: from sending a frame to reading its record here, by the frame's time stamp; it contains the
network, the buffer of FFmpeg, the decoder and all stages.

Asserts that nearly every frame sent has a record, with one face, or with none.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from processes import FERLITE, cpu_seconds, environment, goal, machine
from rtsp_camera import camera

from ferlite.demo.clip import portrait
from ferlite.sources import open_source

FPS, SIZE = 30, (640, 480)
SETTLE_S = 4.0  # the process has started and caught up
LOOP_S = 4  # of the packaged pictures
LIMIT = 35.0  # percent of one core
MOST_LOST = 0.02  # of the frames
READER = """
import sys, av
with av.open(sys.argv[1], options={"rtsp_transport": "tcp"}) as container:
    for frame in container.decode(video=0):
        print("read", flush=True)
"""


def packaged(face: bool) -> Iterator[NDArray[np.uint8]]:
    """A wall that is lit from one side, with noise, and on it the portrait, or not."""
    width, height = SIZE
    noise = np.random.default_rng(0)
    wall = np.linspace(90, 170, width, dtype=np.float32)[None, :, None] * np.ones((height, 1, 3))
    card = portrait("astronaut.jpg")
    for index in range(LOOP_S * FPS):
        image = wall + noise.normal(0, 2, wall.shape)
        if face:
            angle = 2 * math.pi * index / (LOOP_S * FPS)
            x, y = round(160 + 60 * math.sin(angle)), round(40 + 15 * math.cos(angle))
            image[y : y + card.shape[0], x : x + card.shape[1]] = card
        yield image.clip(0, 255).astype(np.uint8)


def clip(file: str) -> Iterator[NDArray[np.uint8]]:
    """A video's frames, cut to 4:3 about their middle and scaled."""
    width, height = SIZE
    with open_source(file) as source:
        for frame in source:
            assert frame.error is None, frame.error
            h, w = frame.image.shape[:2]
            cut_w, cut_h = min(w, h * width // height), min(h, w * height // width)
            left, top = (w - cut_w) // 2, (h - cut_h) // 2
            part = frame.image[top : top + cut_h, left : left + cut_w]
            yield np.asarray(cv2.resize(part, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def watch(
    command: list[str], seconds: float, lines: list[tuple[float, str]]
) -> tuple[float, float]:
    """Processor seconds a second of a command, and when that was begun to be measured."""
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None
        lines.extend((time.monotonic(), line) for line in process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        time.sleep(SETTLE_S)
        start, cpu = time.monotonic(), cpu_seconds(process.pid)
        time.sleep(seconds)
        assert process.poll() is None, f"{command[:5]} ended with status {process.returncode}"
        return (cpu_seconds(process.pid) - cpu) / (time.monotonic() - start), start
    finally:
        process.terminate()
        process.wait()
        reader.join()


def measure(what: str, pictures: list[NDArray[np.uint8]], faces: int, seconds: float) -> float:
    """Percent of one core that `ferlite detect` takes."""
    lines: list[tuple[float, str]] = []
    with camera(pictures, FPS) as source:
        command = [*FERLITE, "detect", source.url, "--stdout"]
        load, start = watch(command, seconds, lines)
        sent = dict(source.sent)
    records = [(at, json.loads(line)) for at, line in lines]
    # The first picture sent is the first one read; the others follow by their time stamps.
    first = records[0][1]["t"]
    late, counts = [], []
    for at, record in records:
        if start <= at <= start + seconds:
            assert "error" not in record, record["error"]
            late.append(at - sent[round((record["t"] - first) * FPS)])
            counts.append(len(record["faces"]))
    share = counts.count(faces) / len(counts)
    late.sort()
    print(
        f"| {what} | {100 * load:.1f} | {len(late) / seconds:.2f} | {share:.1%} |"
        f" {1e3 * statistics.median(late):.1f} | {1e3 * late[int(0.95 * len(late))]:.1f} |",
        flush=True,
    )
    assert late[0] > 0, f"a record {-1e3 * late[0]:.1f} ms before its frame: numbers are shifted"
    assert len(late) >= (1 - MOST_LOST) * FPS * seconds, (
        f"{len(late)} records in {seconds:g} s: is the machine busy?"
    )
    assert share > 0.9, f"{what}: {share:.1%} of the frames have {faces} faces"
    return 100 * load


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--face", metavar="CLIP", help="with one face all the time")
    parser.add_argument("--empty", metavar="CLIP", help="without a face")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    one = list(clip(options.face) if options.face else packaged(True))
    none = list(clip(options.empty) if options.empty else packaged(False))
    print(f"{machine()}\n{SIZE[0]}x{SIZE[1]}, {FPS} frames a second, {options.seconds:g} s each\n")
    head = ("", "% of one core", "records a second", "with so many faces", "ms late, median", "p95")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    with_face = measure("one face", one, 1, options.seconds)
    idle = measure("no face", none, 0, options.seconds)
    lines: list[tuple[float, str]] = []
    with camera(none, FPS) as source:
        command = [sys.executable, "-c", READER, source.url]
        load, _ = watch(command, options.seconds, lines)
    assert len(lines) >= FPS * options.seconds, f"only {len(lines)} frames read"
    print(f"| only decoded | {100 * load:.1f} | | | | |\n")
    goal("one face, processor time", with_face, LIMIT, " % of one core")
    goal("no face, less than with one", idle, with_face, " % of one core")


if __name__ == "__main__":
    main()
