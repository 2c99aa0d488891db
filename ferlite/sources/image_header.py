"""What a still picture's first bytes say: its format, and its size before anything is decoded.

A picture of a few kilobytes can claim gigabytes of pixels, and OpenCV's own limit (2**30 pixels,
CV_IO_MAX_IMAGE_PIXELS) is three gigabytes of memory, so that the header is read first.
"""

from __future__ import annotations

import re
import struct

_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3
# Start-of-frame markers of JPEG: C0..CF without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone, without a length: TEM and RST0..SOI.
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def image_format(head: bytes) -> str | None:
    """The format's name from the first 16 bytes of a file, or None for what is no known still."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if re.match(rb"P[1-6]\s", head):
        return "PNM"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG 2000"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return None


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels as stored, from a whole file; None if the header is damaged."""
    try:
        match image_format(data[:16]):
            case "JPEG":
                return _jpeg(data)
            case "PNG":
                return struct.unpack_from(">II", data, 16)
            case "BMP":
                return _bmp(data)
            case "TIFF":
                return _tiff(data)
            case "WebP":
                return _webp(data)
            case "PNM":
                return _pnm(data)
            case "JPEG 2000":
                return _jpeg2000(data)
            case "AVIF":
                return struct.unpack_from(">II", data, data.index(b"ispe") + 8)
    except (struct.error, ValueError, IndexError):
        pass
    return None


def is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG lacks its end: some decoders fill the rest with grey and call it good."""
    try:
        return data.find(b"\xff\xd9", _jpeg_frame(data)) < 0
    except (struct.error, ValueError, IndexError):
        return True


def _jpeg(data: bytes) -> tuple[int, int]:
    height, width = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
    return width, height


def _jpeg_frame(data: bytes) -> int:
    """Where the start-of-frame segment begins; a preview inside the metadata is passed over."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            return at
        if marker in (0xD9, 0xDA):
            raise ValueError("the picture ends, or its scan starts, before its frame")
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2 1.x
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means rows from the top


def _tiff(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "I", data, 4)[0]
    sizes = {}
    for entry in range(struct.unpack_from(order + "H", data, directory)[0]):
        at = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            short = kind == _TIFF_SHORT
            sizes[tag] = struct.unpack_from(order + ("H" if short else "I"), data, at + 8)[0]
    if len(sizes) < 2:
        raise ValueError("no size in the first directory")
    return sizes[_TIFF_WIDTH], sizes[_TIFF_HEIGHT]


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return width, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _pnm(data: bytes) -> tuple[int, int] | None:
    found = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s", data[:4096])
    return (int(found[1]), int(found[2])) if found else None


def _jpeg2000(data: bytes) -> tuple[int, int]:
    if data.startswith(b"\xff\x4f"):  # bare codestream: SIZ follows SOC
        right, bottom, left, top = struct.unpack_from(">4I", data, 8)
        return right - left, bottom - top
    height, width = struct.unpack_from(">II", data, data.index(b"ihdr") + 4)
    return width, height
