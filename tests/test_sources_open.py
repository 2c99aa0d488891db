"""What a source may be called, options, arrays, and misuse."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import gray, level, write_clip

from ferlite.errors import SourceError, UsageError
from ferlite.sources import SourceOptions, open_source
from ferlite.sources.arrays import ArraysSource
from ferlite.sources.base import Sampler, expected
from ferlite.sources.chain import Chain, Item
from ferlite.sources.video import VideoSource
from ferlite.types import SourceInfo


def _png(path: Path, index: int = 0) -> Path:
    path.write_bytes(cv2.imencode(".png", gray(index))[1].tobytes())
    return path


def _names(spec: Any) -> list[str]:
    return [Path(f.source.name).name for f in open_source(spec) if f.index == 0]


def test_importing_loads_no_decoder() -> None:
    code = "import sys, ferlite.sources; print(sorted({'av', 'cv2', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_are_read_in_natural_order(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "a2.PNG", "A10.png", ".hidden.png", "._9.png"):
        _png(tmp_path / name)
    (tmp_path / "sub.png").mkdir()
    _png(tmp_path / "sub.png" / "deep.png")
    (tmp_path / "list.csv").touch()
    assert _names(tmp_path) == ["9.png", "10.png", "a2.PNG", "A10.png"]
    assert _names(f"{tmp_path}/[a9]*") == ["9.png", "a2.PNG"]
    assert _names(f"{tmp_path}/**/d*.png") == ["deep.png"]
    assert _names(str(tmp_path / "?.png")) == ["9.png"]


def test_a_name_with_magic_characters_is_a_name_first(tmp_path: Path) -> None:
    _png(tmp_path / "a[1].png")
    _png(tmp_path / "a1.png")
    assert _names(str(tmp_path / "a[1].png")) == ["a[1].png"]


def test_content_decides_over_the_name(tmp_path: Path) -> None:
    picture = _png(tmp_path / "picture.mp4")
    clip = write_clip(tmp_path / "clip.mp4", 3)
    bare = clip.rename(tmp_path / "clip")
    assert open_source(picture).info.kind == "image"
    assert open_source(bare).info.kind == "video"
    motion = tmp_path / "camera.mjpeg"
    motion.write_bytes(b"".join(cv2.imencode(".jpg", gray(i))[1].tobytes() for i in range(4)))
    assert len(list(open_source(motion))) == 4


def test_several_are_chained_and_missing_ones_raise_first(tmp_path: Path) -> None:
    picture = _png(tmp_path / "a.png", 1)
    folder = tmp_path / "folder"
    folder.mkdir()
    _png(folder / "b.png", 2)
    write_clip(folder / "c.mp4", 2)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    source = open_source([picture, str(folder), bad, gray(4)])
    assert source.items == 5
    frames = []
    for frame in source:
        frames.append(frame)
        assert source.info == frame.source
    assert [f.source.kind for f in frames] == [
        "image",
        "image",
        "video",
        "video",
        "video",
        "arrays",
    ]
    assert "bad.mp4: not a picture or video" in str(frames[4].error)
    assert _names((picture,)) == ["a.png"]
    with pytest.raises(SourceError, match=r"gone\.mp4: no such file or folder"):
        open_source([picture, tmp_path / "gone.mp4"])
    with pytest.raises(SourceError, match=r"bad\.mp4"):
        open_source([bad])
    (folder / "c.mp4").unlink()
    (folder / "b.png").unlink()
    with pytest.raises(SourceError, match="no pictures or videos in this folder"):
        open_source([picture, folder])


def test_a_file_url(tmp_path: Path) -> None:
    path = _png(tmp_path / "a b.png")
    assert _names(path.as_uri()) == ["a b.png"]


def test_a_file_url_of_no_file_reads_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _png(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert _names(f"file://localhost{path}") == ["a.png"]
    for wrong in ("file://a.png", "file://", f"file://server{path}"):
        with pytest.raises(UsageError, match="write file:///folder/name"):
            open_source(wrong)


def test_an_input_that_opens_and_is_gone_costs_no_other(tmp_path: Path) -> None:
    clip, other = write_clip(tmp_path / "gone.mp4", 3), _png(tmp_path / "a.png")

    def opened() -> VideoSource:
        source = VideoSource(clip)
        clip.unlink()
        return source

    image = SourceInfo(str(other), "image")
    items = [Item(SourceInfo(str(clip), "video"), opened), Item(image, lambda: open_source(other))]
    gone, good = Chain(items)
    assert gone.error == f"{clip}: No such file or directory" and good.error is None
    assert (gone.source.name, good.source.name) == (str(clip), str(other))


def test_what_leads_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "list.csv").touch()
    cases = {
        str(tmp_path / "none.jpg"): "no such file or folder",
        str(tmp_path / "*.jpg"): "no picture or video matches this pattern",
        str(tmp_path / "*"): r"no picture or video matches this pattern \(1 other entries",
        str(tmp_path): r"no pictures or videos in this folder \(1 other",
        str(tmp_path / "list.csv" / "x"): "no such file or folder",
        "/dev/null": "not a regular file",
        "a\0b": "null",
        "x" * 5000: "name too long",
    }
    for spec, why in cases.items():
        with pytest.raises(SourceError, match=f"(?i){why}"):
            open_source(spec)
    for nonsense in ("", [], None, 3.5, object()):
        with pytest.raises(UsageError):
            list(open_source(nonsense))


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0},
        {"every": 1.5},
        {"every": None},
        {"start_s": -1},
        {"start_s": math.nan},
        {"start_s": "3"},
        {"duration_s": 0},
        {"duration_s": math.inf},
        {"fps_limit": -2},
        {"array_fps": None},
        {"timeout_s": 0},
        {"reconnect_s": -1},
        {"reconnect_s": math.nan},
        {"color": "hsv"},
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError) as raised:
        SourceOptions(**wrong)
    assert str(raised.value).startswith(f"{name}={value!r}: ")
    assert SourceOptions(reconnect_s=math.inf, every=np.int64(2)).every == 2  # type: ignore[arg-type]


def test_arrays_in_every_form() -> None:
    scene = np.random.default_rng(0).integers(0, 255, (12, 10, 3), np.uint8)
    grey = scene[:, :, 1]

    def read(spec: Any, **options: Any) -> list[np.ndarray[Any, Any]]:
        return [f.image for f in open_source(spec, SourceOptions(**options))]

    assert np.array_equal(read(scene), [scene])
    assert np.array_equal(read(scene[None]), [scene])
    assert np.array_equal(read([scene], color="rgb"), [scene[:, :, ::-1]])
    assert np.array_equal(read(grey), [np.dstack([grey] * 3)])
    assert np.array_equal(read([grey[:, :, None]], color="gray"), [np.dstack([grey] * 3)])
    assert np.array_equal(read(np.stack([grey, grey])), [np.dstack([grey] * 3)] * 2)
    assert np.array_equal(read(iter([scene[::2, ::-1]])), [scene[::2, ::-1]])
    frames = list(open_source(iter([(1.5, scene), (np.float32(2.0), scene)])))
    assert [f.t for f in frames] == [1.5, 2.0]
    assert [f.t for f in open_source([scene] * 3, SourceOptions(array_fps=10))] == [0, 0.1, 0.2]


def test_arrays_are_copied() -> None:
    buffer = np.zeros((4, 4, 3), np.uint8)

    def reuse() -> Any:
        for value in range(3):
            buffer[:] = value
            yield buffer

    assert [int(f.image[0, 0, 0]) for f in list(open_source(reuse()))] == [0, 1, 2]
    rgb = SourceOptions(color="rgb")
    turned = (picture[:, :, ::-1] for picture in reuse())  # turned again, it is the buffer
    assert [int(f.image[0, 0, 0]) for f in list(open_source(turned, rgb))] == [0, 1, 2]
    mapped = (picture.view(np.recarray) for picture in reuse())  # as of a memory-mapped file
    assert [int(f.image[0, 0, 0]) for f in list(open_source(mapped))] == [0, 1, 2]


@pytest.mark.parametrize(
    ("item", "color", "why"),
    [
        (np.zeros((4, 4, 3), np.float32), "bgr", r"dtype float32, shape \(4, 4, 3\); uint8"),
        (np.zeros((4, 4, 4), np.uint8), "bgr", r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), "gray", r"needs uint8 \[h, w\], not empty$"),
        (np.zeros((0, 4, 3), np.uint8), "rgb", r"shape \(0, 4, 3\)"),
        (np.zeros(7, np.uint8), "bgr", r"shape \(7,\)"),
        ("picture", "bgr", "is a str; give a NumPy array"),
        ((math.nan, np.zeros((4, 4), np.uint8)), "bgr", "time nan"),
        (("0", np.zeros((4, 4), np.uint8)), "bgr", "time '0'"),
    ],
)
def test_bad_arrays_are_named(item: Any, color: Any, why: str) -> None:
    good = np.zeros((4, 4), np.uint8)
    frames = iter(open_source(iter([good, item]), SourceOptions(color=color)))
    assert next(frames).error is None
    with pytest.raises(UsageError, match=f"^item 1.*{why}"):
        next(frames)


def test_the_rate_limit_survives_pauses_and_clocks_set_back() -> None:
    sampler = Sampler(SourceOptions(fps_limit=2), 0.0)
    times = [0, 0.1, 0.5, 0.6, 1.0, 9.0, 9.1, 9.5, 0.0, 0.1, 0.5]
    assert [t for t in times if sampler.wants(t)] == [0, 0.5, 1.0, 9.0, 9.5, 0.0, 0.5]


def test_expected_counts() -> None:
    assert expected(SourceOptions(), None, None, None) == (None, None)
    assert expected(SourceOptions(), None, 25.0, 4.0) == (100, 4.0)
    assert expected(SourceOptions(every=3), 100, None, None) == (34, None)
    assert expected(SourceOptions(start_s=1, duration_s=2), 100, 25.0, 4.0) == (50, 2.0)
    assert expected(SourceOptions(start_s=3, duration_s=2), 100, 25.0, 4.0) == (25, 1.0)
    assert expected(SourceOptions(fps_limit=5), 100, 25.0, 4.0) == (20, 4.0)


def test_levels_tell_neighbours_apart() -> None:
    assert all(abs(level(i) - level(i + 1)) >= 9 for i in range(100))


def test_times_before_the_first_are_frames_too() -> None:
    pairs = [(t, gray(i)) for i, t in enumerate((5.0, 1.0, 2.0))]
    assert [(f.index, f.t) for f in open_source(pairs)] == [(0, 5.0), (1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("scheme", ["http", "rtsp", "file"])
def test_a_broken_url_is_one_line_without_its_password(scheme: str) -> None:
    with pytest.raises(UsageError, match=rf"^{scheme}://\[::1/x: no valid URL") as raised:
        open_source(f"{scheme}://me:secret@[::1/x")
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="no valid URL") as raised:
        open_source(f"{scheme}://me:secret@host\N{FULLWIDTH SOLIDUS}/x")  # quoted by urlsplit
    assert "secret" not in str(raised.value)
    for sign in "#/?":  # what is behind it would be no part of the host
        with pytest.raises(UsageError, match=r"no valid URL.* in a password as %2F %23") as raised:
            open_source(f"{scheme}://me:sec{sign}ret@host/x")
        assert "sec" not in str(raised.value) and "ret@" not in str(raised.value)


def test_closing_while_an_input_is_opened() -> None:
    def opened() -> ArraysSource:
        chain.close()
        return ArraysSource([gray(0)])

    chain = Chain([Item(SourceInfo("a", "arrays"), opened)])
    assert list(chain) == []
