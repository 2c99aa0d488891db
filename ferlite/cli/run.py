"""One run: every frame of a source through the analyzer into the sinks, and an orderly end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferlite.cli.interrupt import Interrupted, Signals
from ferlite.sinks import ReaderGone, Sink, Summary

if TYPE_CHECKING:
    from ferlite.analyzer import Analyzer
    from ferlite.cli.progress import Progress
    from ferlite.sources import Source


def run(
    analyzer: Analyzer,
    source: Source,
    sinks: Sequence[Sink],
    summary: Summary,
    progress: Progress,
    facts: Mapping[str, Any],
) -> None:
    """Reads the source to its end, or to the first Ctrl-C or SIGTERM, and finishes the sinks.

    summary: gets every result and, at the end, `facts`, the analyzer's description and its seconds
        in each stage; it is finished only when it is one of the sinks.

    Raises Interrupted after the sinks were finished, and whatever else went wrong after they were
    aborted. A reader of standard output that has seen enough is a proper end.
    """
    listeners = list(sinks) if summary in sinks else [*sinks, summary]
    stopped: Interrupted | None = None
    try:
        with Signals() as signals:
            try:
                _drive(analyzer, source, listeners, summary, progress, signals)
            except ReaderGone:
                pass
            except Interrupted as error:
                stopped = error
            progress.stop()
            summary.add(
                {
                    "interrupted": stopped is not None,
                    **facts,
                    **analyzer.description(),
                    "stage_seconds": {k: round(v, 3) for k, v in analyzer.timings.items()},
                }
            )
            # A second signal gets through here: what is not finished yet is then aborted.
            for sink in sinks:
                sink.finish()
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    if stopped is not None:
        raise stopped


def _drive(
    analyzer: Analyzer,
    source: Source,
    sinks: Sequence[Sink],
    summary: Summary,
    progress: Progress,
    signals: Signals,
) -> None:
    current = None
    with analyzer.frames(source) as frames:
        try:
            for frame, result in frames:
                # So that all sinks have this frame or none.
                with signals.held():
                    if frame.source is not current:
                        current = frame.source
                        progress.begin(current)
                        for sink in sinks:
                            sink.begin(current)
                    for sink in sinks:
                        sink.write(frame, result)
                    progress.advance(result)
        finally:
            summary.add({"frames_dropped": frames.dropped})
