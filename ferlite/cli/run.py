"""One run: every frame of a source through the analyzer into the sinks, and an orderly end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferlite.cli.interrupt import Interrupted, Signals
from ferlite.sinks import ReaderGone, Sink, Summary

if TYPE_CHECKING:
    from ferlite.analyzer import Analyzer
    from ferlite.cli.progress import Progress
    from ferlite.sources import Source
    from ferlite.types import Frame, FrameResult, SourceInfo


def run(
    analyzer: Analyzer,
    source: Source,
    sinks: Sequence[Sink],
    summary: Summary,
    progress: Progress,
    facts: Mapping[str, Any],
) -> None:
    """Reads the source to its end, or to the first Ctrl-C or SIGTERM, and finishes the sinks.

    What was decoded when the signal came is still analysed and written, and the sinks finish; only
    a second signal aborts.

    summary: gets every result and, at the end, `facts`, the analyzer's description and its seconds
        in each stage; it is finished only when it is one of the sinks.

    Raises Interrupted after the sinks were finished, and whatever else went wrong after they were
    aborted. A reader of standard output that has seen enough is a proper end where nothing else is
    written.
    """
    writing = _Writing(sinks, summary, progress)
    try:
        frames = analyzer.frames(source)
        with frames, Signals(frames.stop) as signals:
            with contextlib.suppress(ReaderGone):
                writing.take(frames)
            frames.close()
            progress.stop()
            stages = {**analyzer.timings, "write": writing.seconds}
            summary.add(
                {
                    "interrupted": signals.received is not None,
                    "frames_dropped": frames.dropped,
                    **facts,
                    **analyzer.description(),
                    "stage_seconds": {name: round(s, 3) for name, s in stages.items()},
                }
            )
            for sink in sinks:
                sink.finish()
    except BaseException:
        progress.stop()
        for sink in sinks:
            sink.abort()
        raise
    if signals.received is not None:
        raise Interrupted(signals.received)


class _Writing:
    """The last stage, on the main thread: each result to every sink and the summary.

    seconds: spent in the sinks.
    """

    def __init__(self, sinks: Sequence[Sink], summary: Summary, progress: Progress) -> None:
        self.seconds = 0.0
        self._sinks = list(sinks)
        self._unwritten = [] if summary in sinks else [summary]
        self._progress = progress
        self._current: SourceInfo | None = None

    def take(self, frames: Iterable[tuple[Frame, FrameResult]]) -> None:
        for frame, result in frames:
            start = time.perf_counter()
            if frame.source is not self._current:
                self._current = frame.source
                self._progress.begin(frame.source)
                for sink in (*self._sinks, *self._unwritten):
                    sink.begin(frame.source)
            for sink in list(self._sinks):
                try:
                    sink.write(frame, result)
                except ReaderGone:
                    self._sinks.remove(sink)
                    if not self._sinks:
                        raise
            for sink in self._unwritten:
                sink.write(frame, result)
            self.seconds += time.perf_counter() - start
            self._progress.advance(result)
