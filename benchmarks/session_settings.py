"""Settings of an ONNX Runtime session: what each costs and gains, of both packaged networks.

    python benchmarks/session_settings.py [--rounds 15] [--threads N]

All sessions run in turns, round by round, 30 ms of runs each. Of each setting:

- best ms, ms: wall time of one run, the least and the median over all rounds, run after run
- CPU ms: processor time of the whole process for one run, of the same rounds
- live CPU ms: the same where a run comes each 33 ms, as frames of a camera do, idle time included

then, in a process of its own for each, the most memory resident and that at the end, when the
detector sees 40 sizes of frames and the emotion network batches of 1 to 64.

Asserts that every session gives the answers of the first one of its network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from processes import machine

from ferlite import bundles, session

TURN_S = 0.03
LIVE_S = 0.033
# Threads spin on after a run, and would be counted to the next contender.
SETTLE_S = 0.1
# The first is what ferlite's sessions have; the others need two threads.
SETTINGS: dict[str, dict[str, str]] = {
    "as ferlite": {},
    "spinning": {"session.intra_op.allow_spinning": "1"},
    "spinning, stopped after a run": {
        "session.intra_op.allow_spinning": "1",
        "session.force_spinning_stop": "1",
    },
    "dynamic blocks": {"session.dynamic_block_base": "4"},
}
# enable_cpu_mem_arena, enable_mem_pattern.
MEMORY = {"as ferlite": None, "memory pattern": (True, True), "no arena": (False, False)}


def opened(
    data: bytes, threads: int, entries: dict[str, str], memory: tuple[bool, bool] | None = None
) -> onnxruntime.InferenceSession:
    options = session._options(threads)
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    if memory:
        options.enable_cpu_mem_arena, options.enable_mem_pattern = memory
    return session._build(data, options, ["CPUExecutionProvider"], "network")


def batch_of(task: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return noise if task == "face" else noise.astype(np.float32) / 64 - 2


class Contender:
    def __init__(self, facts: tuple[str, ...], run: Callable[[], list[np.ndarray]]) -> None:
        self.facts, self.run = facts, run
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.live: list[float] = []

    def turn(self) -> None:
        self.run()
        begun, cpu, calls = time.perf_counter(), time.process_time(), 0
        while not calls or time.perf_counter() < begun + TURN_S:
            start = time.perf_counter()
            self.run()
            self.wall.append(time.perf_counter() - start)
            calls += 1
        self.cpu.append((time.process_time() - cpu) / calls)
        self._settle()

    def live_turn(self, runs: int = 4) -> None:
        self.run()
        time.sleep(LIVE_S)
        cpu = time.process_time()
        for _ in range(runs):
            begun = time.perf_counter()
            self.run()
            time.sleep(max(0.0, begun + LIVE_S - time.perf_counter()))
        self.live.append((time.process_time() - cpu) / runs)
        self._settle()

    def _settle(self) -> None:
        if "spinning" in self.facts[2]:
            time.sleep(SETTLE_S)

    def row(self) -> str:
        medians = (statistics.median(one) for one in (self.wall, self.cpu, self.live))
        figures = (one * 1e3 for one in (min(self.wall), *medians))
        return " | ".join((*self.facts, *(f"{one:.3f}" for one in figures)))


def contenders(threads: list[int]) -> Iterator[list[Contender]]:
    """Those of one network and input."""
    for task, shapes in (
        ("emotion", ((1, 48, 48, 1), (4, 48, 48, 1))),
        ("face", ((1, 384, 640, 3),)),
    ):
        bundle = bundles.find(task)
        for kind, file in bundle.precisions.items():
            data = bundle.load(file)
            for shape in shapes:
                name = f"{task} {kind}, " + "x".join(map(str, shape[: 3 if task == "face" else 1]))
                feed = batch_of(task, shape)
                yield list(variants(name, data, feed, threads, bound=task == "face"))


def variants(
    name: str, data: bytes, feed: np.ndarray, threads: list[int], bound: bool
) -> Iterator[Contender]:
    for count in threads:
        for setting, entries in SETTINGS.items():
            if count > 1 or not entries:
                made = opened(data, count, entries)
                yield Contender((name, str(count), setting), plain(made, feed))
    # One thread tells small differences best.
    for setting, memory in MEMORY.items():
        if memory:
            made = opened(data, 1, {}, memory)
            yield Contender((name, "1", setting), plain(made, feed))
    if bound:
        made = opened(data, 1, {})
        yield Contender((name, "1", "IO binding, outputs reused"), binding(made, feed))


def plain(made: onnxruntime.InferenceSession, feed: np.ndarray) -> Callable[[], list[np.ndarray]]:
    name = made.get_inputs()[0].name
    return lambda: made.run(None, {name: feed})


def binding(made: onnxruntime.InferenceSession, feed: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """Input and outputs stay where they are, of a shape known beforehand."""
    results = plain(made, feed)()
    io = made.io_binding()
    io.bind_cpu_input(made.get_inputs()[0].name, feed)
    kept = [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in results]
    for output, value in zip(made.get_outputs(), kept, strict=True):
        io.bind_ortvalue_output(output.name, value)

    def run() -> list[np.ndarray]:
        made.run_with_iobinding(io)
        return [value.numpy() for value in kept]

    return run


def resident(task: str, kind: str, memory: tuple[bool, bool] | None, queue: Any) -> None:
    """MB after loading, at most, and at the end, of a detector's 40 sizes or a hundred batches."""
    bundle = bundles.find(task)
    made = opened(bundle.load(bundle.precisions[kind]), session.default_threads(), {}, memory)
    draw = np.random.default_rng(0)
    run = made.run
    name = made.get_inputs()[0].name
    before = status("VmRSS")
    for _ in range(40 if task == "face" else 100):
        if task == "face":
            shape = (1, 32 * int(draw.integers(4, 24)), 32 * int(draw.integers(6, 41)), 3)
        else:
            shape = (int(draw.integers(1, 65)), 48, 48, 1)
        run(None, {name: batch_of(task, shape)})
    queue.put((before, status("VmHWM"), status("VmRSS")))


def status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(field)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=session.default_threads())
    options = parser.parse_args()
    # Settings given twice are what is wanted here.
    onnxruntime.set_default_logger_severity(4)
    counts = list(range(1, options.threads + 1))
    groups = list(contenders(counts))
    for group in groups:
        expected = group[0].run()
        for one in group:
            for answer, wanted in zip(one.run(), expected, strict=True):
                # Threads and blocks may add up in another order.
                np.testing.assert_allclose(answer, wanted, atol=1e-3)
    for _ in range(options.rounds):
        for group in groups:
            for one in group:
                one.turn()
    for _ in range(max(2, options.rounds // 5)):
        for group in groups:
            for one in group:
                one.live_turn()
    print(f"{machine()}\n{options.rounds} rounds\n")
    print("| network and input | threads | setting | best ms | ms | CPU ms | live CPU ms |")
    print("|---|---|---|---|---|---|---|")
    for group in groups:
        for one in group:
            print(f"| {one.row()} |")
    print("\n| network | memory | MB loaded | MB at most | MB at the end |\n|---|---|---|---|---|")
    spawn = multiprocessing.get_context("spawn")
    for task in ("face", "emotion"):
        for kind in ("fp32", "int8"):
            for name, memory in MEMORY.items():
                queue = spawn.SimpleQueue()
                child = spawn.Process(target=resident, args=(task, kind, memory, queue))
                child.start()
                figures = " | ".join(f"{one:.0f}" for one in queue.get())
                child.join()
                print(f"| {task} {kind} | {name} | {figures} |")


if __name__ == "__main__":
    main()
