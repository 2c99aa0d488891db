"""One file over HTTP or HTTPS, from a server that may be wrong, slow or hostile."""

from __future__ import annotations

import hashlib
import http.client
import queue
import re
import ssl
import string
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import IO, Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from ferlite import __version__
from ferlite.errors import ModelError, UsageError

# Bytes received, and the size of the whole where the server states it.
Progress = Callable[[int, int | None], None]

# Less than this in one time-out is a stalled server: 1 kB/s at the default of 30 s.
CHUNK_BYTES = 32 << 10
_QUEUED_CHUNKS = 8
_FILE_INSTEAD = "or fetch the file by other means and give its path"


def check_url(url: str) -> None:
    """UsageError unless `url` is an http or https address without a user name."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        raise UsageError(f"{url!r:.200} is not an address; give http://..., https://... or a file")
    if parts.scheme not in ("http", "https"):
        raise UsageError(
            f"addresses of the kind {parts.scheme + '://'!r:.40} are not fetched;"
            " give http://..., https://... or a file"
        )
    if parts.username is not None:
        # A password on a command line is seen by every user of the machine.
        raise UsageError(
            f"{shown(url)}: an address with a user name or password is not fetched;"
            " fetch the file by other means and give its path"
        )


def shown(url: str) -> str:
    """The address for messages: without password and query, which may hold a secret."""
    parts = _split(url)
    if parts is None:
        return "the address"
    place = parts.netloc.rpartition("@")[2]
    return quote(f"{parts.scheme}://{place}{parts.path}", safe=string.punctuation)[:200]


def fetch(
    url: str,
    file: BinaryIO,
    *,
    limit_bytes: int,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> str:
    """Write the body found at `url` to `file`; returns its SHA-256 in lower-case hex.

    At most `limit_bytes` are taken. timeout_s: the longest wait for the first bytes, redirects
    included, and for each `CHUNK_BYTES` after them. An OSError of `file` passes; everything else
    that goes wrong is a ModelError naming the address and what to do.
    """
    check_url(url)
    digest = hashlib.sha256()
    received = 0
    total: int | None = None
    for item in _received(url, timeout_s):
        if not isinstance(item, bytes):
            total = item
        else:
            digest.update(item)
            file.write(item)
            received += len(item)
        if max(received, total or 0) > limit_bytes:
            raise ModelError(
                f"{shown(url)}: over {limit_bytes >> 20} MiB, too large for a ferlite model;"
                " check the address"
            )
        if progress is not None:
            progress(received, total)
    if total is not None and received != total:
        raise ModelError(
            f"{shown(url)}: the download ended after {received} of {total} bytes; try again"
        )
    if not received:
        raise ModelError(f"{shown(url)}: the server sent an empty file; check the address")
    return digest.hexdigest()


def _received(url: str, timeout_s: float) -> Iterator[bytes | int | None]:
    """The stated length (None if not stated), then the body piece by piece.

    A thread reads, because a name server or a server that sends a byte now and then can hold a
    read up far longer than any socket's time-out, and a signal must end the wait at once.
    """
    items: queue.Queue[bytes | int | Exception | None] = queue.Queue(_QUEUED_CHUNKS)
    stopped = threading.Event()

    def read() -> None:
        request = urllib.request.Request(
            quote(url, safe=string.punctuation), headers={"User-Agent": f"ferlite/{__version__}"}
        )
        try:
            with _opener().open(request, timeout=timeout_s) as response:
                length = response.headers.get("Content-Length", "")
                items.put(int(length) if re.fullmatch("[0-9]{1,18}", length) else None)
                chunk = b"..."
                while chunk and not stopped.is_set():
                    chunk = response.read(CHUNK_BYTES)
                    items.put(chunk)
        except Exception as error:
            items.put(error)

    # A daemon: neither an error nor the end of the process waits for a silent server.
    threading.Thread(target=read, name="ferlite-download", daemon=True).start()
    try:
        while True:
            try:
                item = items.get(timeout=timeout_s)
            except queue.Empty:
                raise _explained(TimeoutError(), url, timeout_s) from None
            if isinstance(item, Exception):
                raise _explained(item, url, timeout_s) from None
            if item == b"":
                return
            yield item
    finally:
        stopped.set()
        # Room for what the thread is about to put, so that it comes to its end.
        with suppress(queue.Empty):
            while True:
                items.get_nowait()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from https to http."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any
    ) -> Any:
        target = urljoin(req.full_url, headers.get("Location") or "")
        parts = _split(target)
        scheme = parts.scheme if parts else ""
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            fp.close()
            raise ModelError(
                f"{shown(req.full_url)}: sends on to an address of another kind,"
                f" {scheme + '://'!r:.40}, which is not followed; find the file's own address"
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers of ftp, file and data that urllib installs unasked."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _explained(error: Exception, url: str, timeout_s: float) -> ModelError:
    """What went wrong and what to do; no word of it is the server's."""
    if isinstance(error, ModelError):
        return error
    return ModelError(f"{shown(url)}: {_reason(error, timeout_s)}")


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _status(error.code)
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return (
            f"the server sent nothing, or next to nothing, for {timeout_s:g} s; try again later,"
            f" raise --timeout, {_FILE_INSTEAD}"
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({cause.verify_message}); check this"
            " machine's clock and its ca-certificates"
        )
    if isinstance(cause, http.client.IncompleteRead):
        return "the download ended before the file was whole; try again"
    if isinstance(cause, http.client.InvalidURL | ValueError):
        return "not an address that can be fetched; check it"
    if isinstance(cause, http.client.HTTPException):
        return "what the server answers is not HTTP; check the address"
    words = getattr(cause, "strerror", None) or type(cause).__name__
    return f"no download: {words}; check the address and the network, {_FILE_INSTEAD}"


def _status(code: int) -> str:
    try:
        answer = f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        answer = str(code)
    if 300 <= code < 400:
        remedy = "a redirect that leads nowhere; find the file's own address"
    elif code in (401, 403, 407):
        remedy = "fetch the file by other means and give its path"
    elif code == 429 or code >= 500:
        remedy = "try again later"
    else:
        remedy = "check the address"
    return f"the server answers {answer}; {remedy}"


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname  # both are parsed only now
    except ValueError:
        return None
    return parts
