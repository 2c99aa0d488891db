"""`ferlite bench`: how fast each stage and the whole are here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ferlite.cli.params import Name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ferlite.sinks.partfile import PartFile

# How an earlier document begins; another file is the user's and is not replaced.
_BEGINS = b'{\n  "schema": '
# With more work waiting than this for each core, figures say little.
_BUSY = 0.5


@click.command(
    epilog="""\b
Examples:
  ferlite bench                         the demo's clip, under two minutes
  ferlite bench --quick                 roughly, in seconds
  ferlite bench --video street.mp4      your own clip
  ferlite bench --json bench.json       every figure, for a script

Ctrl-C prints what is measured so far.
"""
)
@click.option(
    "--video",
    type=Name(path_type=Path),
    metavar="FILE",
    help="The clip to measure with, from its start as far as there is time.  [default: the demo's]",
)
@click.option(
    "--json",
    "json_file",
    type=Name(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all figures there as well.",
)
@click.option("--quick", is_flag=True, help="One short round instead of three.")
@click.option(
    "--detector",
    type=Name(),
    metavar="NAME|DIR|FILE.onnx",
    help="Finds the faces, as for `ferlite detect`.  [default: that of `ferlite detect`]",
)
@click.option(
    "--model",
    type=Name(),
    default="emotion",
    show_default=True,
    metavar="NAME|DIR|FILE.onnx",
    help="Names the emotions.",
)
def bench(
    video: Path | None, json_file: Path | None, quick: bool, detector: str | None, model: str
) -> None:
    """Measures each stage and the whole on this machine: latency, throughput, memory, energy.

    What is compared (precisions, providers, threads, batch sizes) runs in turns, in several rounds:
    shown are medians over the rounds, and of the rates the slowest and fastest round.
    """
    from ferlite.bench import QUICK, THOROUGH, Bench
    from ferlite.cli.interrupt import raised
    from ferlite.faces import DEFAULT_DETECTOR
    from ferlite.sinks.partfile import PartFile

    if json_file and json_file.is_symlink():
        json_file = json_file.resolve()  # what it leads to is written, and the link stays
    # Found out now that it cannot be written.
    file = PartFile(json_file, _BEGINS) if json_file else None
    try:
        with _progress() as told:
            run = Bench(
                video,
                detector=detector or DEFAULT_DETECTOR,
                model=model,
                plan=QUICK if quick else THOROUGH,
                told=told,
            )
            try:
                with raised():
                    run.run()
            except KeyboardInterrupt:
                _finish(run.report(), file)
                raise
        _finish(run.report(), file)
    except BaseException:
        if file:
            file.discard()
        raise


def _finish(report: Mapping[str, Any], file: PartFile | None) -> None:
    from ferlite.sinks.jsonl import to_json

    if file:
        file.write(to_json(report, indent=2) + b"\n")
        file.commit()
    _print(report)  # after it: whoever reads this may have seen enough


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, else a line for each step, on stderr."""
    import sys

    if not sys.stderr.isatty():
        yield lambda words, done: click.echo(words, err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        expand=True,
        transient=True,
        # Drawing would be measured as well.
        auto_refresh=False,
    )
    with bar:
        task = bar.add_task("", total=1.0)

        def told(words: str, done: float) -> None:
            bar.update(task, description=words, completed=done, refresh=True)

        yield told


def _print(report: Mapping[str, Any]) -> None:
    """Tables on stdout."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for line in _facts(report):
        console.print(line, soft_wrap=True)
    for title, table in _tables(report):
        console.print(f"\n{title}", style="italic")
        console.print(table)
    console.print()
    for line in _findings(report):
        console.print(line, soft_wrap=True)


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    if "machine" in report:
        machine = report["machine"]
        cores = machine["logical_cores_usable"]
        yield f"{machine['processor']}, {cores} logical cores, {machine['instruction_set']} kernels"
        if machine["load_average"] > _BUSY * cores:
            yield (
                f"the machine is busy (load average {machine['load_average']:.1f}):"
                " all figures are worse than they could be"
            )
    if "runs" in report:
        runs = report["runs"]
        networks = [
            " ".join(one[key] for key in ("name", "version", "precision") if key in one)
            + f" on {one.get('provider', runs['provider'])}"
            for one in reversed(runs["models"])
        ]
        detector = [] if len(networks) > 1 else [runs["detector"]]
        yield f"a run here: {', '.join(detector + networks)}, {runs['threads']} threads"
    if "clip" in report:
        clip = report["clip"]
        faces, frames = report["answers"]["faces"], report["answers"]["frames"]
        mean = f", {faces / frames:.1f} faces a frame" if frames else ""
        yield f"clip: {clip['name']}, {clip['width']}x{clip['height']}{mean}"


def _tables(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each with its title, which may be wider."""
    columns: tuple[str, ...]
    if report["stages"]:
        columns = ("stage", *_LATENCY, "frames/s", "range")
        yield "one frame, stage after stage", _table(columns, report["stages"], ("stage",))
    whole = [row for row in report["whole"] if "per_s" in row]
    if whole:
        columns = ("threads", "frames/s", "range")
        yield "the whole, stages at once", _table(columns, whole, ("threads",))
    facts = ("batch", "provider", "precision", "threads")
    for name, unit in (("emotion", "faces/s"), ("detector", "frames/s")):
        rows = [row for row in report[name] if "per_s" in row]
        if rows:
            rows.sort(key=lambda row: (row["batch"], row["threads"]))
            columns = (*facts, *_LATENCY, unit, "range", "differs")
            yield f"{name} network", _table(columns, rows, facts)


_LATENCY = ("p50 ms", "p95 ms")


def _table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    facts: Sequence[str],
) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        left = name in ("stage", "provider", "precision")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        cells = [str(row[name]) for name in facts]
        if "p50 ms" in columns:
            cells += [_number(row.get("p50_ms")), _number(row.get("p95_ms"))]
        low, high = map(_number, row.get("per_s_range", (None, None)))
        cells += [_number(row.get("per_s")), low if low == high else f"{low}-{high}"]
        if "differs" in columns:
            cells.append("faces" if row["differs"] is None else f"{row['differs']:.4f}")
        table.add_row(*cells)
    return table


def _number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "?"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _findings(report: Mapping[str, Any]) -> Iterator[str]:
    if pace := report["pace"]:
        yield (
            f"the whole runs at {pace['ratio']:.2f} of the pace of its slowest stage alone,"
            f" {pace['slowest']} ({_number(pace['alone_per_s'])} frames/s)"
        )
    process = report["process"]
    if "unavailable" in process:
        yield f"memory and start: {process['unavailable']}"
    elif process:
        peak = f", {process['peak_mb']:.0f} MB at most" if process["peak_mb"] else ""
        first = process["first_record_s"]
        yield f"`ferlite detect`: first record {first:.2f} s after its start{peak}"
    answers = report["answers"]
    if answers["frames"]:
        same = answers["frames"] - answers["frames_differing"]
        yield (
            f"answers stage by stage and in the pipeline: the same faces in {same} of"
            f" {answers['frames']} frames, at most {answers['largest_box_difference_px']:g} px and"
            f" {answers['largest_probability_difference']:g} of a probability apart"
        )
    if report["emotion"]:
        yield "differs: the most by which a probability is off from fp32 on cpu, same input"
    energy = report["energy"]
    if "watts" in energy:
        frame = 1000 * energy["joules_per_frame"]
        yield f"energy: {frame:.3g} mJ a frame, {energy['watts']:.3g} W (the whole processor)"
    else:
        yield f"energy: {energy['unavailable']}"
    for one in report["unavailable"]:
        yield f"not measured: {one['network']} on {one['provider']}: {one['reason']}"
    if not report["complete"]:
        yield f"interrupted after {report['rounds']} whole rounds"
