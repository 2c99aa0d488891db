"""Resident memory of a long run: after 20,000 frames within 10 MB of that after 2,000.

    python benchmarks/memory.py [--frames 20000] [--source CLIP]

Runs `ferlite detect` as a user would, with every output on, over a clip looped to that many
frames, reads its records from standard output, and looks at the process's resident size from
outside. Asserts that there is a record for every frame, in order.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ferlite.demo.clip import frames as demo_frames
from ferlite.sources import open_source

EARLY = 2000
LIMIT_MB = 10.0
SIZE = (320, 180)


def pictures(source: str | None) -> Iterator[NDArray[np.uint8]]:
    if source is None:
        yield from (image for _, image in demo_frames())
    else:
        yield from (frame.image for frame in open_source(source) if frame.error is None)


def write_loop(path: Path, source: str | None, count: int) -> None:
    """The clip over and over, 320x180 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        small = [
            av.VideoFrame.from_ndarray(image, format="bgr24").reformat(*SIZE, "yuv420p")
            for image in pictures(source)
        ]
        for index, frame in enumerate(itertools.islice(itertools.cycle(small), count)):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--source", help="a clip to loop; the demo's by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "loop.mp4")
        write_loop(clip, options.source, options.frames)
        command = [sys.executable, "-m", "ferlite", "detect", str(clip), "--stdout", "-o", folder]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        sizes: dict[int, float] = {}
        faces = 0
        for index, line in enumerate(run.stdout):
            record = json.loads(line)
            assert record["frame"] == index, (record["frame"], index)
            faces += len(record["faces"])
            if (index + 1) % 2000 == 0 or index + 1 == options.frames:
                sizes[index + 1] = resident_mb(run.pid)
                print(f"{index + 1:6} frames: {sizes[index + 1]:.1f} MB, {faces} faces", flush=True)
        assert run.wait() == 0
        assert index + 1 == options.frames
    growth = sizes[options.frames] - sizes[EARLY]
    print(f"growth from {EARLY} to {options.frames} frames: {growth:+.1f} MB (limit {LIMIT_MB})")
    assert growth <= LIMIT_MB


if __name__ == "__main__":
    main()
