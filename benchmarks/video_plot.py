"""The plot of what `whole_video.py` measured.

    python benchmarks/video_plot.py RESULTS.json PLOT.svg

Bars of frames a second on a logarithmic scale, the fastest on top; whiskers from the slowest round
to the fastest. Roads that could not run are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = {
    "decode": "decoding alone (OpenCV)",
    "ferlite": "ferlite",
    "haar-loop": "Haar loop",
    "yunet-loop": "YuNet loop",
    "fer-mtcnn": "fer with MTCNN",
    "hsemotion-onnx": "YuNet, hsemotion-onnx",
}
OURS, BOUND, THEIRS = "#1b6ca8", "#d9d9d9", "#8c8c8c"


def color(road: str) -> str:
    if road.startswith("ferlite"):
        return OURS
    return BOUND if road == "decode" else THEIRS


def label(row: Mapping[str, Any], frames: int) -> str:
    name, _, size = row["road"].partition("@")
    text = NAMES.get(name, name)
    if size:
        text += f", {size} px searched" if name == "ferlite" else f", scale factor {size}"
    return text if row["frames"] == frames else f"{text}\n(first {row['frames']} frames)"


def plot(facts: Mapping[str, Any], file: str) -> None:
    """facts: as `whole_video.py --json` writes them."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ran = [row for row in facts["roads"] if "ratio" in row]
    ran.sort(key=lambda row: row["frames_per_s"])
    rates = [row["frames_per_s"] for row in ran]
    ranges = [row["frames_per_s_range"] for row in ran]
    spread = [
        [rate - low for rate, (low, _) in zip(rates, ranges, strict=True)],
        [high - rate for rate, (_, high) in zip(rates, ranges, strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.42 * len(ran)), layout="constrained")
    axes.barh(
        [label(row, facts["frames"]) for row in ran],
        rates,
        xerr=spread,
        color=[color(row["road"]) for row in ran],
        height=0.66,
        error_kw={"lw": 1},
    )
    for y, row in enumerate(ran):
        faces = f"   {row['faces'] / row['frames']:.1f} faces a frame" if row["faces"] else ""
        text = f"  {row['frames_per_s']:.3g}{faces}"
        axes.text(row["frames_per_s_range"][1], y, text, va="center", fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(min(1.0, *(low / 2 for low, _ in ranges)), max(high for _, high in ranges) * 8)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("frames a second, decoding included (logarithmic)")
    width, height = facts["size"]
    figure.suptitle(
        f"{facts['clip']}, {width}x{height}, {facts['frames']} frames;"
        f" median of {facts['rounds']} rounds, slowest to fastest",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("plot")
    options = parser.parse_args()
    plot(json.loads(options.results.read_text()), options.plot)


if __name__ == "__main__":
    main()
