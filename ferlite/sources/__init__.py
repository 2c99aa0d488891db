"""Where frames come from: one protocol, one module an implementation.

with open_source("clip.mp4") as source:
    for frame in source:
        ...
"""

from __future__ import annotations

import glob
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ferlite.errors import SourceError, UsageError
from ferlite.sources import camera
from ferlite.sources.arrays import ArraysSource
from ferlite.sources.base import MAX_PIXELS, Source, SourceOptions
from ferlite.sources.chain import Chain, Item
from ferlite.sources.image_header import image_format
from ferlite.sources.images import ImageSource
from ferlite.sources.stream import checked_scheme, open_stream, public_name, split_url
from ferlite.sources.video import VideoSource
from ferlite.types import SourceInfo

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "Source",
    "SourceOptions",
    "open_source",
]

# What counts as media in a folder or a pattern. A file named by itself is judged by its content.
# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif",
})
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".mts",
    ".m2ts", ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".mjpeg", ".mjpg", ".h264",
    ".264", ".hevc", ".265", ".gif",
})
# fmt: on


def open_source(spec: Any, options: SourceOptions | None = None) -> Source:
    """Open whatever `spec` names.

    spec:
        a picture or video file, as str or Path (judged by content, then by name);
        a folder: its pictures and videos, not those of its subfolders, in natural order
            (2.jpg before 10.jpg); hidden files and those with other suffixes are left out;
        a pattern with * ? [] or **: the pictures and videos that match, in natural order;
        a camera: 0, "0" (unless a file is called so), "camera:0" or "/dev/video0";
        a URL: see `ferlite.sources.stream`;
        a list or tuple of these, read one after another;
        arrays: see `ferlite.sources.arrays`.
    options: which frames to deliver.

    A file or camera that is named and missing, a folder or pattern without media, and a single
    video that cannot be opened raise SourceError here, before anything is decoded. A bad file among
    several, and a bad picture anywhere, is a frame with `error` in its turn. A spec that makes no
    sense raises UsageError.
    """
    options = options or SourceOptions()
    if isinstance(spec, list | tuple):
        if not spec:
            raise UsageError("no source given; name a file, folder, pattern, camera or URL")
        if len(spec) == 1 and _is_name(spec[0]):
            return open_source(spec[0], options)
        if any(_is_name(one) for one in spec):
            items: list[Item] = []
            for one in spec:
                found = _resolve(one, options)
                items += [found] if isinstance(found, Item) else found
            return Chain(items, options)
    found = _resolve(spec, options)
    return found.open() if isinstance(found, Item) else Chain(found, options)


def _is_name(spec: Any) -> bool:
    return isinstance(spec, str | Path | int)


def _resolve(spec: Any, options: SourceOptions) -> Item | list[Item]:
    """What a spec names, not yet opened: one item, or those of a folder or pattern."""
    if not _is_name(spec):
        return Item(SourceInfo("arrays", "arrays"), lambda: ArraysSource(spec, options))
    text = str(spec)
    if not text:
        raise UsageError("empty source name; name a file, folder, pattern, camera or URL")
    if text.startswith("file://"):
        parts = split_url(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise UsageError(f"{text}: no file of this machine; write file:///folder/name")
        text = unquote(parts.path)
    elif isinstance(spec, str) and "://" in text:
        checked_scheme(text)
        return Item(SourceInfo(public_name(text), "live"), lambda: open_stream(text, options))
    device = camera.find(text)
    if device is not None and (isinstance(spec, int) or not Path(text).is_file()):
        camera.require(device)
        info = SourceInfo(camera.camera_name(device), "live")
        return Item(info, lambda: camera.CameraSource(device, options))
    return _resolve_path(text, options)


def _resolve_path(text: str, options: SourceOptions) -> Item | list[Item]:
    path = Path(text)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return _file_item(path, options)
        if not stat.S_ISDIR(mode):
            raise SourceError(f"{text}: not a regular file, folder or camera")
        entries = [one for one in path.iterdir() if not one.name.startswith(".")]
        where = f"{text}: no pictures or videos in this folder"
    except (FileNotFoundError, NotADirectoryError) as error:
        if not glob.has_magic(text):
            raise SourceError(f"{text}: no such file or folder") from error
        # Path.glob takes no absolute patterns.
        entries = [Path(name) for name in glob.iglob(text, recursive=True)]  # noqa: PTH207
        where = f"{text}: no picture or video matches this pattern"
    except (OSError, ValueError) as error:
        raise SourceError(f"{text}: {getattr(error, 'strerror', None) or error}") from error
    media = [one for one in entries if _is_media(one)]
    if not media:
        if entries:
            where += f" ({len(entries)} other entries; known are e.g. .jpg .png .mp4 .mkv)"
        raise SourceError(where)
    return [_file_item(one, options) for one in sorted(media, key=_natural)]


def _is_media(path: Path) -> bool:
    if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)  # a pipe might never answer
    except OSError:
        return True  # such as a link that leads nowhere: reported, not passed over


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10 and A beside a."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [
        (-1, str(path))  # names that differ only in case keep an order
    ]


def _file_item(path: Path, options: SourceOptions) -> Item:
    still = path.suffix.lower() in IMAGE_SUFFIXES
    info = SourceInfo(str(path), "image" if still else "video")
    return Item(info, lambda: _open_file(path, options))


def _open_file(path: Path, options: SourceOptions) -> Source:
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            format_name = image_format(file.read(16))
    except OSError:
        format_name = None  # the source that its name calls for says what is wrong
    # A raw Motion JPEG stream begins like a picture.
    motion_jpeg = format_name == "JPEG" and suffix in VIDEO_SUFFIXES
    if suffix in IMAGE_SUFFIXES or (format_name is not None and not motion_jpeg):
        return ImageSource(path, options)
    return VideoSource(path, options)
