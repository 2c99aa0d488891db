"""What holds for every source, whatever it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import gray, http_server, level, write_clip

from ferlite.sources import Source, SourceOptions, open_source
from ferlite.sources.decoding import open_container
from ferlite.sources.live import LiveSource
from ferlite.types import Frame

CLIP_FRAMES = 20


@dataclass(frozen=True)
class Case:
    """How to open a source, and the frames it must give: (kind, index, t, grey level)."""

    open: Callable[[SourceOptions], Source]
    frames: list[tuple[str, int, float, int]]
    items: int = 1
    again: bool = True  # a second iteration starts from the beginning


def _video(count: int, gap: float = 0.04, kind: str = "video") -> list[tuple[str, int, float, int]]:
    return [(kind, i, i * gap, level(i)) for i in range(count)]


def _picture(path: Path, index: int) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, gray(index))[1].tobytes())
    return path


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    _picture(folder / "10.png", 3)
    _picture(folder / "2.JPG", 1)
    write_clip(folder / "b.mp4", 4)
    (folder / "notes.txt").write_text("no picture")
    return folder


_FOLDER_FRAMES = [("image", 0, 0.0, level(1)), ("image", 0, 0.0, level(3)), *_video(4)]


def _image(tmp_path: Path) -> Case:
    path = _picture(tmp_path / "one.png", 5)
    return Case(lambda o: open_source(path, o), [("image", 0, 0.0, level(5))])


def _images(tmp_path: Path) -> Case:
    paths = [str(_picture(tmp_path / f"{i}.bmp", i)) for i in (4, 2)]
    frames = [("image", 0, 0.0, level(4)), ("image", 0, 0.0, level(2))]
    return Case(lambda o: open_source(paths, o), frames, items=2)


def _directory(tmp_path: Path) -> Case:
    folder = _folder(tmp_path)
    return Case(lambda o: open_source(str(folder), o), _FOLDER_FRAMES, items=3)


def _pattern(tmp_path: Path) -> Case:
    pattern = str(_folder(tmp_path) / "*")
    return Case(lambda o: open_source(pattern, o), _FOLDER_FRAMES, items=3)


def _mp4(tmp_path: Path) -> Case:
    path = write_clip(tmp_path / "clip.mp4", CLIP_FRAMES, audio=True)
    return Case(lambda o: open_source(path, o), _video(CLIP_FRAMES))


def _mkv(tmp_path: Path) -> Case:
    path = write_clip(tmp_path / "clip.mkv", CLIP_FRAMES)
    return Case(lambda o: open_source(str(path), o), _video(CLIP_FRAMES))


def _gif(tmp_path: Path) -> Case:
    path = write_clip(tmp_path / "clip.gif", 6, codec="gif", rate=10)
    return Case(lambda o: open_source(path, o), _video(6, gap=0.1))


def _http(tmp_path: Path, base: str) -> Case:
    write_clip(tmp_path / "web.mp4", CLIP_FRAMES, options={"movflags": "faststart"})
    return Case(lambda o: open_source(f"{base}/web.mp4", o), _video(CLIP_FRAMES))


def _live(tmp_path: Path) -> Case:
    path = write_clip(tmp_path / "live.ts", CLIP_FRAMES)

    def open_live(options: SourceOptions) -> Source:
        options = SourceOptions(
            every=options.every,
            start_s=options.start_s,
            duration_s=options.duration_s,
            fps_limit=options.fps_limit,
            reconnect_s=0,
        )
        return LiveSource("live", lambda: open_container(f"file:{path}", name="live"), options)

    return Case(open_live, _video(CLIP_FRAMES, kind="live"))


def _arrays(tmp_path: Path) -> Case:
    arrays = [gray(i) for i in range(CLIP_FRAMES)]
    return Case(lambda o: open_source(arrays, o), _video(CLIP_FRAMES, kind="arrays"))


def _generator(tmp_path: Path) -> Case:
    def open_generator(options: SourceOptions) -> Source:
        return open_source(((i * 0.04, gray(i)) for i in range(CLIP_FRAMES)), options)

    return Case(open_generator, _video(CLIP_FRAMES, kind="arrays"), again=False)


CASES = {
    "image": _image,
    "images": _images,
    "folder": _directory,
    "pattern": _pattern,
    "mp4": _mp4,
    "mkv": _mkv,
    "gif": _gif,
    "http": _http,
    "live": _live,
    "arrays": _arrays,
    "generator": _generator,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    make: Any = CASES[request.param]
    if request.param == "http":
        with http_server(tmp_path) as base:
            yield make(tmp_path, base)
    else:
        yield make(tmp_path)


def _good(frames: Any) -> list[Frame]:
    """The frames, without the one that says that a live source has ended."""
    return [f for f in frames if not (f.error and f.source.kind == "live")]


def _facts(frames: list[Frame]) -> list[tuple[str, int, float, int]]:
    return [(f.source.kind, f.index, f.t, int(f.image.mean().round())) for f in frames]


def _assert_same(frames: list[Frame], expected: list[tuple[str, int, float, int]]) -> None:
    assert [f.error for f in frames] == [None] * len(expected)
    for found, wanted in zip(_facts(frames), expected, strict=True):
        assert found[:2] == wanted[:2]
        assert found[2] == pytest.approx(wanted[2], abs=1e-3)
        assert abs(found[3] - wanted[3]) <= 4  # neighbours differ by 9


def test_frames_are_those_of_the_input(case: Case) -> None:
    with case.open(SourceOptions()) as source:
        assert isinstance(source, Source)
        assert source.items == case.items
        frames = _good(source)
    _assert_same(frames, case.frames)


def test_pictures_are_bgr_bytes(case: Case) -> None:
    with case.open(SourceOptions()) as source:
        for frame in _good(source):
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (48, 64, 3)
            assert frame.image.flags.c_contiguous
            assert (frame.source.width, frame.source.height) == (64, 48)


def test_the_time_of_day_is_that_of_frames_as_they_happen(case: Case) -> None:
    before = datetime.now(UTC)
    with case.open(SourceOptions(reconnect_s=0)) as source:
        frames = list(source)
    live = [frame.received for frame in frames if frame.source.kind == "live"]
    times = [time for time in live if time is not None]  # those of errors too
    assert len(times) == len(live)
    order = [before, *times, datetime.now(UTC)]
    assert order == sorted(order)
    assert all(frame.received is None for frame in frames if frame.source.kind != "live")


def test_expected_count_is_the_count(case: Case) -> None:
    for options in (SourceOptions(), SourceOptions(every=3), SourceOptions(duration_s=0.2)):
        with case.open(options) as source:
            for frame in _good(source):
                known = frame.source.frames
                assert known is None or frame.index // options.every < known


def test_every_takes_each_nth_and_keeps_the_index(case: Case) -> None:
    with case.open(SourceOptions(every=3)) as source:
        found = [(f.source.kind, f.index) for f in _good(source)]
    assert found == [f[:2] for f in case.frames if f[1] % 3 == 0]


def test_start_and_duration_cut_on_the_time_stamps(case: Case) -> None:
    with case.open(SourceOptions(start_s=0.1, duration_s=0.2)) as source:
        found = [(f.source.kind, f.t, f.index) for f in _good(source) if not f.error]
    kept = [f for f in case.frames if f[0] == "image" or 0.0999 <= f[2] < 0.2999]
    assert [f[0] for f in found] == [f[0] for f in kept]
    assert [f[1] for f in found] == pytest.approx([f[2] for f in kept], abs=1e-3)
    moving = [f[2] for f in found if f[0] != "image"]
    assert moving == list(range(len(moving)))


def test_fps_limit_spreads_evenly(case: Case) -> None:
    with case.open(SourceOptions(fps_limit=5)) as source:
        frames = [f for f in _good(source) if f.source.kind != "image"]
    moving = [f for f in case.frames if f[0] != "image"]
    if moving:
        seconds = moving[-1][2] - moving[0][2]
        assert len(frames) == pytest.approx(seconds * 5, abs=1.01)
        gaps = np.diff([f.t for f in frames])
        assert np.all(gaps >= 0.15) and np.all(gaps <= 0.25)


def test_a_second_iteration_is_as_promised(case: Case) -> None:
    with case.open(SourceOptions()) as source:
        first = _facts(_good(source))
        second = _facts(_good(source))
    if case.again:
        assert [f[:2] + f[3:] for f in second] == [f[:2] + f[3:] for f in first]
    else:
        assert second == []


def test_closed_twice_yields_nothing(case: Case) -> None:
    source = case.open(SourceOptions())
    source.close()
    source.close()
    assert list(source) == []


def test_close_from_another_thread_ends_the_iteration(case: Case) -> None:
    source = case.open(SourceOptions())
    frames = iter(source)
    assert next(frames).error is None
    closer = threading.Thread(target=source.close)
    closer.start()
    closer.join()
    assert list(frames) == []


def test_nothing_stays_open(case: Case) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    list(case.open(SourceOptions()))  # what is loaded once, is loaded
    before = open_files()
    with case.open(SourceOptions()) as source:
        list(source)
    with case.open(SourceOptions()) as source:
        left = iter(source)
        next(left)
        del left
    case.open(SourceOptions()).close()
    assert open_files() <= before
