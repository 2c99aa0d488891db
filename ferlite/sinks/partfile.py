"""Files that appear under their final name only when they are whole, and how they are named."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ferlite.errors import SinkError

if TYPE_CHECKING:
    from ferlite.types import SourceInfo

# Longest stem in bytes: file systems allow 255 for the name, which leaves 35 for a number such as
# "-1000000", the extension and ".ferlite.part".
_LONGEST_STEM = 220

# In the metadata of each annotated picture and video: such a file may be replaced by a later run.
MARK = "annotated by ferlite"


def part_of(path: Path) -> Path:
    """The name that `path` has while it is being written."""
    # Not "<name>.part": so are called the unfinished downloads of others.
    return path.with_name(path.name + ".ferlite.part")


def sink_error(path: Path | str, error: Exception, remedy: str = "") -> SinkError:
    """The one-line SinkError for an operating system or FFmpeg error on an output.

    remedy: where it is no file in an output folder.
    """
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        usual = "free some space or choose another output folder (-o)"
    elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
        usual = "choose an output folder that you may write to (-o)"
    elif code in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        usual = "move what stands in the way or choose another output folder (-o)"
    else:
        usual = "check the output folder or choose another (-o)"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # repr, because a file name may hold line breaks or bytes that are not text.
    return SinkError(f"cannot write {str(path)!r}: {reason}; {remedy or usual}")


def _open_part(path: Path) -> io.FileIO:
    """The part of `path`, empty, locked while it is open: two runs never write one file."""
    part = part_of(path)
    while True:
        # Not truncated before it is ours.
        file = io.FileIO(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise SinkError(
                f"cannot write {str(path)!r}: another run is writing here; "
                "choose another folder (-o)"
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        now = os.fstat(file.fileno())
        # Whoever had the lock may have given the file its final name meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(now, part.stat()):
                if now.st_size:
                    file.truncate(0)
                return file
        file.close()


class PartFile:
    """A file written as "<name>.ferlite.part", renamed by `commit`.

    No other run can write it meanwhile.

    Each `write` reaches the operating system before it returns, whole or not at all: what a full
    disk cut short is taken back, so that a file of records never ends in half of one.

    begins: how such a file of an earlier run begins. If another kind of file has the final name,
        it is the user's and is not replaced.
    written: the name of what is left in the folder, "" while nothing is.

    Raises SinkError where the operating system refuses, or another file or run is in the way.
    """

    def __init__(self, path: Path, begins: bytes = b"") -> None:
        self.path = path
        self.part = part_of(path)
        self.written = ""
        self._size = 0
        check_replaceable(path, begins)
        try:
            self._file: io.FileIO | None = _open_part(path)
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
            # A network file system tells of a full disk at a close; ours would end the lock.
            os.close(os.dup(self._file.fileno()))
            self.part.replace(self.path)
        except OSError as error:
            raise sink_error(self.path, error) from error
        self.written = self.path.name
        self._close()

    def keep(self) -> None:
        """Close and leave the whole records written so far under that name."""
        if self._file is not None:
            self.written = self.part.name
            self._close()

    def discard(self) -> None:
        """Close and remove; what has its final name stays."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.part.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def check_replaceable(path: Path, begins: bytes) -> None:
    """Raises SinkError if `path` is a file with content that does not begin as ferlite's do.

    Or a pipe or device, which would wait for its reader, or be replaced.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SinkError(
                f"cannot write {str(path)!r}: a pipe or device is there; "
                "move it or choose another folder (-o)"
            )
        with path.open("rb") as file:
            found = file.read(len(begins))
    except OSError:
        return  # not there; or in the way, which renaming will tell
    if found and found != begins:
        raise SinkError(
            f"cannot write {str(path)!r}: a file of another kind is there; "
            "move it or choose another folder (-o)"
        )


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

    A file that stands there is replaced only if `ours` says that an earlier run of ferlite wrote
    it; and none is without `ours`, or where the source is a file in the output folder: another may
    be a source itself.
    """

    def __init__(self, folder: Path, ours: Callable[[Path], bool] | None) -> None:
        self._folder = folder
        self._ours = ours
        # The last number given to each name; grows with the sources, never with their length.
        self._taken: dict[str, int] = {}

    def claim(self, info: SourceInfo, suffix: str) -> Path:
        """The final path for this source; `suffix` as ".jpg"."""
        stem = stem_of(info)
        try:
            source = Path(info.name)
            beside = source.resolve().parent == self._folder.resolve()
            careful = beside and info.kind in ("image", "video") and source.exists()
        except (OSError, ValueError):
            careful = False
        ours = None if careful else self._ours
        first = self._key(stem)
        number = self._taken.get(first, 0)
        while True:
            number += 1
            name = stem if number == 1 else f"{stem}-{number}"
            path = self._folder / (name + suffix)
            if number > 1 and self._key(name) in self._taken:
                continue
            if not os.path.lexists(path) or (ours is not None and ours(path)):
                break
        self._taken[first] = number
        if number > 1:
            self._taken[self._key(name)] = 1
        return path

    @staticmethod
    def _key(name: str) -> str:
        return name.casefold()  # "A.jpg" and "a.jpg" are one file on some file systems
