"""How long a session takes to make: from the model, and from what is kept optimised on disk.

    python benchmarks/session_start.py [--runs 40]

Of each packaged network, on the CPU provider: making a session from the model's bytes; the same
from the kept form, with reading and verifying it (what `ferlite.graphs` does, where for each
network and not only for INT8); and of the latter making the session alone. With OpenVINO in the
installation: with and without its `cache_dir`. Then `Analyzer()`, with a warm and with an empty
cache folder.

In turns, the least processor time of all runs, in milliseconds. Asserts equal answers to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from processes import machine

from ferlite import Analyzer, bundles, graphs, session


def least(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Processor time of the shortest run of each, ms."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.process_time()
            call()
            spent[name].append(time.process_time() - start)
    return {name: min(one) * 1e3 for name, one in spent.items()}


def answers(made: session.Session, task: str) -> list[np.ndarray]:
    shape = (1, 96, 160, 3) if task == "face" else (4, 48, 48, 1)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return made.run(noise if task == "face" else noise.astype(np.float32) / 64 - 2)


def network(task: str, kind: str, runs: int) -> None:
    bundle = bundles.find(task)
    file = bundle.precisions[kind]
    data, digest = bundle.load(file), bundle.files[file]
    plain, _ = session.create(data), session.create(data, digest=digest)
    for one, other in zip(
        answers(plain, task), answers(session.create(data, digest=digest), task), strict=True
    ):
        assert np.array_equal(one, other)
    kept = graphs.load(digest)
    assert kept is not None
    bare = session._options(session.default_threads())
    bare.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    found = least(
        {
            "plain": lambda: session.create(data),
            "kept": lambda: session.create(data, digest=digest),
            "bare": lambda: session._build(kept, bare, ["CPUExecutionProvider"], file),
        },
        runs,
    )
    figures = " | ".join(f"{one:.2f}" for one in found.values())
    print(f"| {task} {kind}, {len(data) / 1e6:.2f} MB | {figures} |")


def openvino(task: str, kind: str, runs: int, folder: str) -> None:
    bundle = bundles.find(task)
    data = bundle.load(bundle.precisions[kind])
    hint = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "f32"}})

    def made(**settings: str) -> onnxruntime.InferenceSession:
        settings = {"device_type": "CPU", "load_config": hint} | settings
        wanted = [("OpenVINOExecutionProvider", settings), "CPUExecutionProvider"]
        return session._build(data, session._options(2), wanted, task)

    made(cache_dir=folder)
    found = least({"plain": made, "cached": lambda: made(cache_dir=folder)}, max(3, runs // 5))
    print(f"| {task} {kind} | {found['plain']:.1f} | {found['cached']:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    print(f"{machine()}\nleast of {runs} runs, CPU ms\n")
    both = [(task, kind) for task in ("emotion", "face") for kind in ("fp32", "int8")]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        print("| network | from the model | from the kept form | without reading it |")
        print("|---|---|---|---|")
        for task, kind in both:
            network(task, kind, runs)
        if session.installed().get("openvino") == onnxruntime.__version__:
            print("\n| network on OpenVINO | without cache_dir | with |\n|---|---|---|")
            for task, kind in both:
                openvino(task, kind, runs, str(Path(folder, "openvino")))
        Analyzer(provider="cpu")
        warm = least({"warm": lambda: Analyzer(provider="cpu")}, runs)["warm"]
        cold = []
        for number in range(3):
            os.environ["XDG_CACHE_HOME"] = str(Path(folder, str(number)))
            cold.append(least({"cold": lambda: Analyzer(provider="cpu")}, 1)["cold"])
    print(f"\nAnalyzer(): {warm:.1f} with a warm cache, {min(cold):.0f} with an empty one")


if __name__ == "__main__":
    main()
