"""Annotated video, decoded again: codec, size, time stamps, sound."""

from __future__ import annotations

import base64
import contextlib
import logging
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import http_server
from numpy.typing import NDArray
from sink_records import make_clip, make_face, make_frame

from ferlite.sinks import AnnotatedVideo
from ferlite.sinks.audio import SourceAudio
from ferlite.sources import open_source
from ferlite.types import SourceInfo

EVEN = [i / 25 for i in range(30)]
# Variable frame rate, with a pause; milliseconds, as Matroska keeps them.
UNEVEN = [0.0, 0.033, 0.067, 0.1, 0.3, 0.301, 1.0, 1.04, 1.3, 1.333]


@pytest.fixture(autouse=True)
def out_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()


def annotate_clip(
    source: Path, folder: Path, *, start_s: float = 0.0, end_s: float = 1e9, every: int = 1
) -> tuple[Path, list[float]]:
    """Run a real file through the sink; the output and the times of the frames written."""
    sink = AnnotatedVideo(folder)
    times = []
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 25)
        info = SourceInfo(str(source), "video", stream.width, stream.height, fps=fps)
        sink.begin(info)
        for i, picture in enumerate(container.decode(stream)):
            assert picture.time is not None
            if i % every == 0 and start_s <= picture.time < end_s:
                image = picture.to_ndarray(format="bgr24")
                sink.write(*make_frame(info, i, picture.time, [make_face()], image=image))
                times.append(picture.time)
    sink.finish()
    return folder / f"{source.stem}.mp4", times


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """Time and bytes of every audio packet."""
    with av.open(str(path)) as container:
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(audio=0)
            if packet.size and packet.pts is not None
        ]


def check_browser_plays(path: Path, size: tuple[int, int]) -> None:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == "h264"
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (video.width, video.height) == size
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")  # faststart


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", UNEVEN)
    path, times = annotate_clip(source, tmp_path / "out")
    check_browser_plays(path, (128, 96))
    assert times == UNEVEN
    assert times_of(path) == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize(("width", "height"), [(127, 95), (128, 95), (127, 96)])
def test_odd_sizes_grow_by_one_repeated_pixel(tmp_path: Path, width: int, height: int) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("odd", "arrays", width, height)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, -1] = image[-1] = 255
    sink.write(*make_frame(info, 0, 0.0, image=image))
    sink.finish()
    check_browser_plays(tmp_path / "odd.mp4", (width + width % 2, height + height % 2))
    with av.open(str(tmp_path / "odd.mp4")) as container:
        back = next(container.decode(video=0)).to_ndarray(format="gray")
    assert (back[-1, -1] > 200) and (back[10, 10] < 40)
    if width % 2:
        assert back[:, -1].min() > 150


def test_colours_survive(tmp_path: Path, portraits: dict[str, NDArray[np.uint8]]) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("face", "arrays", 512, 512)
    image = portraits["astronaut"]
    sink.write(*make_frame(info, 0, 0.0, image=image))
    sink.finish()
    with av.open(str(tmp_path / "face.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited, as H.273 has them
    planes = frame.to_ndarray()
    luma, blueness = planes[:512], planes[512:640].reshape(256, 256)
    # The orange suit, by BT.709's own formula; BT.601's differs by 6.
    blue, green, red = image[300:400, 120:170].mean(axis=(0, 1))
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert luma[300:400, 120:170].mean() == pytest.approx(16 + 219 / 255 * y, abs=2)
    cb = 128 + 224 / 255 * (blue - y) / 1.8556
    assert blueness[150:200, 60:85].mean() == pytest.approx(cb, abs=2)


def test_a_change_of_size_is_scaled_into_the_first(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("stream", "arrays")
    for i, (height, width) in enumerate([(96, 128), (200, 100), (48, 640), (1, 1)]):
        image = np.full((height, width, 3), 255, np.uint8)
        sink.write(*make_frame(info, i, i / 25, image=image))
    sink.finish()
    with av.open(str(tmp_path / "stream.mp4")) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert [picture.shape for picture in pictures] == [(96, 128)] * 4
    tall, flat = pictures[1], pictures[2]
    assert tall[48, 64] > 200 and tall[48, 5] < 50 and tall[48, -5] < 50
    assert flat[48, 5] > 200 and flat[5, 64] < 50 and flat[-5, 64] < 50


def test_times_that_do_not_advance(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("stuck", "arrays", 128, 96)
    for i, t in enumerate([0.0, 0.04, 0.04, 0.02, 0.08]):
        sink.write(*make_frame(info, i, t))
    sink.finish()
    assert times_of(tmp_path / "stuck.mp4") == pytest.approx([0, 0.04, 0.04, 0.04, 0.08], abs=1e-3)


@pytest.mark.parametrize("first", [-3.0, 7200.0, 1.7e9])
def test_times_far_from_zero_begin_at_zero(tmp_path: Path, first: float) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("far", "arrays", 128, 96)
    for i in range(5):
        sink.write(*make_frame(info, i, first + i / 25))
    sink.finish()
    assert times_of(tmp_path / "far.mp4") == pytest.approx([i / 25 for i in range(5)], abs=1e-3)


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [
        ("mp4", "aac", "mono"),
        ("mkv", "aac", "stereo"),
        ("mp4", "libmp3lame", "mono"),
        ("mkv", "flac", "stereo"),
        ("ts", "aac", "mono"),
    ],
)
def test_sound_is_copied(tmp_path: Path, container: str, codec: str, layout: str) -> None:
    source = make_clip(tmp_path / f"clip.{container}", EVEN, audio=codec, layout=layout)
    path, times = annotate_clip(source, tmp_path / "out")
    check_browser_plays(path, (128, 96))
    before, after = sound_of(source), sound_of(path)
    # A transport stream has a header of 7 bytes on each AAC packet that MP4 keeps elsewhere.
    header = 7 if container == "ts" else 0
    assert [data for _, data in after] == [data[header:] for _, data in before]
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=0.001)
    assert times_of(path) == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("mkv", "pcm_s16le", 44100, "mono"),
        ("avi", "pcm_s16le", 8000, "stereo"),
        ("mkv", "ac3", 48000, "stereo"),
        ("mkv", "pcm_s16le", 37000, "mono"),
        ("avi", "libmp3lame", 11025, "mono"),  # MP4 holds MP3 from 16,000 samples a second
    ],
)
def test_sound_that_no_browser_plays_becomes_aac(
    tmp_path: Path, container: str, codec: str, rate: int, layout: str
) -> None:
    source = make_clip(tmp_path / f"clip.{container}", EVEN, audio=codec, rate=rate, layout=layout)
    path, times = annotate_clip(source, tmp_path / "out")
    with av.open(str(path)) as result:
        stream = result.streams.audio[0]
        assert stream.codec_context.name == "aac"
        assert stream.codec_context.layout.name == layout
        samples = np.concatenate([frame.to_ndarray()[0] for frame in result.decode(stream)])
        seconds = len(samples) / stream.codec_context.sample_rate
        peak = np.abs(np.fft.rfft(samples)).argmax() / seconds
    assert seconds == pytest.approx(times[-1] + 0.04, abs=0.1)
    assert peak == pytest.approx(440, abs=3)  # the tone, at its pitch


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_of_a_part_keeps_step_with_the_pictures(tmp_path: Path, codec: str) -> None:
    times = [i / 25 for i in range(150)]
    source = make_clip(tmp_path / "clip.mkv", times, audio=codec)
    path, written = annotate_clip(source, tmp_path / "out", start_s=2.0, end_s=4.0)
    assert times_of(path) == pytest.approx([t - 2.0 for t in written], abs=0.001)
    sound = sound_of(path)
    # One AAC packet is 23 ms; an encoder's own start-up adds another before zero.
    assert -0.03 <= sound[0][0] <= 0.03
    assert 1.93 <= sound[-1][0] <= 2.01
    if codec == "aac":
        before = {data: t for t, data in sound_of(source)}
        for t, data in sound:
            assert before[data] == pytest.approx(t + 2.0, abs=0.001)


def test_a_source_far_from_zero_keeps_step_too(tmp_path: Path) -> None:
    """As recordings of broadcasts are: the output begins at zero, picture and sound alike."""
    times = [60 + t for t in EVEN]
    source = make_clip(tmp_path / "clip.mkv", times, audio="aac")
    path, _ = annotate_clip(source, tmp_path / "out")
    assert times_of(path) == pytest.approx(EVEN, abs=0.001)
    before = {data: t for t, data in sound_of(source)}
    sound = sound_of(path)
    assert 0 <= sound[0][0] < 0.03
    assert all(before[data] == pytest.approx(t + 60, abs=0.001) for t, data in sound)


@pytest.mark.parametrize(("container", "start_s"), [("avi", 0.4), ("avi", 2.0), ("mkv", 0.4)])
def test_sound_of_a_part_where_seeking_fails(
    tmp_path: Path, container: str, start_s: float
) -> None:
    """One second of head start would lie before the file, or FFmpeg refuses the seek."""
    times = [i / 25 for i in range(100)]
    source = make_clip(tmp_path / f"clip.{container}", times, audio="pcm_s16le")
    path, _ = annotate_clip(source, tmp_path / "out", start_s=start_s)
    sound = sound_of(path)
    assert -0.05 <= sound[0][0] <= 0.15
    assert sound[-1][0] == pytest.approx(4 - start_s, abs=0.15)


def test_a_seek_that_raises_after_moving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [i / 25 for i in range(100)]
    source = make_clip(tmp_path / "clip.mkv", times, audio="aac")
    opened = av.open

    class Moved:
        """A container at whose end a failed seek has arrived."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._container = opened(*arguments, **options)

        def seek(self, offset: int) -> None:
            for _ in self._container.demux():
                pass
            raise av.PermissionError(1, "Operation not permitted")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    info = SourceInfo(str(source), "video", 128, 96, fps=25.0)
    with monkeypatch.context() as patch:
        patch.setattr(av, "open", lambda file, *a, **o: (opened if a else Moved)(file, *a, **o))
        for i in range(50, 100):
            sink.write(*make_frame(info, i, times[i]))
        sink.finish()
    sound = sound_of(tmp_path / "out" / "clip.mp4")
    assert -0.03 <= sound[0][0] <= 0.03
    assert sound[-1][0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("every", [1, 2, 10])
def test_the_last_picture_lasts_as_long_as_the_one_before(tmp_path: Path, every: int) -> None:
    source = make_clip(tmp_path / "clip.mp4", [i / 25 for i in range(40)])
    path, times = annotate_clip(source, tmp_path / "out", every=every)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(
            times[-1] + every / 25, abs=0.001
        )


def test_an_interrupted_run_ends_its_sound_with_its_pictures(tmp_path: Path) -> None:
    times = [i / 25 for i in range(100)]
    source = make_clip(tmp_path / "clip.mp4", times, audio="aac")
    path, _ = annotate_clip(source, tmp_path / "out", end_s=1.0)
    assert 0.9 < sound_of(path)[-1][0] < 1.0


def test_sound_longer_than_the_pictures_is_kept(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", EVEN, audio="aac", audio_seconds=3.0)
    path, _ = annotate_clip(source, tmp_path / "out")
    assert [data for _, data in sound_of(path)] == [data for _, data in sound_of(source)]


def test_every_nth_frame_keeps_all_the_sound(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", [i / 25 for i in range(61)], audio="aac")
    path, times = annotate_clip(source, tmp_path / "out", every=10)
    assert times_of(path) == pytest.approx(times, abs=0.001)
    assert len(sound_of(path)) == len(sound_of(source))


def test_a_name_that_looks_like_a_url(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "plain.mp4", EVEN, audio="aac")
    odd = tmp_path / "talk: part 1 %d 日本.mp4"
    shutil.move(source, odd)
    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    info = SourceInfo(odd.name, "video", 128, 96)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # a bare relative name begins with "talk:"
        sink.begin(info)
        for i, t in enumerate(EVEN):
            sink.write(*make_frame(info, i, t))
        sink.finish()
    assert len(sound_of(tmp_path / "out" / "talk- part 1 %d 日本.mp4")) == len(sound_of(odd))


def test_sound_that_breaks_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = make_clip(tmp_path / "whole.mkv", EVEN, audio="pcm_s16le")
    source = tmp_path / "clip.mkv"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    info = SourceInfo(str(source), "video", 128, 96)
    for i, t in enumerate(EVEN):
        sink.write(*make_frame(info, i, t))
    sink.finish()
    assert times_of(tmp_path / "out" / "clip.mp4") == pytest.approx(EVEN, abs=0.001)
    assert len(sound_of(tmp_path / "out" / "clip.mp4")) > 0


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_a_source_that_cannot_be_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    source = tmp_path / "gone.mp4"
    if content is not None:
        source.write_bytes(content)
    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    info = SourceInfo(str(source), "video", 128, 96)
    with caplog.at_level(logging.WARNING):
        for i, t in enumerate(EVEN):
            sink.write(*make_frame(info, i, t))
        sink.finish()
    assert len(times_of(tmp_path / "out" / "gone.mp4")) == len(EVEN)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"{source}: sound is missing or cut in the annotated video"
    )


def test_sound_with_a_codec_that_cannot_be_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged packets cost the sound, never the video, and one warning, not one a packet."""
    source = make_clip(tmp_path / "clip.mkv", EVEN, audio="ac3", rate=48000)
    data = bytearray(source.read_bytes())
    places = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\x0b\x77"]
    assert len(places) > 10
    for place in places:
        data[place : place + 4] = b"\0\0\0\0"
    source.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        path, times = annotate_clip(source, tmp_path / "out")
    assert times_of(path) == pytest.approx(times, abs=0.001)
    assert len(caplog.records) == 1


def test_sound_of_no_known_kind_or_that_never_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = make_clip(tmp_path / "unknown.mkv", EVEN, audio="pcm_s16le")
    named = unknown.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT")
    unknown.write_bytes(named)
    silent = make_clip(tmp_path / "silent.ts", EVEN, audio="aac")
    stream = silent.read_bytes()
    packets = [stream[i : i + 188] for i in range(0, len(stream), 188)]
    announced = [p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF != 0x101]
    assert len(announced) < len(packets)
    silent.write_bytes(b"".join(announced))
    for source in (unknown, silent):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            path, times = annotate_clip(source, tmp_path / "out")
        assert len(times_of(path)) == len(times)
        (record,) = caplog.records
        assert "sound is missing" in record.getMessage()


@pytest.mark.parametrize("gone", [False, True])
def test_the_sound_behind_a_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, gone: bool
) -> None:
    source = make_clip(tmp_path / "clip.mkv", EVEN, audio="aac")
    login = "Basic " + base64.b64encode(b"me:secret").decode()
    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    with http_server(tmp_path, authorization=login, resumes=True) as base:
        url = base.replace("//", "//me:secret@") + "/clip.mkv"
        with open_source(url) as opened:
            frames = list(opened)
        if gone:
            source.rename(tmp_path / "moved.mkv")
        for frame in frames:
            sink.write(*make_frame(frame.source, frame.index, frame.t, image=frame.image))
        sink.finish()
    (written,) = (tmp_path / "out").iterdir()
    if gone:
        (record,) = caplog.records
        assert "sound is missing" in record.getMessage() and "secret" not in caplog.text
    else:
        assert len(sound_of(written)) == len(sound_of(source))


def test_a_live_source_is_written_in_fragments(tmp_path: Path) -> None:
    """Nothing that grows with time stays in memory; what is there plays before the end."""
    sink = AnnotatedVideo(tmp_path, threads=1)
    info = SourceInfo("camera:0", "live", 128, 96, fps=30.0)
    rng = np.random.default_rng(0)
    for i in range(600):
        image = rng.integers(0, 256, (96, 128, 3), np.uint8)
        sink.write(*make_frame(info, i, 100 + i / 30, image=image))
    so_far = 0
    with (
        av.open(str(tmp_path / "camera-0.mp4.ferlite.part")) as container,
        contextlib.suppress(av.InvalidDataError),  # half of a fragment at its end
    ):
        for _ in container.decode(video=0):
            so_far += 1
    assert so_far >= 200
    sink.finish()
    data = (tmp_path / "camera-0.mp4").read_bytes()
    assert data.count(b"moof") >= 2
    assert times_of(tmp_path / "camera-0.mp4") == pytest.approx(
        [i / 30 for i in range(600)], abs=0.001
    )


def test_resident_memory_is_flat(tmp_path: Path) -> None:
    """FFmpeg's memory, which tracemalloc does not see: 2,000 frames of a long clip with sound."""
    times = [i / 25 for i in range(2500)]
    source = make_clip(tmp_path / "clip.mp4", times, audio="aac")
    sink = AnnotatedVideo(tmp_path / "out", threads=1)
    info = SourceInfo(str(source), "video", 128, 96, fps=25.0)
    image = np.zeros((96, 128, 3), np.uint8)

    def write(first: int, last: int) -> float:
        for i in range(first, last):
            sink.write(*make_frame(info, i, times[i], [make_face()], image=image))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    before = write(0, 500)
    after = write(500, 2500)
    sink.finish()
    assert after - before < 3  # MiB


def test_a_gap_longer_than_mp4_can_hold(tmp_path: Path) -> None:
    # A camera that was away for the night; MP4 holds gaps of 23,861 seconds.
    sink = AnnotatedVideo(tmp_path / "out")
    info = SourceInfo("camera", "live", 64, 48, fps=25.0)
    sink.begin(info)
    for i, t in enumerate((0.0, 0.04, 30000.0, 30000.04)):
        sink.write(*make_frame(info, i, t))
    sink.finish()
    times = times_of(tmp_path / "out" / "camera.mp4")
    longest = 0.04 + 2**31 / 90_000 - 1
    assert times == pytest.approx([0, 0.04, longest, 30000, 30000.04], abs=1e-3)


def test_pictures_too_large_for_h264_cost_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = AnnotatedVideo(tmp_path / "out")
    info = SourceInfo("wide.mkv", "video", 16386, 2, fps=25.0)
    sink.begin(info)
    for i in range(2):
        image = np.zeros((2, 16386, 3), np.uint8)
        sink.write(*make_frame(info, i, i / 25, image=image))
    sink.finish()
    assert not list((tmp_path / "out").iterdir())
    assert caplog.messages == [
        "wide.mkv: no annotated video, H.264 holds at most 16384 pixels a side"
    ]


def test_each_source_gets_its_own_file(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path, threads=1)
    for name, frames in (("a/x.mp4", 3), ("b/x.avi", 2), ("c/y.mp4", 1)):
        info = SourceInfo(name, "arrays", 128, 96)
        sink.begin(info)
        for i in range(frames):
            sink.write(*make_frame(info, i, i / 25))
    sink.finish()
    counts = {path.name: len(times_of(path)) for path in tmp_path.glob("*.mp4")}
    assert counts == {"x.mp4.mp4": 3, "x.avi.mp4": 2, "y.mp4.mp4": 1}


@pytest.mark.shared
@pytest.mark.parametrize("name", ["crowd_1080p.mp4", "audience_360p.mp4", "no_face.mp4"])
def test_real_clips(tmp_path: Path, shared: Path, name: str) -> None:
    source = shared / "data" / "clips" / name
    path, times = annotate_clip(source, tmp_path / "out")
    with av.open(str(source)) as container:
        size = (container.streams.video[0].width, container.streams.video[0].height)
        duration = (container.duration or 0) / av.time_base
    check_browser_plays(path, size)
    assert times_of(path) == pytest.approx(times, abs=0.001)
    before, after = sound_of(source), sound_of(path)
    assert [data for _, data in after] == [data for _, data in before]
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=0.001)
    with av.open(str(path)) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(duration, abs=0.05)


@pytest.mark.parametrize("fps", [1e6, 1e-4])
def test_an_odd_rate_leaves_the_times_as_they_are(tmp_path: Path, fps: float) -> None:
    info = SourceInfo("odd", "arrays", 128, 96, fps=fps)
    sink = AnnotatedVideo(tmp_path, threads=1)
    sink.begin(info)
    for i in range(3):
        sink.write(*make_frame(info, i, i / 25))
    sink.finish()
    assert times_of(tmp_path / "odd.mp4") == pytest.approx([0, 0.04, 0.08], abs=1e-3)


def test_sound_whose_time_goes_back_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = SourceAudio(str(make_clip(tmp_path / "clip.mp4", EVEN[:2], audio="aac")))

    def read(*stamps: int) -> list[int]:
        audio._last_dts = None
        packets: Any = (
            SimpleNamespace(size=1, dts=stamp, pts=stamp, time_base=1 / 16000) for stamp in stamps
        )
        audio._packets = packets
        return [packet.dts for packet in iter(audio._read, None) if packet.dts is not None]

    assert read(0, 1024, 512, 1024, 2048) == [0, 1024, 2048] and not caplog.messages
    # Where files were joined, the sound would play beside other pictures from here on.
    assert read(0, 32000, 0, 48000) == [0, 32000]
    assert "its clock starts anew midway" in caplog.text
