"""Where results go: one protocol, one file an implementation.

A driver opens the sinks before it reads anything, so that an output that cannot be written is
known at once, then drives them all alike (see Sink):

    sinks = open_sinks(Path("out"), ["jsonl", "csv"], labels=labels)
    for frame, result in analyzer.frames(source):
        ...  # sink.begin(frame.source) when the source is a new one, then sink.write(frame, result)
    # sink.finish(), or sink.abort() after an error
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ferlite.errors import FerliteError, UsageError
from ferlite.sinks.base import ReaderGone, Sink
from ferlite.sinks.folder import writable
from ferlite.sinks.images import AnnotatedImages
from ferlite.sinks.jsonl import JsonLines, StdoutJsonl
from ferlite.sinks.partfile import sink_error
from ferlite.sinks.summary import Summary
from ferlite.sinks.table import CsvTable
from ferlite.sinks.video import AnnotatedVideo

__all__ = [
    "SINKS",
    "AnnotatedImages",
    "AnnotatedVideo",
    "CsvTable",
    "JsonLines",
    "ReaderGone",
    "Sink",
    "StdoutJsonl",
    "Summary",
    "open_sinks",
]

# The names that `open_sinks` and `--save` take, in the order in which a run finishes them: the
# summary last, as it tells of the others.
SINKS = ("video", "images", "jsonl", "csv", "summary")


def open_sinks(
    folder: Path | None,
    save: Sequence[str],
    *,
    labels: Sequence[str] = (),
    threads: int = 0,
    stdout: bool = False,
    replace: bool = True,
) -> list[Sink]:
    """The sinks of one run, in the order of `save`, standard output first.

    folder: made if it is not there; None is allowed when `save` is empty.
    save: names of SINKS: "jsonl" writes results.jsonl, "csv" results.csv, "video" <stem>.mp4 for
        each video, "images" <stem>.jpg for each image, "summary" summary.json.
    labels: of the emotion model, in its order; the columns of the CSV file.
    threads: of the video encoder, 0 for as many as there are cores.
    stdout: JSON Lines on standard output as well.
    replace: annotated media take the place of those of an earlier run; False where these may be
        sources of this one.

    Raises UsageError for an unknown name or a missing folder, SinkError where nothing can be
    written.
    """
    for name in save:
        if name not in SINKS:
            raise UsageError(f"cannot save {name!r}; choose from {', '.join(SINKS)}")
    sinks: list[Sink] = [StdoutJsonl()] if stdout else []
    if not save:
        return sinks
    if folder is None:
        raise UsageError(f"no output folder to save {', '.join(save)} in; name one (-o)")
    writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise sink_error(folder, error) from error
    try:
        for name in dict.fromkeys(save):
            sinks.append(_open(name, folder, labels, threads, replace))
    except FerliteError:
        for sink in sinks:
            sink.abort()
        raise
    return sinks


def _open(name: str, folder: Path, labels: Sequence[str], threads: int, replace: bool) -> Sink:
    match name:
        case "jsonl":
            return JsonLines(folder / "results.jsonl")
        case "csv":
            return CsvTable(folder / "results.csv", labels)
        case "video":
            return AnnotatedVideo(folder, threads, replace=replace)
        case "images":
            return AnnotatedImages(folder, replace=replace)
        case _:
            return Summary(folder / "summary.json")
