"""How much of the time of `ferlite detect` is Python's, with 8 faces in a 1080p video.

    python benchmarks/python_share.py CLIP [--seconds 10] [--py-spy FILE]

The video is CLIP, 1920x1080, with as many views of the packaged demo (640x360, two faces) along its
upper edge as make eight faces a frame; of crowd_1080p.mp4, where ferlite finds four: two. It goes
round and round through `ferlite detect --stdout`, which is looked at from outside in two ways:

- perf samples the instructions of all its threads by processor time and says in which library they
  are. Python's are the interpreter and its own extension modules. Error: two standard deviations of
  so many samples.
- py-spy asks by the clock which thread holds Python's global lock. All Python code needs it;
  networks, kernels and decoders leave it. Counted too is C code that keeps it (NumPy's, arguments
  passed to and fro) and a holder that waits for a core, as there are more threads than cores: an
  upper bound, far too high on a busy machine. It is set against the processor time that the process
  took meanwhile, and tells which functions it is. The process is not halted for a look: halting it
  made the share half as large again.

Neither is a dependency of the package: Debian's linux-perf; pip install py-spy. Both need leave to
trace (root, or kernel.perf_event_paranoid and kernel.yama.ptrace_scope set low).
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
from processes import FERLITE, cpu_seconds, environment, goal, machine

from ferlite import Analyzer
from ferlite.demo.clip import AWAY_S, HEIGHT, WIDTH, frames
from ferlite.sources import open_source

SHARE = 10.0  # percent
FACES = 8
FRAME = (1920, 1080)
VIEWS = FRAME[0] // WIDTH
SPY_RATE, PERF_RATE = 200, 997  # samples a second
WARM_S = 3.0  # before anybody looks
MOST_RATE = 400  # frames a second: for so many the video has to last
# Libraries in which Python runs: the interpreter and the standard library's modules in C.
INTERPRETER = re.compile(r"(lib)?python3|\.cpython-.*-linux-gnu\.so$")
NUMPY = re.compile(r"_multiarray_umath|_umath_linalg|openblas")
OTHERS = re.compile(rf"{NUMPY.pattern}|onnxruntime|cv2|_core\.")


def typical(clip: str) -> float:
    return statistics.median(len(result.faces) for result in Analyzer().stream(clip))


def with_eight(clip: str, out: Path) -> None:
    """The clip with the demo's views pasted in; see above."""
    views = max(0, math.ceil((FACES - typical(clip)) / 2))
    assert views <= VIEWS, f"{clip}: {views} views would be needed, {VIEWS} fit; give another clip"
    # Both faces are there, fully.
    inside = [image for t, image in frames() if not AWAY_S[0] - 0.1 <= t <= AWAY_S[1] + 0.1]
    with open_source(clip) as source, av.open(str(out), "w") as container:
        fps = Fraction(source.info.fps or 25).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=fps, options={"preset": "fast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *FRAME, "yuv420p"
        for frame, view in zip(source, itertools.cycle(inside), strict=False):
            image = frame.image.copy()
            assert image.shape[1::-1] == FRAME, f"{clip}: is not {FRAME[0]}x{FRAME[1]}"
            for number in range(views):
                left = number * (FRAME[0] - WIDTH) // max(1, views - 1)
                image[:HEIGHT, left : left + WIDTH] = view
            picture = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p")
            picture.pts, picture.time_base = frame.index, 1 / fps
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def by_perf(perf: str, pid: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        record = [perf, "record", "-q", "-e", "cpu-clock", "-F", str(PERF_RATE), "-p", str(pid)]
        done = subprocess.run(
            [*record, "-o", data, "--", "sleep", str(seconds)], capture_output=True, text=True
        )
        assert done.returncode == 0, f"perf: {done.stderr}"
        report = [perf, "report", "-i", data, "--sort", "dso", "--stdio", "-n", "-q"]
        text = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    samples: Counter[str] = Counter()
    for line in text.splitlines():
        if fields := line.split():
            samples[fields[2]] += int(fields[1])  # share, samples, library
    total = sum(samples.values())
    python = sum(
        number
        for library, number in samples.items()
        if INTERPRETER.search(library) and not OTHERS.search(library)
    )
    numpy = sum(number for library, number in samples.items() if NUMPY.search(library))
    print(f"\nperf: {total} samples\n\n| library | share of the processor time |\n|---|---|")
    for library, count in samples.most_common(12):
        print(f"| {re.sub('-[0-9a-f]{8}', '', library)} | {count / total:.1%} |")
    share = python / total
    error = 2 * math.sqrt(share * (1 - share) / total)
    print(f"\n+- {100 * error:.1f}, NumPy's own code {numpy / total:.1%} more:", end=" ")
    goal("share of the processor time in Python (perf)", 100 * share, SHARE, " %")


def by_py_spy(spy: str, pid: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        command = [
            spy,
            "record",
            "--gil",
            "--nonblocking",
            "--pid",
            str(pid),
            "--rate",
            str(SPY_RATE),
        ]
        command += ["--duration", str(math.ceil(seconds)), "--format", "raw", "-o", str(raw)]
        start, cpu = time.perf_counter(), cpu_seconds(pid)
        done = subprocess.run(command, capture_output=True, text=True)
        cores = (cpu_seconds(pid) - cpu) / (time.perf_counter() - start)
        assert done.returncode == 0, f"py-spy: {done.stdout}{done.stderr}"
        lines = raw.read_text().splitlines()
    holders: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        function = stack.rpartition(";")[2]
        holders[re.sub(r":\d+\)$", ")", function)] += int(count)
    taken, held = SPY_RATE * math.ceil(seconds), sum(holders.values())
    share = held / taken
    error = 2 * math.sqrt(share * (1 - share) / taken)
    print(f"\npy-spy: lock held in {held} of {taken} looks, {cores:.2f} cores busy meanwhile\n")
    print("| holder of the lock | share of the process's time |\n|---|---|")
    for function, number in holders.most_common(12):
        print(f"| {function} | {number / taken / cores:.1%} |")
    print(f"\n+- {100 * error / cores:.1f}:", end=" ")
    goal("lock held, share of the processor time (py-spy)", 100 * share / cores, SHARE, " %")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--seconds", type=float, default=10.0, help="that each of the two looks")
    parser.add_argument("--py-spy", default=str(Path(sys.executable).with_name("py-spy")))
    options = parser.parse_args()
    spy, perf = shutil.which(options.py_spy) or shutil.which("py-spy"), shutil.which("perf")
    assert spy or perf, "neither py-spy nor perf is there; pip install py-spy"
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "eight.mp4")
        with_eight(options.clip, clip)
        counts = [len(result.faces) for result in Analyzer().stream(clip)]
        print(f"{len(counts)} frames, {min(counts)} to {max(counts)} faces in each", flush=True)
        assert statistics.median(counts) >= FACES, f"{statistics.median(counts)} faces found"
        times = math.ceil((WARM_S + 2 * options.seconds + 15) * MOST_RATE / len(counts))
        process = subprocess.Popen(
            [*FERLITE, "detect", *[str(clip)] * times, "--stdout"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(WARM_S)
            if perf:
                by_perf(perf, process.pid, options.seconds)
            if spy:
                by_py_spy(spy, process.pid, options.seconds)
            assert process.poll() is None, "ferlite detect ended too early"
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
