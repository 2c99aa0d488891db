"""Annotated images: one JPEG for each image of the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ferlite.sinks.partfile import MARK, OutputNames, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from ferlite.types import Frame, FrameResult, SourceInfo

QUALITY = 92
_LARGEST_JPEG = 65500  # libjpeg's JPEG_MAX_DIMENSION

# The mark as a COM segment of ITU-T T.81: marker, its length and the length's own two bytes, text.
_COMMENT = b"\xff\xfe" + (2 + len(MARK)).to_bytes(2, "big") + MARK.encode()
# It stands behind JFIF's own segment, which has to be the first and has 16 bytes, and SOI.
_COMMENT_AT = 20

_log = logging.getLogger(__name__)


class AnnotatedImages:
    """<stem>.jpg (quality 92) in the folder for each source that is a still image.

    Each is whole as soon as it stands there, and stays when the run is aborted later. A broken
    image (an error record) gives none. Two sources of one stem give a.jpg and a-2.jpg; so does a
    picture that is there already, unless ferlite wrote it (a comment in the file tells). Raises
    SinkError.
    """

    def __init__(self, folder: Path, *, replace: bool = True) -> None:
        self.written = ""
        self._names = OutputNames(folder, _ours if replace else None)

    def begin(self, info: SourceInfo) -> None:
        """Each image is named when it is written."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        if frame.source.kind != "image" or frame.error is not None:
            return
        if max(frame.size) > _LARGEST_JPEG:
            _log.warning(
                "%s: no annotated image, JPEG holds at most %d pixels a side",
                frame.source.name,
                _LARGEST_JPEG,
            )
            return
        import cv2

        from ferlite.sinks.annotate import annotate

        _, data = cv2.imencode(
            ".jpg", annotate(frame.image, result.faces), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        jpeg = data.tobytes()
        jpeg = jpeg[:_COMMENT_AT] + _COMMENT + jpeg[_COMMENT_AT:]
        write_whole(self._names.claim(frame.source, ".jpg"), jpeg)
        self.written = "annotated pictures"

    def finish(self) -> None:
        """Every image is complete already."""

    def abort(self) -> None:
        """Every image is complete already."""


def _ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_COMMENT_AT + len(_COMMENT)).endswith(_COMMENT)
    except OSError:
        return False
