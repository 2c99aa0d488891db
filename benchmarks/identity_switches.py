"""How often a face's identity changes while it is on the screen.

    python benchmarks/identity_switches.py CLIP [--detector NAME|FILE] [--size PIXELS] [--most N]

The reference joins the detections of all frames by their overlap from one frame to the next, which
at 25 frames a second leaves no doubt, and carries a face over gaps of a second. Against it stand
the tracks that `Analyzer.stream` gives of every frame, every 2nd and 5th, and of every frame where
a share of the detections is dropped. A switch is a face whose track differs from the one it had
when it was last seen (the IDSW of Bernardin and Stiefelhagen, "Evaluating multiple object tracking
performance", 2008); a merger is a track that goes from one face to another.

Asserts that every pass saw the faces of the reference, no more and no less, and with --most that no
pass has more switches than that.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferlite import Analyzer
from ferlite.faces import DEFAULT_DETECTOR, Detector, open_detector
from ferlite.types import Detections, FrameResult

SAME = 0.3  # overlap of a face with itself one frame later
GAP_S = 1.0  # for so long the reference waits for a face at the place where it was
DROPPED = (0.1, 0.3)  # shares of detections


class Repeated:
    """A detector that looks at each picture once and drops a fixed share of what it finds.

    What is dropped follows from the picture, so that every pass drops the same.
    """

    def __init__(self, detector: Detector, known: dict[int, Detections], dropped: float) -> None:
        self.name, self.models = detector.name, detector.models
        self._detector, self._known, self._dropped = detector, known, dropped

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        key = zlib.crc32(np.ascontiguousarray(image).data)
        if key not in self._known:
            self._known[key] = self._detector.detect(image)
        found = self._known[key]
        kept = np.random.default_rng(key).random(len(found)) >= self._dropped
        points = found.landmarks
        return Detections(
            found.boxes[kept], found.scores[kept], None if points is None else points[kept]
        )


@dataclass
class Identity:
    number: int
    t: float
    box: NDArray[np.float64]


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, m] of boxes [n, 4] and [m, 4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    areas = a[:, None, 2:].prod(axis=2) + b[None, :, 2:].prod(axis=2)
    return np.asarray(common / (areas - common), np.float64)


def boxes_of(result: FrameResult) -> NDArray[np.float64]:
    return np.array([face.box for face in result.faces], np.float64).reshape(-1, 4)


def reference(results: Iterable[FrameResult]) -> dict[int, list[int]]:
    """Frame -> the identity of each of its faces."""
    known: list[Identity] = []
    answers: dict[int, list[int]] = {}
    count = 0
    for result in results:
        boxes, numbers = boxes_of(result), [0] * len(result.faces)
        known = [one for one in known if result.t - one.t <= GAP_S]
        shared = overlaps(np.array([one.box for one in known]).reshape(-1, 4), boxes)
        while shared.size and shared.max() >= SAME:
            i, j = divmod(int(shared.argmax()), len(boxes))
            numbers[j] = known[i].number
            known[i].t, known[i].box = result.t, boxes[j]
            shared[i], shared[:, j] = -1, -1
        for j, number in enumerate(numbers):
            if not number:
                count += 1
                numbers[j] = count
                known.append(Identity(count, result.t, boxes[j]))
        answers[result.frame] = numbers
    return answers


@dataclass
class Count:
    faces: int = 0
    switches: int = 0
    mergers: int = 0


def compare(
    results: Sequence[FrameResult],
    truth: dict[int, list[int]],
    seen: dict[int, NDArray[np.float64]],
) -> Count:
    """Switches of the tracks in `results`; each of its faces is one of the reference's `seen`."""
    count = Count()
    track_of: dict[int, int] = {}
    face_of: dict[int, int] = {}
    for result in results:
        for face in result.faces:
            same = overlaps(np.array([face.box], np.float64), seen[result.frame])[0]
            assert same.max() > 0.999, f"frame {result.frame}: a face that was not there before"
            identity, track = truth[result.frame][int(same.argmax())], face.track
            assert track is not None
            count.faces += 1
            count.switches += track_of.setdefault(identity, track) != track
            count.mergers += face_of.setdefault(track, identity) != identity
            track_of[identity], face_of[track] = track, identity
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR)
    parser.add_argument("--size", type=int, help="longest side searched, pixels")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--most", type=int, help="fail above so many switches in a pass")
    given = parser.parse_args()

    detector = open_detector(given.detector, size=given.size, threads=given.threads)
    known: dict[int, Detections] = {}

    def run(every: int, dropped: float) -> list[FrameResult]:
        analyzer = Analyzer(
            Repeated(detector, known, dropped), provider="cpu", threads=given.threads
        )
        return list(analyzer.stream(given.clip, every=every))

    every_frame = run(1, 0.0)
    truth = reference(every_frame)
    seen = {result.frame: boxes_of(result) for result in every_frame}
    faces = sum(len(numbers) for numbers in truth.values())
    assert faces, f"{given.detector} finds no face in {given.clip}"
    people = {number for numbers in truth.values() for number in numbers}
    print(f"{given.clip}, {given.detector}: {len(truth)} frames, {faces} faces")
    print(f"reference: {len(people)} identities\n")
    print(f"{'':28}  {'faces':>6}  {'tracks':>6}  {'switches':>8}  {'mergers':>7}")
    passes = [(f"every {n}", run(n, 0.0)) for n in (1, 2, 5)]
    passes += [(f"{share:.0%} of faces dropped", run(1, share)) for share in DROPPED]
    passes.append((f"every 5, {DROPPED[-1]:.0%} dropped", run(5, DROPPED[-1])))
    for (name, results), step in zip(passes, (1, 2, 5, 1, 1, 5), strict=True):
        assert [result.frame for result in results] == [f for f in truth if f % step == 0], name
        count = compare(results, truth, seen)
        if "dropped" not in name:
            assert count.faces == sum(len(truth[result.frame]) for result in results), name
        tracks = len({face.track for result in results for face in result.faces})
        print(f"{name:28}  {count.faces:6}  {tracks:6}  {count.switches:8}  {count.mergers:7}")
        assert given.most is None or count.switches <= given.most, f"{name}: over {given.most}"


if __name__ == "__main__":
    main()
