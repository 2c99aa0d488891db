"""`download.fetch` against a real server on this machine that is right, wrong, slow or hostile."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import ModelServer, serve

from ferlite import download
from ferlite.errors import FerliteError, ModelError, UsageError

DATA = bytes(range(256)) * 700  # several chunks, the last not whole
LIMIT = 1 << 20


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve({"m.onnx": DATA}) as server:
        yield server


def fetch(url: str, timeout_s: float = 20, limit_bytes: int = LIMIT) -> tuple[str, bytes]:
    file = io.BytesIO()
    digest = download.fetch(url, file, limit_bytes=limit_bytes, timeout_s=timeout_s)
    return digest, file.getvalue()


@pytest.mark.parametrize("way", ["good", "unsized", "redirect"])
def test_a_good_file(server: ModelServer, way: str) -> None:
    path = "redirect//good/m.onnx" if way == "redirect" else f"{way}/m.onnx"
    assert fetch(server.url(path)) == (hashlib.sha256(DATA).hexdigest(), DATA)


def test_progress_ends_at_the_whole(server: ModelServer) -> None:
    steps: list[tuple[int, int | None]] = []
    download.fetch(
        server.url("good/m.onnx"),
        io.BytesIO(),
        limit_bytes=LIMIT,
        progress=lambda *step: steps.append(step),
    )
    assert steps[0] == (0, len(DATA))
    assert steps[-1] == (len(DATA), len(DATA))
    assert [step[0] for step in steps] == sorted({step[0] for step in steps})


def test_a_file_of_exactly_the_limit(server: ModelServer) -> None:
    for way in ("good", "unsized"):
        assert fetch(server.url(f"{way}/m.onnx"), limit_bytes=len(DATA))[1] == DATA
        with pytest.raises(ModelError, match="too large"):
            fetch(server.url(f"{way}/m.onnx"), limit_bytes=len(DATA) - 1)


def test_a_path_that_needs_quoting() -> None:
    with serve({"ein Gesicht é.onnx": DATA}) as server:
        assert fetch(server.url("good/ein Gesicht é.onnx"))[1] == DATA


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("truncated/m.onnx", f"ended after {len(DATA) // 2} of {len(DATA)} bytes; try again"),
        ("truncated-chunks/m.onnx", "ended before the file was whole; try again"),
        ("good/none.onnx", "sent an empty file; check the address"),
        ("huge/m.onnx", "over 1 MiB, too large for a ferlite model"),
        ("endless/m.onnx", "over 1 MiB, too large for a ferlite model"),
        ("status/404", "the server answers 404 Not Found; check the address"),
        ("status/403", "403 Forbidden; fetch the file by other means and give its path"),
        ("status/503", "503 Service Unavailable; try again later"),
        ("status/304", "a redirect that leads nowhere"),
        ("status/599", "the server answers 599; try again later"),
        ("loop/m.onnx", "the server answers 301 Moved Permanently; a redirect that leads nowhere"),
        ("redirect/file:///etc/passwd", "an address of another kind, 'file://', which is not"),
        ("redirect/ftp://127.0.0.1/m.onnx", "an address of another kind, 'ftp://', which is not"),
        ("redirect/data:,x", "an address of another kind, 'data://'"),
        ("garbage/m.onnx", "what the server answers is not HTTP"),
    ],
)
def test_what_a_server_does_wrong_is_one_line(server: ModelServer, path: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        fetch(server.url(path))
    message = str(caught.value)
    assert words in message
    assert message.startswith(server.base)
    assert message.isprintable()


@pytest.mark.parametrize("way", ["silent", "drip", "drip-headers"])
def test_a_server_that_stalls(server: ModelServer, way: str) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"next to nothing, for 0.5 s; .* raise --timeout"):
        fetch(server.url(f"{way}/m.onnx"), timeout_s=0.5)
    # The good half of the dripping file may come before the wait begins.
    assert time.monotonic() - began < 5


def test_nobody_listens() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        with pytest.raises(ModelError, match="Connection refused; check the address and the netw"):
            fetch(f"http://127.0.0.1:{port}/m.onnx")


def test_an_unknown_host() -> None:
    # .invalid never exists (RFC 2606).
    with pytest.raises(ModelError, match=r"^http://no-host.invalid/m.onnx: "):
        fetch("http://no-host.invalid/m.onnx", timeout_s=5)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1/m.onnx", "of the kind 'ftp://' are not fetched"),
        ("file:///etc/passwd", "is not an address"),
        ("file://localhost/etc/passwd", "of the kind 'file://'"),
        ("http://", "is not an address"),
        ("http://[::1/m.onnx", "is not an address"),
        ("http://127.0.0.1:port/m.onnx", "is not an address"),
        ("https://me:secret@127.0.0.1/m.onnx", "https://127.0.0.1/m.onnx: an address with a user"),
    ],
)
def test_what_is_not_fetched(url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        fetch(url)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_addresses_in_messages_hold_no_secret(server: ModelServer) -> None:
    with pytest.raises(ModelError) as caught:
        fetch(server.url("status/404?token=secret"))
    assert "secret" not in str(caught.value)
    assert server.requests == ["/status/404?token=secret"]


@pytest.mark.parametrize("host", ["a b", "x" * 70, "\x1b[2J", "ä" * 70, "a..b"])
def test_hosts_that_cannot_be(host: str) -> None:
    with pytest.raises(FerliteError) as caught:
        fetch(f"http://{host}/m.onnx", timeout_s=5)
    assert str(caught.value).isprintable()


def test_a_full_disk_is_told_as_it_is(server: ModelServer) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="No space"),
    ):
        download.fetch(server.url("good/m.onnx"), full, limit_bytes=LIMIT)


def test_no_thread_stays(server: ModelServer) -> None:
    with pytest.raises(ModelError):
        fetch(server.url("endless/m.onnx"))
    end = time.monotonic() + 20
    while any(thread.name == "ferlite-download" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, made for this run."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        f" -keyout {path.name} -out certificate.pem".split(),
        cwd=path.parent,
        check=True,
        capture_output=True,
    )
    with path.open("a") as file:
        file.write((path.parent / "certificate.pem").read_text())
    return path


def test_https(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve({"m.onnx": DATA}, context) as secure, serve({"m.onnx": DATA}) as plain:
        with pytest.raises(ModelError, match=r"certificate is not trusted .*ca-certificates"):
            fetch(secure.url("good/m.onnx"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.parent / "certificate.pem"))
        assert fetch(secure.url("good/m.onnx"))[1] == DATA
        # Up to https, never down from it.
        assert fetch(plain.url(f"redirect/{secure.url('good/m.onnx')}"))[1] == DATA
        with pytest.raises(ModelError, match="an address of another kind, 'http://'"):
            fetch(secure.url(f"redirect/{plain.url('good/m.onnx')}"))
        assert len(plain.requests) == 1
