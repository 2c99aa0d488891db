"""`ferlite detect`: pictures, videos, cameras and streams to records and annotated media."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import Literal

import click

from ferlite.cli.params import Name, Size
from ferlite.faces import DEFAULT_DETECTOR, DETECTORS
from ferlite.sinks import SINKS

DEFAULT_FOLDER = Path("ferlite-output")


def _save(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in SINKS]
    if unknown or not names:
        wrong = ", ".join(map(repr, unknown)) or "an empty list"
        raise click.BadParameter(f"{wrong}; choose from {', '.join(SINKS)}")
    return tuple(name for name in SINKS if name in names)


def _reads_from(folder: Path, sources: Sequence[str]) -> bool:
    """Whether a file in `folder` may be a source of the run, an earlier run's output among them."""
    # Path.resolve raises where links go in a circle.
    own, *paths = (Path(os.path.realpath(str(path))) for path in (folder, *sources))

    def reads(path: Path) -> bool:
        if path.exists():
            return own == (path if path.is_dir() else path.parent)
        # Here "*" stands for any number of folders, as "**" does: rather too careful.
        found_in = str(path.parent)
        return has_magic(str(path)) and ("**" in path.parts or fnmatch(str(own), found_in))

    return any(map(reads, paths))


@click.command(
    epilog="""\b
Examples:
  ferlite detect holiday.mp4                        all results in ferlite-output/
  ferlite detect a.jpg b.png photos/ -o out         pictures and a folder of them
  ferlite detect 'clips/*.mp4' --save jsonl,summary no annotated video
  ferlite detect talk.mkv --every 5 --start 60 --duration 30
  ferlite detect 0 --fps-limit 5 --save csv         first camera, five frames a second
  ferlite detect rtsp://192.168.1.20/stream --stdout | jq .faces
  ferlite detect crowd.mp4 --detect-size auto       looks closer for small faces
  ferlite detect crowd.mp4 --detector yunet --min-face 24

\b
Exit status:
  0 done   1 the run failed, or some inputs did   2 wrong usage   130 Ctrl-C   143 SIGTERM

Ctrl-C and SIGTERM end the run early; what was read until then is complete.
"""
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=Name(path_type=Path),
    metavar="DIR",
    help="Folder for the results, made if need be. What an earlier run wrote there is replaced,"
    " finished or not; no other file is: an annotated video gets another name then."
    f"  [default: {DEFAULT_FOLDER}]",
)
@click.option(
    "--save",
    callback=_save,
    metavar="LIST",
    help=f"What to write: any of {','.join(SINKS)}.  [default: all that fit the source]",
)
@click.option(
    "--stdout",
    "to_stdout",
    is_flag=True,
    help="JSON Lines to standard output; then no files, unless -o or --save is given.",
)
@click.option(
    "--detector",
    type=Name(),
    default=DEFAULT_DETECTOR,
    show_default=True,
    metavar="NAME|DIR|FILE.onnx",
    help=f"Finds the faces: {', '.join(DETECTORS)} (once `ferlite models add` has its file),"
    " another installed model, or a model of your own.",
)
@click.option(
    "--detect-size",
    type=Size(),
    metavar="PX|auto",
    help="Longest side of the picture searched; frames are never enlarged. auto looks again,"
    " closer, where faces are small or none is found.  [default: the detector's own, or as"
    " --min-face needs]",
)
@click.option(
    "--model",
    type=Name(),
    default="emotion",
    show_default=True,
    metavar="NAME|DIR|FILE.onnx",
    help="Names the emotions; see `ferlite models list`.",
)
@click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "openvino"]),
    default="auto",
    show_default=True,
    help="What runs the networks.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "int8"]),
    default="auto",
    show_default=True,
    help="Of the networks; auto measures once which is faster here.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 256),
    default=0,
    help="For the networks (0: the physical cores, at most 4) and the encoder of annotated video"
    " (0: all cores).  [default: 0]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Look at each Nth frame only.  [default: 1]",
)
@click.option(
    "--min-face",
    type=click.IntRange(min=0),
    default=0,
    metavar="PX",
    help="Leave out faces smaller than this, and search closely enough for them; 0 for the"
    " detector's own limit.  [default: 0]",
)
@click.option(
    "--detection-threshold",
    type=click.FloatRange(0, 1),
    help="Leave out faces that the detector is less sure of.  [default: the detector's]",
)
@click.option(
    "--fps-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="At most this many frames a second.",
)
@click.option(
    "--start",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Where in the video to begin.  [default: 0]",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How much of it to look at.  [default: all]",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="Time constant over which a face's emotions are averaged; 0 for none.",
)
@click.option(
    "--reconnect",
    type=click.FloatRange(min=0),
    default=math.inf,
    metavar="SECONDS",
    help="How long to try to get a lost camera or stream back; 0 ends at the first loss."
    "  [default: for ever]",
)
@click.pass_context
def detect(
    ctx: click.Context,
    sources: tuple[str, ...],
    output: Path | None,
    save: tuple[str, ...] | None,
    to_stdout: bool,
    detector: str,
    model: str,
    provider: str,
    precision: str,
    threads: int,
    every: int,
    detect_size: int | Literal["auto"] | None,
    min_face: int,
    detection_threshold: float | None,
    fps_limit: float | None,
    start: float,
    duration: float | None,
    smoothing: float,
    reconnect: float,
) -> None:
    """Finds every face in SOURCE and reads its emotions.

    A SOURCE is a picture or video file, a folder or quoted pattern of these, a camera (0, 1, or
    /dev/video0), or the address of a stream (rtsp://, http://, rtmp://, udp://, tcp://). Results
    are a JSON record for each frame (results.jsonl), a row for each face (results.csv), annotated
    video or pictures, and summary.json.
    """
    from ferlite.analyzer import Analyzer
    from ferlite.cli.progress import Progress
    from ferlite.cli.report import report
    from ferlite.cli.run import run
    from ferlite.sinks import Summary, open_sinks
    from ferlite.sinks.folder import writable
    from ferlite.sources import SourceOptions, open_source

    if save is None:
        save = () if to_stdout and output is None else SINKS
    folder = (output or DEFAULT_FOLDER) if save else None

    # All that can be wrong is found out before anything is written.
    if folder is not None:
        writable(folder)
    options = SourceOptions(
        every=every,
        start_s=start,
        duration_s=duration,
        fps_limit=fps_limit,
        reconnect_s=reconnect,
    )
    source = open_source(list(sources), options)
    with source:
        analyzer = Analyzer(
            detector,
            model,
            provider=provider,
            threads=threads,
            precision=precision,
            min_face=min_face,
            detect_size=detect_size,
            detection_threshold=detection_threshold,
            smoothing_s=smoothing,
        )
        sinks = open_sinks(
            folder,
            save,
            labels=analyzer.labels,
            threads=threads,
            stdout=to_stdout,
            replace=folder is None or not _reads_from(folder, sources),
        )
        summary = next((sink for sink in sinks if isinstance(sink, Summary)), Summary(Path()))
        facts = {
            "options": {
                "detector": detector,
                "provider": provider,
                "precision": precision,
                "threads": threads,
                "every": every,
                "start_s": start,
                "duration_s": duration,
                "fps_limit": fps_limit,
                "min_face": min_face,
                "detect_size": detect_size,  # null: the detector's own
                "detection_threshold": detection_threshold,
                "smoothing_s": smoothing,
                "reconnect_s": reconnect,  # null: for ever
            }
        }
        progress = Progress(source.items)
        try:
            run(analyzer, source, sinks, summary, progress, facts)
        except KeyboardInterrupt:
            report(summary.to_dict(), folder, sinks)
            raise
    report(summary.to_dict(), folder, sinks)
    ctx.exit(1 if progress.failed else 0)
