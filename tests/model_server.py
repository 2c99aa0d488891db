"""An HTTP server on this machine that serves models well, badly, or not at all."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit


class ModelServer(ThreadingHTTPServer):
    """The first part of a path says how the file named by its last part is served."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: Mapping[str, bytes], context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[str] = []
        self.started = threading.Event()  # an answer that does not end has begun
        self.released = threading.Event()  # such answers are to end
        self.base = f"{'https' if context else 'http'}://127.0.0.1:{self.server_address[1]}"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many tests are about."""


@contextmanager
def serve(
    files: Mapping[str, bytes], context: ssl.SSLContext | None = None
) -> Iterator[ModelServer]:
    with ModelServer(files, context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.close_connection = True
        parts = urlsplit(self.path)
        way, _, name = unquote(parts.path).lstrip("/").partition("/")
        data = self.server.files.get(name.rpartition("/")[2], b"")
        with suppress(OSError):
            getattr(self, f"_{way.replace('-', '_')}")(name, data)

    def _head(self, *, status: int = 200, **headers: str | int) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def _good(self, name: str, data: bytes) -> None:
        self._head(Content_Length=len(data))
        self.wfile.write(data)

    def _unsized(self, name: str, data: bytes) -> None:
        self._head()
        self.wfile.write(data)

    def _truncated(self, name: str, data: bytes) -> None:
        self._head(Content_Length=len(data))
        self.wfile.write(data[: len(data) // 2])

    def _truncated_chunks(self, name: str, data: bytes) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n" % len(data) + data[: len(data) // 2])

    def _status(self, name: str, data: bytes) -> None:
        # A reason that would command the terminal, were it shown.
        self.send_response(int(name), "\x1b[31mreason")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _redirect(self, name: str, data: bytes) -> None:
        self._head(status=302, Location=name, Content_Length=0)

    def _loop(self, name: str, data: bytes) -> None:
        self._head(status=301, Location=self.path, Content_Length=0)

    def _huge(self, name: str, data: bytes) -> None:
        self._head(Content_Length=10**12)
        self.wfile.write(data)

    def _endless(self, name: str, data: bytes) -> None:
        self._head()
        while not self.server.released.is_set():
            self.wfile.write(bytes(1 << 16))

    def _drip(self, name: str, data: bytes) -> None:
        """Half the file, then a byte now and then."""
        self._head(Content_Length=10**6)
        self.wfile.write(data[: len(data) // 2])
        self.server.started.set()
        while not self.server.released.wait(0.02):
            self.wfile.write(b"x")

    def _drip_headers(self, name: str, data: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.released.wait(0.02):
            self.wfile.write(b"x")

    def _silent(self, name: str, data: bytes) -> None:
        self.server.released.wait()

    def _garbage(self, name: str, data: bytes) -> None:
        self.wfile.write(b"\x1b[31mnot HTTP\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass
