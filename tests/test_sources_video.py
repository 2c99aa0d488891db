"""Video files: exact times, turns, seeking, and files that are cut or damaged."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media import gray, level, set_display_matrix, stamps, write_clip
from numpy.typing import NDArray

from ferlite.errors import SourceError
from ferlite.sources import SourceOptions, decoding, open_source, video
from ferlite.sources.video import VideoSource
from ferlite.types import Frame

IRREGULAR = [0, 1, 700, 701, 1999, 4000, 4513, 9999, 10000, 30001, 30002, 64000, 64777, 90001]


def _frames(path: Path, options: SourceOptions | None = None) -> list[Frame]:
    with open_source(path, options) as source:
        return list(source)


def _which(frame: Frame) -> int:
    return round(float(frame.image.mean()))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_times_are_the_containers(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"vfr{suffix}", pts=IRREGULAR, frames=len(IRREGULAR))
    frames = _frames(path)
    assert [f.t for f in frames] == stamps(path)
    if suffix == ".mp4":
        assert [f.t for f in frames] == [p / 12800 for p in IRREGULAR]
    assert [f.index for f in frames] == list(range(len(IRREGULAR)))
    for index, frame in enumerate(frames):
        assert abs(_which(frame) - level(index)) <= 4


def test_info_before_the_first_frame(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4", 50))
    info = source.info
    assert (info.kind, info.width, info.height) == ("video", 64, 48)
    assert (info.frames, info.fps, info.duration_s) == (50, 25.0, 2.0)
    options = SourceOptions(every=2, start_s=0.4, duration_s=0.8)
    window = open_source(tmp_path / "clip.mp4", options)
    assert (window.info.frames, window.info.duration_s) == (10, 0.8)
    assert len(list(window)) == 10
    assert open_source(tmp_path / "clip.mp4", SourceOptions(fps_limit=4)).info.frames == 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("start_s", [0.02, 0.2, 0.5001, 0.999, 1.56])
def test_start_is_exact(tmp_path: Path, suffix: str, start_s: float) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = write_clip(tmp_path / f"clip{suffix}", 40, codec=codec, gop=7, audio=True)
    whole = _frames(path)
    first = whole[0].t
    kept = [f for f in whole if f.t - first >= start_s - 1e-6]
    frames = _frames(path, SourceOptions(start_s=start_s))
    assert [f.t for f in frames] == [f.t for f in kept]
    assert [f.index for f in frames] == list(range(len(kept)))
    assert np.array_equal(frames[0].image, kept[0].image)
    assert [f.error for f in frames] == [None] * len(frames)


def test_start_seeks_rather_than_decoding_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mp4", 200, gop=10)
    decoded = 0
    decode = video._Reading._decode

    def count(
        self: video._Reading, packet: av.Packet | None
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        nonlocal decoded
        for picture in decode(self, packet):
            decoded += 1
            yield picture

    monkeypatch.setattr(video._Reading, "_decode", count)
    frames = _frames(path, SourceOptions(start_s=7.0, duration_s=0.4))
    assert len(frames) == 10
    assert decoded < 50


def test_skipped_frames_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4", 40)
    converted = 0
    convert = decoding.Converter.__call__

    def count(self: decoding.Converter, frame: av.VideoFrame) -> NDArray[np.uint8]:
        nonlocal converted
        converted += 1
        return convert(self, frame)

    monkeypatch.setattr(decoding.Converter, "__call__", count)
    frames = _frames(path, SourceOptions(every=4, start_s=0.4, fps_limit=5))
    assert 0 < converted == len(frames) < 8


def test_limits_keep_the_average_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 90, rate=30)
    for limit in (7, 20, 29.97, 30, 60):
        frames = _frames(path, SourceOptions(fps_limit=limit))
        assert len(frames) == pytest.approx(3 * min(limit, 30), abs=1.01), limit


def _scene() -> NDArray[np.uint8]:
    scene = np.zeros((48, 64, 3), np.uint8)
    scene[:24, :32], scene[:24, 32:], scene[24:, :32], scene[24:, 32:] = 40, 90, 150, 220
    return scene


TURNS = {
    "none": ((1, 0, 0, 1), lambda s: s),
    "clockwise": ((0, 1, -1, 0), lambda s: np.rot90(s, -1)),
    "upside down": ((-1, 0, 0, -1), lambda s: np.rot90(s, 2)),
    "counter-clockwise": ((0, -1, 1, 0), np.rot90),
    "mirrored": ((-1, 0, 0, 1), lambda s: s[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda s: s[::-1]),
    "transposed": ((0, 1, 1, 0), lambda s: s.transpose(1, 0, 2)),
    "transversed": ((0, -1, -1, 0), lambda s: s.transpose(1, 0, 2)[::-1, ::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_the_display_matrix_is_applied(tmp_path: Path, turn: str) -> None:
    matrix, show = TURNS[turn]
    path = write_clip(tmp_path / "turned.mp4", pictures=[_scene()] * 3)
    set_display_matrix(path, *matrix)
    source = open_source(path)
    shown = show(_scene())
    assert (source.info.width, source.info.height) == shown.shape[1::-1]
    for frame in source:
        assert frame.image.shape == shown.shape
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - shown).mean() < 4


def test_turning_agrees_with_ffmpegs_angle(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "turned.mp4", pictures=[_scene()] * 2)
    set_display_matrix(path, 0, 1, -1, 0)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    # libavutil/display.h: the angle by which the matrix turns counter-clockwise
    assert frame.rotation == -90


@pytest.mark.parametrize("audio", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"movflags": "faststart"}),
        ("clip.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("clip.mkv", {}),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_truncated_files_give_what_is_there_and_an_error(
    tmp_path: Path, name: str, options: dict[str, str], audio: bool, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 48, 64, 3), np.uint8)
    path = write_clip(tmp_path / name, pictures=list(noise), options=options, audio=audio)
    whole = _frames(path)
    assert len(whole) == 120 and whole[-1].error is None
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    frames = _frames(path)
    assert 120 * share * 0.6 < len(frames) <= 120 * share * 1.2
    assert [f.error is None for f in frames] == [True] * (len(frames) - 1) + [False]
    assert [f.t for f in frames[:-1]] == [f.t for f in whole[: len(frames) - 1]]
    error = frames[-1].error
    assert error is not None and name in error and "\n" not in error
    assert frames[-1].index == len(frames) - 1
    assert frames[-1].image.shape == (0, 0, 3)


def test_damage_in_the_middle_is_one_error_at_the_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 60, codec="mpeg4", options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size and p.pos]
    for packet in packets[20:24]:
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    frames = _frames(path)
    assert [f for f in frames[:-1] if f.error] == []
    assert frames[-1].error is not None and "damaged in" in frames[-1].error
    assert len(frames) > 50


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"this is no video\n" * 100),
        ("notes.txt", b"FFmpeg would show this as a terminal\n" * 100),
        ("zeros.bin", bytes(5000)),
    ],
)
def test_what_is_no_media_raises_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name) as raised:
        open_source(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_an_mp4_without_its_index_raises(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "recording.mp4", 30)  # the index is at the end
    data = path.read_bytes()
    for kept, why in ((len(data) // 2, "not a picture or video file"), (-400, "truncated")):
        path.write_bytes(data[:kept])
        with pytest.raises(SourceError, match=rf"recording\.mp4: {why}"):
            open_source(path)


def test_sound_and_album_covers_are_no_video(tmp_path: Path) -> None:
    for cover in (False, True):
        path = tmp_path / f"song{cover}.mp4"
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=16000)
            if cover:
                picture = container.add_stream("mjpeg", rate=1)
                picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
                picture.disposition = av.stream.Disposition.attached_pic.value
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), "fltp", layout="mono"
            )
            samples.rate, samples.pts = 16000, 0
            if cover:
                frame = av.VideoFrame.from_ndarray(gray(0), "bgr24").reformat(format="yuvj420p")
                frame.pts, frame.time_base = 0, Fraction(1)
                container.mux(picture.encode(frame))
                container.mux(picture.encode())
            container.mux(sound.encode(samples))
            container.mux(sound.encode())
        with pytest.raises(SourceError, match="has no video stream"):
            open_source(path)


def test_a_resolution_that_changes(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.ts", 5)
    large = write_clip(tmp_path / "b.ts", pictures=[np.zeros((96, 128, 3), np.uint8)] * 5)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    shapes = [f.image.shape for f in _frames(path) if not f.error]
    assert shapes == [(48, 64, 3)] * 5 + [(96, 128, 3)] * 5


def test_a_stream_without_time_stamps_counts(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bare.h264", 10)
    frames = _frames(path)
    assert [f.t for f in frames] == pytest.approx([i / 25 for i in range(10)])


def _restamp(monkeypatch: pytest.MonkeyPatch, changed: dict[int | None, int | None]) -> None:
    """Pictures of these time stamps come with others, or with none."""
    stamp = video._Reading._stamp

    def restamped(reading: video._Reading, picture: av.VideoFrame) -> float:
        if picture.pts in changed:
            picture.pts = changed[picture.pts]
        return stamp(reading, picture)

    monkeypatch.setattr(video._Reading, "_stamp", restamped)


@pytest.mark.parametrize("start_s", [0.0, 40.0])
def test_a_picture_without_a_time_stamp_follows_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_s: float
) -> None:
    # Pictures are missing before it, or were passed over by a seek.
    pts = [i * 512 for i in range(25)] + [(i + 1000) * 512 for i in range(25)]
    path = write_clip(tmp_path / "clip.ts", pts=pts, frames=50)
    whole = [f.t for f in _frames(path)]
    with av.open(str(path)) as container:
        stamped = [frame.pts for frame in container.decode(video=0)]
    _restamp(monkeypatch, dict.fromkeys(stamped[30:32]))
    times = [f.t for f in _frames(path, SourceOptions(start_s=start_s))]
    assert times == pytest.approx(whole[25:] if start_s else whole)


def test_a_stamp_that_leaps_ahead_is_believed_when_the_next_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "slow.mp4", 4, pts=[i * 60 * 12800 for i in range(4)])
    assert [f.t for f in _frames(path)] == [0, 60, 120, 180]
    path = write_clip(tmp_path / "clip.mp4", 40)
    whole = [f.t for f in _frames(path)]
    _restamp(monkeypatch, {20 * 512: 9999 * 512})
    frames = _frames(path)
    assert [f.t for f in frames] == [*whole[:20], whole[19], *whole[21:]]
    assert [abs(_which(f) - level(i)) <= 4 for i, f in enumerate(frames)] == [True] * 40


def _with_b_frames(path: Path, codec: str, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 3, 9
        if codec == "mpeg4":
            stream.options = {"qmin": "1", "qmax": "1"}
        else:
            stream.options = {"b-pyramid": "normal", "b_strategy": "0", "crf": "10"}
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(gray(index), "bgr24").reformat(format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_in_avi_have_the_times_at_which_they_are_shown(tmp_path: Path, codec: str) -> None:
    path = _with_b_frames(tmp_path / "b.avi", codec, 20)
    frames = _frames(path)
    assert [f.t for f in frames] == pytest.approx([i / 25 for i in range(20)])
    for index, frame in enumerate(frames):
        assert abs(_which(frame) - level(index)) <= 4
    late = _frames(path, SourceOptions(start_s=0.44))
    assert [f.t for f in late] == pytest.approx([i / 25 for i in range(11, 20)])
    assert np.array_equal(late[0].image, frames[11].image)


def test_time_goes_on_where_files_were_joined(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", 50)
    second = write_clip(tmp_path / "b.ts", 20)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    times = [f.t for f in _frames(both) if not f.error]
    begin = times[0]
    assert times == pytest.approx([begin + i / 25 for i in range(70)], abs=1e-3)
    assert all(a < b for a, b in pairwise(times))


def test_an_unmoving_gif_is_a_picture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "still.gif", 1, codec="gif", rate=10)
    source = open_source(path, SourceOptions(start_s=5))
    (frame,) = source
    assert (frame.source.kind, frame.index, frame.t) == ("image", 0, 0.0)


def test_names_that_look_like_protocols(tmp_path: Path) -> None:
    folder = tmp_path / "http:größe"
    folder.mkdir()
    path = write_clip(folder / "concat:a|b %d.mp4", 3)
    assert len(_frames(path)) == 3


def test_a_start_past_the_end_raises(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 10)
    with pytest.raises(SourceError, match=r"start at 9 s is past its end at 0\.40 s"):
        open_source(path, SourceOptions(start_s=9))
    # Where no header says how long a file is, reading it shows.
    bare = write_clip(tmp_path / "bare.h264", 10)
    for start_s in (9, 1e15):
        (frame,) = _frames(bare, SourceOptions(start_s=start_s))
        said = f"start at {start_s:g} s is past its end at 0.36 s"
        assert frame.error == f"{bare}: {said}"


def test_a_matroska_file_that_begins_late_is_whole(tmp_path: Path) -> None:
    # As the second file of a recording in segments.
    late = write_clip(tmp_path / "late.mkv", 50, pts=[(200 + i) * 512 for i in range(50)])
    with open_source(late) as source:
        assert source.info.duration_s == pytest.approx(2.0)
        frames = list(source)
    assert [f.error for f in frames] == [None] * 50 and frames[0].t == 8.0
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(late.read_bytes()[:-1500])
    assert "truncated: ends at " in str(_frames(cut)[-1].error)


def test_hostile_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write_clip(tmp_path / "a.ts", 5)
    large = write_clip(tmp_path / "b.ts", pictures=[np.zeros((96, 128, 3), np.uint8)] * 5)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48)
    with pytest.raises(SourceError, match="128x96 pixels is over the limit of 3072"):
        open_source(large)
    frames = _frames(both)
    assert [f.image.shape for f in frames[:-1]] == [(48, 64, 3)] * 5
    assert "128x96" in str(frames[-1].error)


def test_frames_are_freed_as_they_go(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "large.mp4", pictures=[np.zeros((720, 1280, 3), np.uint8)] * 8)
    set_display_matrix(path, -1, 0, 0, -1)

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    def read() -> None:
        for frame in open_source(path):
            assert frame.error is None

    gc.disable()  # nothing may wait for it
    try:
        for _ in range(3):
            read()
        before = resident_mb()
        for _ in range(20):
            read()
        # One decoded picture kept for each time it is opened would be 55 MB.
        assert resident_mb() - before < 25
    finally:
        gc.enable()


def test_a_file_that_goes_away_raises(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 3)
    source = VideoSource(path)
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(source)


@pytest.mark.shared
def test_real_clips_have_the_times_of_the_container(shared: Path) -> None:
    clips = sorted((shared / "data" / "clips").rglob("*.m[pk][4v]"))
    assert len(clips) >= 13
    for path in clips:
        frames = _frames(path)
        assert [f.error for f in frames if f.error] == [], path.name
        assert [f.index for f in frames] == list(range(len(frames)))
        assert [f.t for f in frames] == pytest.approx(stamps(path), abs=1e-3), path.name
        if path.name == "crowd_1080p.mp4":
            assert len(frames) == 105
            assert frames[0].image.shape == (1080, 1920, 3)


@pytest.mark.shared
def test_real_clips_start_exactly(shared: Path) -> None:
    for name, start_s in (("portrait.mp4", 13.37), ("audience_360p.mp4", 5.0)):
        path = shared / "data" / "clips" / name
        whole = stamps(path)
        (frame,) = _frames(path, SourceOptions(start_s=start_s, duration_s=0.02))
        assert frame.t == min(t for t in whole if t >= whole[0] + start_s - 1e-6)


def test_time_never_falls_where_a_joined_file_begins_early(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", 50)
    early = write_clip(tmp_path / "b.ts", 25, pts=[19200 + 512 * i for i in range(25)])
    (tmp_path / "ab.ts").write_bytes(first.read_bytes() + early.read_bytes())
    times = [frame.t for frame in _frames(tmp_path / "ab.ts") if not frame.error]
    assert len(times) == 75 and times == sorted(times)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_title_in_another_encoding(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", 3, title="KaXse")
    data = clip.read_bytes()
    assert data.count(b"KaXse") == 1
    clip.write_bytes(data.replace(b"KaXse", b"Ka\xe4se"))
    assert [frame.error for frame in open_source(clip)] == [None] * 3
