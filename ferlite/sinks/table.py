"""CSV: one row a face, and one with empty face columns for a frame without."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ferlite.errors import SinkError, UsageError
from ferlite.sinks.partfile import PartFile

if TYPE_CHECKING:
    from pathlib import Path

    from ferlite.types import Face, Frame, FrameResult, SourceInfo

# In the order of Face.landmarks; left and right as seen in the picture.
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

_FRAME = ("source", "frame", "t", "received", "width", "height", "error")
_FACE = (
    *("track", "box_x", "box_y", "box_width", "box_height"),
    *("score", "emotion", "confidence", "uncertain"),
)


class CsvTable:
    """results.csv as RFC 4180 has it, in UTF-8, written row by row.

    Columns: source, frame, t (seconds), received, width, height, error; track, box_x, box_y
    (its upper left corner, pixels), box_width, box_height (pixels), score, emotion, confidence,
    uncertain (true or false); one column a label with
    its probability, smoothed over the track; the same as raw_<label> for this frame alone; and x
    and y of the landmarks: left_eye_x, left_eye_y, right_eye_*, nose_*, left_mouth_*,
    right_mouth_*. What is not known is empty, NaN too. The numbers are those of the JSON Lines
    record.

    A source or error text that a spreadsheet would run as a formula (it begins with = + - @ or a
    control character) gets an apostrophe in front, as OWASP advises against CSV injection.

    An aborted run leaves its whole rows in results.csv.ferlite.part. Raises SinkError; UsageError
    when a label has the name of another column.
    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        header = [
            *_FRAME,
            *_FACE,
            *self._labels,
            *(f"raw_{label}" for label in self._labels),
            *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"),
        ]
        for column in header:
            if header.count(column) > 1:
                raise UsageError(
                    f"the model's label {column!r} is also the name of another CSV column; "
                    "rename the label in the model's bundle.json"
                )
        self._file = PartFile(path, begins=b"source,frame,t,")
        try:
            self._write([header])
        except SinkError:
            self._file.discard()
            raise

    @property
    def written(self) -> str:
        return self._file.written

    def begin(self, info: SourceInfo) -> None:
        """Rows name their source themselves."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        head = [
            _text(result.source),
            result.frame,
            _number(round(result.t, 6)),
            result.received.isoformat(timespec="milliseconds") if result.received else "",
            result.width,
            result.height,
            _text(result.error or ""),
        ]
        empty = [""] * (len(_FACE) + 2 * len(self._labels) + 2 * len(LANDMARKS))
        faces = [self._face(face) for face in result.faces] or [empty]
        self._write([head + face for face in faces])

    def finish(self) -> None:
        self._file.commit()

    def abort(self) -> None:
        self._file.keep()

    def _face(self, face: Face) -> list[Any]:
        record = face.to_dict()
        points = record["landmarks"] or [("", "")] * len(LANDMARKS)
        numbers = [
            *(record["emotions"].get(label) for label in self._labels),
            *(record["raw_emotions"].get(label) for label in self._labels),
            *(value for point in points for value in point),
        ]
        return [
            record["track"],
            *map(_number, record["box"]),
            _number(record["score"]),
            _text(record["emotion"]),
            _number(record["confidence"]),
            "true" if record["uncertain"] else "false",
            *map(_number, numbers),
        ]

    def _write(self, rows: list[list[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def _number(value: Any) -> Any:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: str) -> str:
    return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
