"""An RTSP camera (RFC 2326, RTP interleaved on TCP) that plays pictures in real time.

They are encoded before anybody connects, as cameras do it: H.264 without frames that wait for later
ones, a key frame each second. Each connection begins with the first picture; they go round and
round. When each was sent is written down. `benchmarks/live.py` and the tests look at it.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=camera",
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
    server: Camera

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
        camera = self.server
        with av.open(
            _Interleaved(self.connection), "w", format="rtp", options={"packetsize": "1200"}
        ) as container:
            stream = container.add_stream("libx264", rate=camera.fps)
            stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
            begin, pace = time.monotonic(), 1 / (camera.fps * camera.speed)
            for index in itertools.islice(itertools.count(), next(camera.plays, None)):
                if camera.stopping.wait(max(0.0, begin + index * pace - time.monotonic())):
                    return
                packet = av.Packet(camera.packets[index % len(camera.packets)])
                packet.stream, packet.time_base = stream, Fraction(1, camera.fps)
                packet.pts = packet.dts = index
                camera.sent[index] = time.monotonic()
                container.mux(packet)


class Camera(socketserver.ThreadingTCPServer):
    """pictures: uint8 [h, w, 3] BGR of one size, fps of them a second.

    plays: after so many pictures the first connection breaks off, the second, and so on; those
        after them go on for ever. speed: how many times as fast as their time stamps say.
    sent: of the latest connection, by number from 0: when a picture was sent (time.monotonic).
    """

    daemon_threads = True

    def __init__(
        self,
        pictures: Iterable[NDArray[np.uint8]],
        fps: int,
        plays: Sequence[int] = (),
        speed: float = 1.0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.fps, self.plays, self.speed = fps, iter(plays), speed
        self.sent: dict[int, float] = {}
        self.stopping = threading.Event()
        self.url = f"rtsp://127.0.0.1:{self.server_address[1]}/live"
        frames = [av.VideoFrame.from_ndarray(one, "bgr24") for one in pictures]
        self.width, self.height = frames[0].width, frames[0].height
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "yuv420p"
        encoder.framerate, encoder.time_base = Fraction(fps), Fraction(1, fps)
        encoder.gop_size = fps
        encoder.options = {"tune": "zerolatency", "preset": "fast", "crf": "23"}
        self.packets: list[bytes] = []
        for index, frame in enumerate(frames):
            frame.pts = index
            picture = frame.reformat(format="yuv420p")
            self.packets += [bytes(packet) for packet in encoder.encode(picture)]
        self.packets += [bytes(packet) for packet in encoder.encode()]


@contextlib.contextmanager
def camera(
    pictures: Iterable[NDArray[np.uint8]],
    fps: int,
    plays: Sequence[int] = (),
    speed: float = 1.0,
) -> Iterator[Camera]:
    """A `Camera` on a free port of this machine, for as long as the block runs."""
    with Camera(pictures, fps, plays, speed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
