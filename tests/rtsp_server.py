"""A small RTSP server (RFC 2326, RTP interleaved on TCP) that plays a live H.264 picture."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator

import av
from media import gray

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=test",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1",
        "a=control:track1",
        "",
    ]
)


class _Interleaved:
    """The file that FFmpeg's RTP muxer writes packets to: each goes out in an RTSP frame."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, packet: bytes) -> int:
        channel = 1 if 200 <= packet[1] <= 204 else 0  # RTCP report types
        self._connection.sendall(struct.pack(">cBH", b"$", channel, len(packet)) + bytes(packet))
        return len(packet)


class _Session(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, av.FFmpegError):
            while request := self._request():
                method, sequence = request
                self._answer(method, sequence)
                if method == "PLAY":
                    self._play()
                    return

    def _request(self) -> tuple[str, str] | None:
        first = self.rfile.readline().decode()
        headers = {}
        while line := self.rfile.readline().decode().strip():
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        return (first.split()[0], headers["cseq"]) if first else None

    def _answer(self, method: str, sequence: str) -> None:
        lines, body = ["RTSP/1.0 200 OK", f"CSeq: {sequence}", "Session: 1"], ""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = SDP
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _play(self) -> None:
        count = next(self.server.frames, None)
        with av.open(
            _Interleaved(self.connection), "w", format="rtp", options={"packetsize": "1200"}
        ) as container:
            stream = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.gop_size = 5
            for index in itertools.count() if count is None else range(count):
                frame = av.VideoFrame.from_ndarray(gray(index), "bgr24")
                frame.pts = index
                container.mux(stream.encode(frame))
                if self.server.stopping.wait(0.02):
                    return


class RtspServer(socketserver.ThreadingTCPServer):
    """Sends so many frames to one connection after another, then breaks off; the rest unlimited."""

    def __init__(self, frames: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.frames = iter(frames)
        self.stopping = threading.Event()
        self.url = f"rtsp://127.0.0.1:{self.server_address[1]}/live"


@contextlib.contextmanager
def rtsp_server(*frames: int) -> Iterator[str]:
    with RtspServer(list(frames)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.url
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
