"""File names of outputs, and files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from ferlite.errors import SinkError
from ferlite.sinks.partfile import OutputNames, PartFile, sink_error, stem_of, write_whole
from ferlite.types import SourceInfo


@pytest.mark.parametrize(
    ("name", "kind", "stem"),
    [
        ("clips/a b.mp4", "video", "a b"),
        ("/x/.hidden.mp4", "video", "hidden"),
        ("a.tar.mp4", "video", "a.tar"),
        ("日本 😀.png", "image", "日本 😀"),
        ('q"u:o?t*e<d>|.png', "image", "q-u-o-t-e-d"),
        ("line\nbreak.png", "image", "line-break"),
        ("..", "image", "output"),
        ("-.png", "image", "output"),
        ("camera:0", "live", "camera-0"),
        ("/dev/video0", "live", "video0"),
        ("arrays", "arrays", "arrays"),
        ("rtsp://me:secret@cam.local:554/live/1?token=x", "live", "cam.local-live-1"),
        ("https://host/films/a.mp4", "video", "host-films-a"),
        (os.fsdecode(b"caf\xe9.mp4"), "video", "caf"),
    ],
)
def test_stems(name: str, kind: str, stem: str) -> None:
    assert stem_of(SourceInfo(name, kind)) == stem  # type: ignore[arg-type]


def test_the_longest_names_still_fit(tmp_path: Path) -> None:
    names = OutputNames(tmp_path, None)
    for _ in range(3):
        path = names.claim(SourceInfo("日" * 500 + ".png", "image"), ".jpg")
        write_whole(path, b"x")
    assert len(list(tmp_path.iterdir())) == 3


def test_clashes_get_numbers(tmp_path: Path) -> None:
    names = OutputNames(tmp_path, None)
    given = [
        names.claim(SourceInfo(name, "image"), ".jpg").name
        for name in ("x/a.png", "y/a.bmp", "z/A.png", "a-2.png", "a-5.png", "a", "a", "b.png")
    ]
    assert given == [
        *("a.jpg", "a-2.jpg", "A-3.jpg", "a-2-2.jpg"),
        *("a-5.jpg", "a-4.jpg", "a-6.jpg", "b.jpg"),
    ]


def test_only_what_ferlite_wrote_is_replaced_and_no_source(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / "d.jpg").symlink_to("nowhere")
    (tmp_path / "c.png").touch()
    names = OutputNames(tmp_path, lambda path: path.name in ("b.jpg", "c.jpg"))
    for source, given in (
        ("elsewhere/a.png", "a-2.jpg"),
        (str(tmp_path / "b.png"), "b.jpg"),  # where no such file is
        (str(tmp_path / "c.png"), "c-2.jpg"),  # c.jpg may be a source as well
        ("elsewhere/d.png", "d-2.jpg"),
    ):
        assert names.claim(SourceInfo(source, "image"), ".jpg").name == given


def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    first = PartFile(path)
    first.write(b"whole\n")
    with pytest.raises(SinkError, match=r"another run is writing here; choose another folder"):
        PartFile(path)
    first.commit()
    assert path.read_bytes() == b"whole\n"
    second = PartFile(path)  # the first run is over
    second.write(b"2\n")
    second.keep()
    PartFile(path).commit()  # what an interrupted run left does not stay in the next one's file
    assert path.read_bytes() == b""


def test_a_file_renamed_while_another_run_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is had on a file that is the finished output by then: it is left alone."""
    path = tmp_path / "out.txt"
    first = PartFile(path)
    first.write(b"whole\n")
    lock = fcntl.flock

    def late(file: Any, how: int) -> None:
        first.commit()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second = PartFile(path)
    assert path.read_bytes() == b"whole\n"
    second.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_file_of_another_kind_stays(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(b"my,own,table\n")
    with pytest.raises(SinkError, match="another kind is there; move it or choose another folder"):
        PartFile(path, begins=b"source,")
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    path.write_bytes(b"source,frame\n")
    PartFile(path, begins=b"source,").commit()
    assert path.read_bytes() == b""


def test_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    names = OutputNames(tmp_path, None)
    assert names.claim(SourceInfo("a\0b.png", "image"), ".jpg").name == "a-b.jpg"


def test_a_part_file_appears_whole(tmp_path: Path) -> None:
    file = PartFile(tmp_path / "out.txt")
    file.write(b"one\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt.ferlite.part"]
    file.commit()
    file.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    file.discard()
    assert (tmp_path / "out.txt").read_bytes() == b"one\n"


def test_an_error_is_one_line_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SinkError) as caught:
        write_whole(tmp_path / "no\nfolder" / "x.jpg", b"x")
    text = str(caught.value)
    assert "\n" not in text
    assert "no\\nfolder/x.jpg" in text
    assert "No such file or directory; check the output folder or choose another (-o)" in text
    assert "ValueError; check" in str(sink_error("x", ValueError()))
