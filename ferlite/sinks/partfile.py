"""Files that appear under their final name only when they are whole, and how they are named."""

from __future__ import annotations

import contextlib
import errno
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ferlite.errors import SinkError

if TYPE_CHECKING:
    from ferlite.types import SourceInfo

# Longest stem in bytes: file systems allow 255 for the name, which leaves 35 for a number such as
# "-1000000", the extension and ".part".
_LONGEST_STEM = 220


def part_of(path: Path) -> Path:
    """The name that `path` has while it is being written."""
    return path.with_name(path.name + ".part")


def sink_error(path: Path | str, error: Exception) -> SinkError:
    """The one-line SinkError for an operating system or FFmpeg error on an output."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "free some space or choose another output folder (-o)"
    elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "choose an output folder that you may write to (-o)"
    elif code in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        remedy = "move what stands in the way or choose another output folder (-o)"
    else:
        remedy = "check the output folder or choose another (-o)"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # repr, because a file name may hold line breaks or bytes that are not text.
    return SinkError(f"cannot write {str(path)!r}: {reason}; {remedy}")


class PartFile:
    """A file written as "<name>.part" and renamed by `commit`.

    Each `write` reaches the operating system before it returns, whole or not at all: what a full
    disk cut short is taken back, so that a file of records never ends in half of one.

    Raises SinkError where the operating system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = part_of(path)
        self._size = 0
        try:
            self._file: io.FileIO | None = io.FileIO(self.part, "w")
        except OSError as error:
            raise sink_error(path, error) from error

    def write(self, data: bytes) -> None:
        assert self._file is not None, "written after its end"
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # a device such as /dev/full cannot be cut
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise sink_error(self.path, error) from error
        self._size += len(data)

    def commit(self) -> None:
        """Close and rename to the final name, replacing what an earlier run left there."""
        if self._file is None:
            return
        try:
            self._file.close()
            self.part.replace(self.path)
        except OSError as error:
            raise sink_error(self.path, error) from error
        finally:
            self._file = None

    def keep(self) -> None:
        """Close and leave the whole records written so far under the .part name."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def discard(self) -> None:
        """Close and remove; what has its final name stays."""
        self.keep()
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file at once; on failure nothing is left of it. Raises SinkError."""
    file = PartFile(path)
    try:
        file.write(data)
        file.commit()
    except SinkError:
        file.discard()
        raise


def stem_of(info: SourceInfo) -> str:
    """The name, without extension, of an output that belongs to one source.

    "clips/a b.mp4" gives "a b", "camera:0" gives "camera-0", "rtsp://user:word@host:554/live/1"
    gives "host-live-1": no credentials, and nothing that a file system or a shell trips over.
    """
    name = info.name
    if "://" in name:
        url = urlsplit(name)
        stem = f"{url.hostname or url.scheme}{url.path.removesuffix(Path(url.path).suffix)}"
    elif info.kind in ("live", "arrays"):
        stem = Path(name).name
    else:
        stem = Path(name).stem
    stem = stem.encode("utf-8", "replace").decode()  # a name of bytes that are not UTF-8
    stem = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "-", stem).strip("-. ")
    return stem.encode()[:_LONGEST_STEM].decode(errors="ignore") or "output"


class OutputNames:
    """Gives each source of a run its own file name in the output folder: a.jpg, a-2.jpg, a-3.jpg.

    A file of an earlier run is replaced. Where the output folder is the source's own folder, no
    file that stands there is: it may be a source itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The last number given to each name; grows with the sources, never with their length.
        self._taken: dict[str, int] = {}

    def claim(self, info: SourceInfo, suffix: str) -> Path:
        """The final path for this source; `suffix` as ".jpg"."""
        stem = stem_of(info)
        try:
            careful = Path(info.name).resolve().parent == self._folder.resolve()
        except (OSError, ValueError):
            careful = False
        first = self._key(stem)
        number = self._taken.get(first, 0)
        while True:
            number += 1
            name = stem if number == 1 else f"{stem}-{number}"
            path = self._folder / (name + suffix)
            if number > 1 and self._key(name) in self._taken:
                continue
            if not (careful and path.exists()):
                break
        self._taken[first] = number
        if number > 1:
            self._taken[self._key(name)] = 1
        return path

    @staticmethod
    def _key(name: str) -> str:
        return name.casefold()  # "A.jpg" and "a.jpg" are one file on some file systems
