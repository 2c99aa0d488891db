"""JSON Lines: one record a frame, as FrameResult.to_dict() gives it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from ferlite.errors import SinkError
from ferlite.sinks.base import ReaderGone
from ferlite.sinks.partfile import PartFile, sink_error

if TYPE_CHECKING:
    from pathlib import Path

    from ferlite.types import Frame, FrameResult, SourceInfo


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """UTF-8 JSON; a number that JSON cannot hold (NaN, infinity) becomes null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=str)
    except ValueError:
        value = _finite(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=str)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a file name whose bytes are not UTF-8: only escapes can hold it
        return json.dumps(json.loads(text), indent=indent).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class JsonLines:
    """results.jsonl: every record is in the file before `write` returns.

    An aborted run leaves its whole records in results.jsonl.ferlite.part. Raises SinkError.
    """

    def __init__(self, path: Path) -> None:
        self._file = PartFile(path, begins=b'{"source": ')

    @property
    def written(self) -> str:
        return self._file.written

    def begin(self, info: SourceInfo) -> None:
        """Records name their source themselves."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._file.write(to_json(result.to_dict()) + b"\n")

    def finish(self) -> None:
        self._file.commit()

    def abort(self) -> None:
        self._file.keep()


class StdoutJsonl:
    """The same records on standard output, flushed one by one.

    Of a file on a disk that is full, the last record is whole, or not there.
    Raises ReaderGone from `write` once the reader has closed the pipe, and SinkError where standard
    output is closed or a file on a full disk.
    """

    written = ""  # no file

    def __init__(self, stream: BinaryIO | None = None) -> None:
        if stream is None and sys.stdout is None:
            raise SinkError("standard output is closed; leave --stdout out, or give it a reader")
        self._stream = sys.stdout.buffer if stream is None else stream

    def begin(self, info: SourceInfo) -> None:
        """Records name their source themselves."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        size = self._file_size()
        left = memoryview(to_json(result.to_dict()) + b"\n")
        try:
            while left:  # python -u has no buffer: a write may be a part
                left = left[self._stream.write(left) :]
            self._stream.flush()
        except OSError as error:
            if size is not None:  # what a full disk cut short is taken back
                with contextlib.suppress(OSError):
                    os.ftruncate(self._stream.fileno(), size)
            # The stream still holds the record and would fail again when the interpreter closes
            # it at exit, so its descriptor is pointed at nothing (Python library, `signal`).
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            remedy = "free some space or send it elsewhere"
            raise sink_error("standard output", error, remedy) from error

    def _file_size(self) -> int | None:
        """Bytes of the file that the records go to (`>> faces.jsonl`); None where it is none."""
        try:
            about = os.fstat(self._stream.fileno())
        except OSError:  # a stream in memory
            return None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def finish(self) -> None:
        """Nothing is held back."""

    def abort(self) -> None:
        """Nothing is held back."""
