"""Still pictures, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ferlite.sources.base import MAX_PIXELS, SourceBase, SourceOptions
from ferlite.sources.image_header import image_format, image_size, is_cut_jpeg
from ferlite.types import Frame, SourceInfo

# A file larger than this is not read: the largest picture allowed, uncompressed, RGBA of 16 bits.
MAX_BYTES = 8 * MAX_PIXELS


class ImageSource(SourceBase):
    """One still picture: one frame, index 0, t 0.0.

    Reads JPEG (CMYK too), PNG, BMP, TIFF, WebP, PNM, JPEG 2000 and AVIF as far as this OpenCV has
    them; of animations and many pages, the first. EXIF orientation is applied; grey becomes three
    equal channels, 16 bits are scaled to 8, transparency is dropped. A file that cannot be read,
    or with more than MAX_PIXELS pixels, gives a frame with `error`; no exception is raised.

    path: the file. The bytes are read here and decoded from memory, so that names that OpenCV
    cannot open work, and a file that cannot be read is told from one that cannot be decoded.
    """

    def __init__(self, path: str | Path, options: SourceOptions | None = None) -> None:
        super().__init__(SourceInfo(str(path), "image", frames=1), options or SourceOptions())
        self._path = Path(path)

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            return
        image = self._read()
        if isinstance(image, str):
            yield self.error_frame(f"{self._info.name}: {image}")
            return
        height, width = image.shape[:2]
        self._info = SourceInfo(self._info.name, "image", width, height, frames=1)
        yield Frame(self._info, 0, 0.0, image)

    def _read(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | str:
        """The pixels, uint8 HxWx3 BGR, or why there are none."""
        import cv2

        try:
            size = self._path.stat().st_size
            if size > MAX_BYTES:
                return f"{size} bytes is too large for a picture; the limit is {MAX_BYTES}"
            data = self._path.read_bytes()
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        if not data:
            return "the file is empty"
        kind = image_format(data[:16])
        if kind is None:
            return "not a picture in a known format (JPEG, PNG, BMP, TIFF, WebP, PNM, JP2, AVIF)"
        extent = image_size(data)
        if extent is None:
            return f"the {kind} header is damaged"
        width, height = extent
        if width * height > MAX_PIXELS:
            return f"{width}x{height} pixels is over the limit of {MAX_PIXELS}; make it smaller"
        if kind == "JPEG" and is_cut_jpeg(data):
            return "the JPEG is truncated"
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except (cv2.error, MemoryError) as error:
            return f"the {kind} cannot be decoded: {error}"
        if image is None:
            return f"the {kind} is damaged, truncated, or of a kind that OpenCV cannot decode"
        return np.asarray(image, np.uint8)
