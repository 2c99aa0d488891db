"""Frames a second over a whole video, decoding included: ferlite against what else people use.

    python benchmarks/whole_video.py CLIP [--yunet FILE] [--rivals fer haar-loop ...]
        [--python fer=ENV/bin/python ...] [--limit fer-mtcnn=30 ...] [--sizes 960 1280]
        [--repeat N] [--json FILE] [--plot FILE.svg]

Every road (`video_rivals.py` lists them) runs in a process of its own, one after the other in each
round, each as its package's first example shows it, and writes a JSON record of every frame. The
clock runs from opening the file to the last record, networks loaded. Ratios are of medians over the
rounds. A road that cannot run here says why. The loops run the network file that ferlite chose,
so that only the road to it differs; YuNet searches 640 pixels at threshold 0.6.

Asserts that each road gives all frames that PyAV counts (or its --limit), finds the same number of
faces in each round, and finds any. Whether they are the same faces stands in the table: those that
overlap by at least 0.4. Last, the memory of `ferlite detect` over the clip as a user runs it.

The environments of others that we used (Python 3.11, each `python -m venv X`):

    fer        pip install tensorflow-cpu 'opencv-contrib-python<5' 'setuptools<80' pandas \\
                   matplotlib 'moviepy<2' requests tqdm && pip install --no-deps fer
               and an empty module facenet_pytorch.py beside it
    fer-mtcnn  the same with torch (CPU build), pip install --no-deps facenet-pytorch torchvision;
               in place of torchvision a package of that name with its `to_tensor` and
               `batched_nms`, the two functions that facenet-pytorch uses, in NumPy
    deepface   pip install deepface tf-keras flask 'opencv-python<5'      (downloads its weights)
    hsemotion-onnx  pip install hsemotion-onnx 'opencv-python<5'          (downloads its weights)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from identity_switches import overlaps
from numpy.typing import NDArray
from processes import FERLITE, environment, goal, machine, run
from video_plot import plot

from ferlite import bundles

RIVALS = (
    *("haar-loop", "haar-loop@1.3", "yunet-loop", "fer", "fer-mtcnn", "deepface"),
    "hsemotion-onnx",
)
# Times as fast.
GOALS = {"fer": 30.0, "haar-loop": 30.0, "haar-loop@1.3": 30.0, "yunet-loop": 2.5}
PEAK_MB = 300.0
SAME = 0.4  # overlap of two boxes of one face
WORKER = Path(__file__).with_name("video_rivals.py")

Boxes = list[NDArray[np.float64]]  # of each frame, [n, 4]


@dataclass
class Road:
    """One way to do it, and what its rounds gave."""

    name: str
    python: str
    limit: int | None
    facts: list[dict[str, Any]] = field(default_factory=list)
    boxes: Boxes = field(default_factory=list)
    unavailable: str = ""

    def round(self, options: argparse.Namespace, network: str, seconds: float) -> None:
        """Run it once more, unless it could not run before."""
        if self.unavailable:
            return
        with tempfile.TemporaryDirectory() as folder:
            command = [self.python, str(WORKER), self.name, options.clip, folder]
            command += ["--bundle", str(bundles.find("emotion").path), "--network", network]
            command += ["--yunet", options.yunet] if options.yunet else []
            command += ["--limit", str(self.limit)] if self.limit else []
            env = environment()
            if self.python != sys.executable:
                del env["PYTHONPATH"]  # it leads to this environment's packages
            with Path(folder, "log").open("w+") as log:
                try:
                    status = subprocess.run(
                        command, env=env, stdout=log, stderr=log, timeout=seconds
                    ).returncode
                except subprocess.TimeoutExpired:
                    self.unavailable = f"not done after {seconds:g} s"
                    return
                log.seek(0)
                lines = log.read().strip().splitlines() or ["nothing printed"]
            if status:
                self.unavailable = f"ended with status {status}: {lines[-1][:200]}"
                return
            facts = json.loads(Path(folder, "facts.json").read_text())
            if "unavailable" in facts:
                self.unavailable = facts["unavailable"]
                return
            with Path(folder, "records.jsonl").open() as records:
                faces = [json.loads(line)["faces"] for line in records]
        boxes = [np.array([one["box"] for one in f], np.float64).reshape(-1, 4) for f in faces]
        counts, before = [len(one) for one in boxes], [len(one) for one in self.boxes]
        assert not self.facts or counts == before, f"{self.name}: other faces than in round 1"
        self.facts.append(facts)
        self.boxes = boxes

    def rates(self) -> list[float]:
        return [one["frames"] / one["seconds"] for one in self.facts]

    def to_dict(self) -> dict[str, Any]:
        if self.unavailable:
            return {"road": self.name, "unavailable": self.unavailable}
        frames, rates = len(self.boxes), self.rates()
        return {
            "road": self.name,
            "frames": frames,
            "frames_per_s": statistics.median(rates),
            "frames_per_s_range": [min(rates), max(rates)],
            "cpu_ms_per_frame": statistics.median(one["cpu_s"] for one in self.facts)
            / frames
            * 1e3,
            "peak_mb": max(one["peak_mb"] for one in self.facts),
            "faces": sum(map(len, self.boxes)),
            "about": self.facts[0]["about"],
            "versions": self.facts[0]["versions"],
        }


def shared(ours: Boxes, theirs: Boxes) -> float:
    """Of our faces, in the frames that both have: the share that they have too."""
    pairs = [
        (len(a), int((overlaps(a, b) >= SAME).any(axis=1).sum()) if len(b) else 0)
        for a, b in zip(ours, theirs, strict=False)
    ]
    return sum(both for _, both in pairs) / max(1, sum(count for count, _ in pairs))


def rows(roads: Sequence[Road]) -> list[dict[str, Any]]:
    """What each road gave, and how it compares with the first."""
    first = roads[0]
    result = []
    for road in roads:
        row = road.to_dict()
        if not road.unavailable:
            row["ratio"] = statistics.median(first.rates()) / row["frames_per_s"]
            if road.name != "decode":
                row["also_ferlite"] = shared(road.boxes, first.boxes)
                row["also_theirs"] = shared(first.boxes, road.boxes)
        result.append(row)
    return result


def show(table: Iterable[dict[str, Any]], count: int) -> None:
    head = (
        *("road", "frames a second", "ferlite is faster by", "CPU ms a frame", "peak MB", "faces"),
        *("of them ferlite has", "of ferlite's it has"),
    )
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in table:
        if "unavailable" in row:
            print(f"| {row['road']} | could not run: {row['unavailable']} |" + " |" * 6)
            continue
        low, high = row["frames_per_s_range"]
        part = "" if row["frames"] == count else f", first {row['frames']} frames"
        cells = [
            row["road"] + part,
            f"{row['frames_per_s']:.1f} ({low:.1f} to {high:.1f})",
            f"{row['ratio']:.2f}x",
            f"{row['cpu_ms_per_frame']:.1f}",
            f"{row['peak_mb']:.0f}",
            str(row["faces"]) if row["faces"] else "",
            *(f"{row[key]:.0%}" if key in row else "" for key in ("also_ferlite", "also_theirs")),
        ]
        print("| " + " | ".join(cells) + " |")


def detect_memory(clip: str) -> dict[str, float]:
    """Peak resident MB of whole `ferlite detect` processes over the clip."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for what, more in (("records only", ["--save", "jsonl"]), ("every output", [])):
            ended = run([*FERLITE, "detect", clip, "-o", folder, *more], environment())
            assert ended.status == 0, f"ferlite detect {clip}, {what}: status {ended.status}"
            peaks[what] = ended.peak_mb
    return peaks


def pairs(values: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """NAME=VALUE of the command line."""
    for value in values:
        if "=" not in value:
            parser.error(f"{value!r}: give NAME=VALUE")
    return {name: rest for name, _, rest in (value.partition("=") for value in values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--sizes", nargs="*", type=int, default=[], help="more detect sizes")
    parser.add_argument("--yunet", help="face_detection_yunet_2023mar.onnx")
    parser.add_argument("--python", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--limit", nargs="*", default=[], metavar="NAME=FRAMES")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a run")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.svg")
    options = parser.parse_args()
    pythons, limits = pairs(options.python, parser), pairs(options.limit, parser)

    with av.open(options.clip) as container:
        stream = container.streams.video[0]
        width, height = stream.width, stream.height
        count = sum(1 for _ in container.decode(video=0))
    print(f"{options.clip}: {width}x{height}, {count} frames\n{machine()}", flush=True)

    names = ["ferlite", "decode", *(f"ferlite@{size}" for size in options.sizes), *options.rivals]
    roads = [
        Road(name, pythons.get(name, sys.executable), int(limits[name]) if name in limits else None)
        for name in names
    ]
    emotion, network = bundles.find("emotion"), ""
    for number in range(options.repeat):
        for road in roads:
            road.round(options, network, options.timeout)
            if road is roads[0]:
                assert not road.unavailable, f"ferlite: {road.unavailable}"
                # The emotion network that ferlite found to be faster here.
                network = str(emotion.path / road.facts[0]["about"]["models"][0]["file"])
            rate = f"{road.rates()[-1]:.1f}" if road.facts else road.unavailable
            print(f"round {number + 1}: {road.name}: {rate}", flush=True)
    table = rows(roads)
    for row, road in zip(table, roads, strict=True):
        if not road.unavailable:
            wanted = min(count, road.limit or count)
            assert row["frames"] == wanted, f"{road.name}: {row['frames']} of {wanted} frames"
            assert row["faces"] or road.name == "decode", f"{road.name} finds no face"
    show(table, count)
    peaks = detect_memory(options.clip)
    print()
    for row in table:
        if row["road"] in GOALS and "ratio" in row:
            goal(f"frames a second against {row['road']}", row["ratio"], GOALS[row["road"]], "x",
                 at_least=True)  # fmt: skip
    for what, peak in peaks.items():
        goal(f"peak resident memory of `ferlite detect`, {what}", peak, PEAK_MB, " MB")
    facts = {
        "machine": machine(),
        "clip": Path(options.clip).name,
        "size": [width, height],
        "frames": count,
        "rounds": options.repeat,
        "roads": table,
        "detect_peak_mb": peaks,
    }
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")
    if options.plot:
        plot(facts, options.plot)


if __name__ == "__main__":
    main()
