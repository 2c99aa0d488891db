"""Small deterministic media files, and a web server on this machine, for the tests."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 12800)


def level(index: int) -> int:
    """The grey level of frame `index` of a clip: read back, it tells which frame it is."""
    return 20 + 9 * index % 210


def gray(index: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), level(index), np.uint8)


def write_clip(
    path: Path,
    frames: int = 20,
    *,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    pts: Sequence[int] | None = None,
    codec: str = "libx264",
    rate: int = 25,
    gop: int = 5,
    audio: bool = False,
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """A clip of `frames` grey pictures, 64x48, or of `pictures`; pts in 1/12800 s (512 apart)."""
    pictures = pictures or [gray(i) for i in range(frames)]
    pts = pts or [i * 12800 // rate for i in range(len(pictures))]
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "gray" if codec == "gif" else "yuv420p"
        if codec in ("libx264", "libvpx"):
            stream.codec_context.time_base = TIME_BASE
            stream.codec_context.gop_size = gop
            stream.options = {"crf": "10"}
        sound = container.add_stream("aac", rate=16000) if audio else None
        if sound:
            silence = np.zeros((1, 1024), np.float32)
            for block in range(len(pictures) * 16000 // rate // 1024):
                samples = av.AudioFrame.from_ndarray(silence, "fltp", layout="mono")
                samples.rate, samples.pts = 16000, block * 1024
                container.mux(sound.encode(samples))
        for picture, stamp in zip(pictures, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = stamp, TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(sound.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write the turn x' = a x + c y, y' = b x + d y into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # ISO 14496-12, track header, version 0
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def stamps(path: Path) -> list[float]:
    """The time stamps that PyAV reads, seconds: the reference for Frame.t."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in container.decode(stream)]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; may break transfers off, and may know how to resume them."""

    cut_bytes: int | None = None
    resumes = False
    authorization: str | None = None

    def do_GET(self) -> None:
        if self.authorization not in (None, self.headers.get("Authorization")):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="clips"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = 0
        asked = self.headers.get("Range", "").removeprefix("bytes=").split("-")[0]
        if self.resumes and asked:
            start = int(asked)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.cut_bytes is not None:
            end = min(end, start + self.cut_bytes)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[start:end])

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False


@contextlib.contextmanager
def http_server(
    folder: Path,
    *,
    cut_bytes: int | None = None,
    resumes: bool = False,
    authorization: str | None = None,
) -> Iterator[str]:
    """Serve a folder on 127.0.0.1; gives "http://127.0.0.1:port".

    authorization: the header without which nothing is served.
    """
    settings = {"cut_bytes": cut_bytes, "resumes": resumes, "authorization": authorization}
    handler = type("Handler", (_Handler,), settings)
    server = _Server(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
