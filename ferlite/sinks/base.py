"""The one protocol of all sinks, and the one signal a sink may send back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ferlite.types import Frame, FrameResult, SourceInfo


class ReaderGone(Exception):  # noqa: N818, it is not an error
    """Whoever read our output has closed it (`ferlite ... --stdout | head`).

    This is no failure and therefore no FerliteError: whoever drives the run catches it around
    `write`, reads no further frame, calls `finish` on every sink and exits with status 0.
    """


class Sink(Protocol):
    """Where the results of a run go.

    The driver calls `begin` once for each source, in the order of the run, `write` for each of its
    frames, and at the end of the run either `finish` or `abort`, once. A sink keeps nothing of what
    it is given: memory does not grow with the length of a video.

    Every method raises SinkError, one line with the file and the remedy, when the output cannot be
    written; the driver then calls `abort` on all sinks.

    written: what there is in the folder by now, as a word for the user: "results.jsonl",
        "annotated video"; "" while there is nothing.
    """

    @property
    def written(self) -> str: ...

    def begin(self, info: SourceInfo) -> None:
        """A new source starts; what belongs to the one before is completed."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Take one frame (uint8 HxWx3 BGR, never modified) and what was read from it."""

    def finish(self) -> None:
        """Complete the output and give it its final name."""

    def abort(self) -> None:
        """End after an error; leaves nothing under a final name that is not whole. Never raises."""
