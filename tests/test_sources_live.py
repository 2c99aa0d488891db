"""Streams and cameras: outages, silence, and what cannot be reached."""

from __future__ import annotations

import contextlib
import math
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
from media import gray, http_server, level, write_clip
from rtsp_camera import camera as rtsp_camera

from ferlite.errors import SourceError, UsageError
from ferlite.sources import SourceOptions, camera, live, open_source
from ferlite.sources.decoding import open_container
from ferlite.sources.live import LiveSource
from ferlite.sources.stream import public_name
from ferlite.types import Frame

if TYPE_CHECKING:
    from av.container import InputContainer

QUICK = SourceOptions(timeout_s=5, reconnect_s=20)
PICTURES = [gray(index) for index in range(20)]


@contextlib.contextmanager
def tcp_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Calls `answer` with each connection, then closes it; gives the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_rtsp_plays_and_comes_back_after_an_outage() -> None:
    frames: list[Frame] = []
    with (
        rtsp_camera(PICTURES, fps=25, plays=(12, 8), speed=2) as server,
        open_source(server.url, QUICK) as source,
    ):
        assert source.info.kind == "live"
        assert (source.info.width, source.info.height) == (64, 48)
        for frame in source:
            frames.append(frame)
            if sum(f.error is not None for f in frames) == 2 and frame.error is None:
                break
    errors = [f.error for f in frames if f.error]
    assert len(errors) == 2
    assert all(f"{server.url}: connection lost" in error for error in errors)
    times = [f.t for f in frames]
    assert times[0] == 0.0
    assert all(a <= b for a, b in pairwise(times))
    good = [f for f in frames if not f.error]
    assert [f.index for f in frames] == list(range(len(frames)))  # outages have one of their own
    # The decoder starts with what the server sends first, and again so after the outage.
    for frame, picture in zip(good, [*range(12), *range(8), 0], strict=True):
        assert abs(frame.image.mean() - level(picture)) <= 5
    # The sender's clock (25 frames/s), not the moment of arrival (50 frames/s).
    assert good[11].t - good[1].t == pytest.approx(10 / 25, abs=0.005)


def test_a_stream_that_stays_away_is_given_up(tmp_path: Path) -> None:
    options = SourceOptions(timeout_s=2, reconnect_s=1)
    with rtsp_camera(PICTURES, fps=25, plays=(3,)) as server:
        source = open_source(server.url, options)
    started = time.monotonic()
    frames = list(source)  # the server is gone
    assert time.monotonic() - started < 10
    errors = [f.error for f in frames if f.error]
    assert len(errors) == 2
    assert "connection lost" in str(errors[0])
    assert "not back within 1 s, gave up" in str(errors[1])
    assert "refused" in str(errors[1])
    assert [f.index for f in frames] == list(range(len(frames)))


def test_each_outage_is_one_error_and_time_goes_on(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "live.ts", 5)

    def connect() -> object:
        return open_container(f"file:{clip}", name="cam")

    options = SourceOptions(reconnect_s=30, duration_s=3.0)
    with LiveSource("cam", connect, options) as source:  # type: ignore[arg-type]
        frames = list(source)
    good = [f for f in frames if not f.error]
    assert len(good) > 10
    # Each connection plays the whole clip; the last may be cut short by duration_s.
    assert [f.index for f in frames if f.error] == list(range(5, len(frames), 6))
    assert len(frames) - len(good) >= (len(good) - 1) // 5
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(a.t <= b.t for a, b in pairwise(frames))
    assert good[5].t >= 0.5  # the first retry waits half a second


def test_without_reconnecting_the_first_loss_ends_it(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "live.ts", 10).read_bytes()
    with tcp_server(lambda connection: connection.sendall(data)) as port:
        url = f"tcp://127.0.0.1:{port}"
        frames = list(open_source(url, SourceOptions(reconnect_s=0)))
    assert [f.error is None for f in frames] == [True] * 10 + [False]
    assert frames[-1].error == f"{url}: connection lost: the stream ended"


def test_closing_during_an_outage_does_not_wait(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "live.ts", 10).read_bytes()
    with tcp_server(lambda connection: connection.sendall(data)) as port:
        source = open_source(f"tcp://127.0.0.1:{port}", SourceOptions(timeout_s=2))
    frames = iter(source)
    while next(frames).error is None:
        pass
    timer = threading.Timer(0.2, source.close)
    timer.start()
    started = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - started < 5
    timer.join()


def _motion_jpeg(pictures: list[bytes], pause_s: float) -> Callable[[socket.socket], None]:
    """What a camera answers over HTTP: one JPEG after another."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
        connection.sendall(head)
        for picture in pictures:
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(part % len(picture) + picture + b"\r\n")
            time.sleep(pause_s)

    return answer


def test_a_motion_jpeg_camera_over_http() -> None:
    pictures = [cv2.imencode(".jpg", gray(i))[1].tobytes() for i in range(16)]

    with (
        tcp_server(_motion_jpeg(pictures, 0.15)) as port,
        open_source(f"http://127.0.0.1:{port}/video", SourceOptions(reconnect_s=0)) as source,
    ):
        assert source.info.kind == "live"
        frames = list(source)
    good = [f for f in frames if not f.error]
    assert len(good) >= 14
    steps = np.diff([f.t for f in good])
    assert np.all(steps >= 0)
    # When they came: FFmpeg makes up stamps, 0.04 s apart. What it read when opening came at once.
    assert np.median(steps[-8:]) > 0.08
    assert abs(good[0].image.mean() - level(0)) <= 5


def test_a_silent_server_times_out() -> None:
    answered = threading.Event()
    with tcp_server(lambda _: answered.wait(20) and None) as port:
        for scheme in ("http", "rtsp", "tcp"):
            url = f"{scheme}://127.0.0.1:{port}/x"
            started = time.monotonic()
            with pytest.raises(SourceError, match=r"127\.0\.0\.1.*: nothing received for 0\.5 s"):
                open_source(url, SourceOptions(timeout_s=0.5))
            assert time.monotonic() - started < 5
        answered.set()


def test_what_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    port = _closed_port()
    for scheme in ("rtsp", "http", "rtmp", "tcp"):
        with pytest.raises(SourceError, match=rf"^{scheme}://127.*: Connection refused$"):
            open_source(f"{scheme}://127.0.0.1:{port}/x", QUICK)
    (tmp_path / "page.html").write_text("<html>no video</html>")
    with http_server(tmp_path) as base:
        with pytest.raises(SourceError, match="404"):
            open_source(f"{base}/nothing.mp4", QUICK)
        with pytest.raises(SourceError, match="not a picture or video"):
            open_source(f"{base}/page.html", QUICK)
    with pytest.raises(UsageError, match="cannot open gopher://; give one of rtsp, "):
        open_source("gopher://host/x")


def test_passwords_stay_out_of_names_and_messages() -> None:
    assert public_name("rtsp://me:secret@cam:554/a?b=c") == "rtsp://cam:554/a?b=c"
    with pytest.raises(SourceError) as raised:
        open_source(f"rtsp://me:secret@127.0.0.1:{_closed_port()}/x", QUICK)
    assert "secret" not in str(raised.value)


def test_a_picture_behind_a_url(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(cv2.imencode(".png", gray(3))[1].tobytes())
    with http_server(tmp_path) as base:
        (frame,) = open_source(f"{base}/one.png", QUICK)
    assert (frame.source.kind, frame.t) == ("image", 0.0)
    assert abs(frame.image.mean() - level(3)) <= 1


@pytest.mark.parametrize("resumes", [False, True])
def test_files_that_do_not_say_how_long_they_are(tmp_path: Path, resumes: bool) -> None:
    # As browsers record them, and raw streams: the server states their size.
    write_clip(tmp_path / "recording.mkv", 12, options={"live": "1"})
    pictures = [cv2.imencode(".jpg", gray(i))[1].tobytes() for i in range(12)]
    (tmp_path / "raw.mjpeg").write_bytes(b"".join(pictures))
    (tmp_path / "one.jpg").write_bytes(pictures[3])
    with http_server(tmp_path, resumes=resumes) as base:
        for name, kind, count in (
            ("recording.mkv", "video", 12),
            ("raw.mjpeg", "video", 12),
            ("one.jpg", "image", 1),
        ):
            frames = list(open_source(f"{base}/{name}", QUICK))
            assert [frame.error for frame in frames] == [None] * count
            assert {frame.source.kind for frame in frames} == {kind}


def test_the_last_try_comes_when_the_time_is_over(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "live.ts", 5)
    tries: list[float] = []

    def connect() -> object:
        tries.append(time.monotonic())
        if len(tries) > 1:
            raise SourceError("cam: away")
        return open_container(f"file:{clip}", name="cam")

    with LiveSource("cam", connect, SourceOptions(reconnect_s=0.8)) as source:  # type: ignore[arg-type]
        errors = [frame.error for frame in source if frame.error]
    assert len(errors) == 2
    assert "not back within 0.8 s" in str(errors[1])
    assert len(tries) == 3  # after half a second, and at the end
    assert tries[-1] - tries[0] >= 0.79


@pytest.mark.parametrize("resumes", [False, True])
def test_a_download_that_breaks_off(tmp_path: Path, resumes: bool) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8))
    clip = write_clip(tmp_path / "web.mp4", pictures=noise, options={"movflags": "faststart"})
    half = clip.stat().st_size // 2
    with http_server(tmp_path, cut_bytes=half, resumes=resumes) as base:
        frames = list(open_source(f"{base}/web.mp4", QUICK))
    good = [f for f in frames if not f.error]
    if resumes:
        assert len(good) == len(frames) == 50
    else:
        assert 10 < len(good) < 40
        assert [f.error is None for f in frames] == [True] * len(good) + [False]
        assert [f.t for f in good] == pytest.approx([i / 25 for i in range(len(good))], abs=1e-3)


@pytest.mark.parametrize("resumes", [False, True])
def test_an_exact_start_behind_a_url(tmp_path: Path, resumes: bool) -> None:
    write_clip(tmp_path / "web.mp4", 40, options={"movflags": "faststart"})
    with http_server(tmp_path, resumes=resumes) as base:
        frames = list(open_source(f"{base}/web.mp4", SourceOptions(start_s=1, timeout_s=5)))
    assert [f.t for f in frames] == pytest.approx([i / 25 for i in range(25, 40)])


def test_camera_names() -> None:
    for spec in (3, "3", "camera:3", "/dev/video3", Path("/dev/video3")):
        assert camera.find(spec) == "/dev/video3"
    for spec in ("camera", "camera:x", "video3", "3.mp4", -1, "/dev/video3/x"):
        assert camera.find(spec) is None
    assert camera.camera_name("/dev/video12") == "camera:12"


def test_a_missing_camera_lists_those_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "_DEVICES", tmp_path)
    monkeypatch.setattr(camera, "_NAMES", tmp_path / "names")
    assert camera.devices() == []
    with pytest.raises(SourceError, match="video5: no such camera; found: none"):
        open_source(5)
    for number in (10, 2):
        (tmp_path / f"video{number}").touch()
    (tmp_path / "names" / "video2").mkdir(parents=True)
    (tmp_path / "names" / "video2" / "name").write_text("USB 2.0 Camera\n")
    assert camera.devices() == [
        (str(tmp_path / "video2"), "USB 2.0 Camera"),
        (str(tmp_path / "video10"), ""),
    ]
    with pytest.raises(SourceError, match=r"found: .*video2 \(USB 2\.0 Camera\), .*video10"):
        open_source("camera:5")
    # A device that is no camera: Video4Linux2 itself refuses it.
    with pytest.raises(SourceError, match="camera:2: "):
        open_source(2)


def test_a_file_called_like_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("7").write_bytes(cv2.imencode(".png", gray(1))[1].tobytes())
    (frame,) = open_source("7")
    assert frame.source.kind == "image"
    with pytest.raises(SourceError, match="no such camera"):
        open_source(7)


def test_a_password_is_in_the_location_alone(tmp_path: Path) -> None:
    write_clip(tmp_path / "web.mp4", 3, options={"movflags": "faststart"})
    with http_server(tmp_path) as base:
        url = base.replace("//", "//me:secret@") + "/web.mp4"
        with open_source(url, QUICK) as source:
            infos = [source.info, *(frame.source for frame in source)]
    assert {info.location for info in infos} == {url}
    assert {info.name for info in infos} == {f"{base}/web.mp4"}
    assert "secret" not in repr(infos)
    assert open_source(write_clip(tmp_path / "clip.mp4", 3)).info.location is None


@pytest.mark.parametrize(
    "stamps",
    [
        [*np.arange(0, 3, 0.04), *np.arange(0, 3, 0.04)],  # the sender plays its clip again
        [0, 0.04, 0.08, 1e6, *np.arange(0.16, 5, 0.04)],  # a damaged stamp
        [5000, 5000.04, *np.arange(0, 5, 0.04)],  # the sender set its clock
    ],
)
def test_a_clock_that_leaps_stops_no_time(
    stamps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = 100.0
    monkeypatch.setattr(live.time, "monotonic", lambda: machine)
    clock = live._Clock()
    clock.connected()
    times = []
    for stamp in stamps:
        times.append(clock.read(stamp))
        machine += 0.04
    steps = np.diff(times)
    assert steps.min() >= 0
    assert steps.max() < 0.1
    assert times[-1] == pytest.approx(0.04 * (len(stamps) - 1), abs=0.1)


def test_tries_come_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "live.ts", 5)
    tries, waits = iter(range(99)), list[float]()

    def connect() -> InputContainer:
        if next(tries) in (0, 8):
            return open_container(f"file:{clip}", name="cam")
        raise SourceError("cam: away")

    source = LiveSource("cam", connect, SourceOptions(reconnect_s=math.inf))

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 10:
            source.close()

    monkeypatch.setattr(source._closed, "wait", wait)
    list(source)
    assert waits == [0.5, 1, 2, 4, 8, 10, 10, 10, 0.5, 1]


def test_what_says_that_it_was_given_up_names_the_reason(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "live.ts", 5)
    tries = iter(range(99))

    def connect() -> InputContainer:
        if next(tries):
            raise SourceError("cam: away")
        return open_container(f"file:{clip}", name="cam")

    with LiveSource("cam", connect, SourceOptions(reconnect_s=0.1)) as source:
        errors = [frame.error for frame in source if frame.error]
    assert errors[1] == "cam: not back within 0.1 s, gave up: away"


def test_closing_ends_the_wait_for_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_RETRY_S", 600.0)
    clip = write_clip(tmp_path / "live.ts", 5)
    source = LiveSource(
        "cam",
        lambda: open_container(f"file:{clip}", name="cam"),
        SourceOptions(reconnect_s=math.inf),
    )
    frames = iter(source)
    while next(frames).error is None:
        pass
    rest = threading.Thread(target=lambda: list(frames), daemon=True)
    rest.start()
    rest.join(0.2)
    assert rest.is_alive()
    source.close()
    rest.join(30)
    assert not rest.is_alive()


def test_after_a_pause_the_time_is_the_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = 100.0
    monkeypatch.setattr(live.time, "monotonic", lambda: machine)
    clock = live._Clock()
    clock.connected()
    assert clock.read(5.0) == 0
    machine = 160.5  # half a second late
    assert clock.read(65.0) == 60


def test_a_playlist_without_an_end_is_live(tmp_path: Path) -> None:
    write_clip(tmp_path / "0.ts", 50)
    (tmp_path / "live.m3u8").write_text(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXTINF:2.0,\n0.ts\n"
    )
    with http_server(tmp_path) as base, open_source(f"{base}/live.m3u8", QUICK) as source:
        assert source.info.kind == "live"


@contextlib.contextmanager
def _pictures_stop_and_sound_goes_on(folder: Path) -> Iterator[str]:
    """The URL of a stream that does so."""
    stream = write_clip(folder / "live.ts", 25, audio=True).read_bytes()
    packets = [stream[i : i + 188] for i in range(0, len(stream), 188)]
    sound = b"".join(p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF != 0x100)
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(stream)
        while not over.wait(0.02):
            connection.sendall(sound)

    with tcp_server(answer) as port:
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            over.set()


def test_pictures_that_stop_while_sound_goes_on_are_an_outage(tmp_path: Path) -> None:
    with _pictures_stop_and_sound_goes_on(tmp_path) as url:
        frames = list(open_source(url, SourceOptions(timeout_s=1, reconnect_s=0)))
    assert len(frames) > 20
    assert [f.error for f in frames if f.error] == [f"{url}: connection lost: no picture for 1 s"]


def test_pictures_that_never_decode_are_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "UNDECODED_S", 0.5)
    # Packets between keyframes alone: no parameter sets, so that nothing can be decoded.
    clip = write_clip(tmp_path / "clip.mp4", 200, gop=200)
    with av.open(str(clip)) as whole, av.open(str(tmp_path / "rest.ts"), "w") as rest:
        stream = rest.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size and not packet.is_keyframe:
                packet.stream = stream
                rest.mux(packet)
    content = (tmp_path / "rest.ts").read_bytes()
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        while not over.wait(0.005):
            connection.sendall(content)

    with tcp_server(answer) as port:
        url = f"tcp://127.0.0.1:{port}"
        try:
            frames = list(open_source(url, SourceOptions(timeout_s=0.5, reconnect_s=0)))
        finally:
            over.set()
    said = f"{url}: connection lost: no picture that can be decoded for 0.5 s"
    assert [f.error for f in frames] == [said]


def test_closing_while_sound_goes_on_without_pictures(tmp_path: Path) -> None:
    with _pictures_stop_and_sound_goes_on(tmp_path) as url:
        source = open_source(url, SourceOptions(timeout_s=60))
        rest = threading.Thread(target=lambda: list(source), daemon=True)
        rest.start()
        rest.join(0.5)
        assert rest.is_alive()
        source.close()
        rest.join(20)
        assert not rest.is_alive()


def test_connections_without_a_picture_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "live.ts", 5)
    for options, errors in (
        (SourceOptions(reconnect_s=0.6), 2),
        (SourceOptions(reconnect_s=math.inf, duration_s=0.6), 1),
    ):
        source = LiveSource("cam", lambda: open_container(f"file:{clip}", name="cam"), options)
        monkeypatch.setattr(source, "_connected", lambda *_: iter(()))
        frames = list(source)
        assert [frame.t for frame in frames if frame.error] == [0.0] * errors


def test_a_sender_ahead_of_the_clock_is_given_up_in_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "live.ts", 5, pts=[i * 8 * 12800 for i in range(5)])
    tries = iter(range(99))

    def connect() -> InputContainer:
        if next(tries):
            raise SourceError("cam: away")
        return open_container(f"file:{clip}", name="cam")

    with LiveSource("cam", connect, SourceOptions(reconnect_s=0.5)) as source:
        started = time.monotonic()
        *_, last = source
        assert time.monotonic() - started < 20
    assert last.t > 5 and "not back within 0.5 s" in str(last.error)


def test_a_damaged_picture_of_a_stream_is_passed_over() -> None:
    pictures = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in PICTURES]
    pictures[5] = b"\xff\xd8\xff\xd9" * 40

    with (
        tcp_server(_motion_jpeg(pictures, 0.01)) as port,
        open_source(f"http://127.0.0.1:{port}/v", SourceOptions(reconnect_s=0)) as source,
    ):
        frames = list(source)
    assert [frame.error is None for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert len(frames) >= 18


def test_a_download_that_stalls_ends_with_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
    clip = write_clip(
        tmp_path / "clip.mp4", pictures=list(noise), options={"movflags": "faststart"}
    )
    data, release = clip.read_bytes(), threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
        connection.sendall(head + data[: len(data) // 2])
        release.wait(300)

    with tcp_server(answer) as port:
        try:
            url = f"http://127.0.0.1:{port}/clip.mp4"
            frames = list(open_source(url, SourceOptions(timeout_s=0.5)))
        finally:
            release.set()
    assert frames[-1].error and len(frames) > 10
