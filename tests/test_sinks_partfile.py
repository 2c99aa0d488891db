"""File names of outputs, and files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

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
    names = OutputNames(tmp_path)
    for _ in range(3):
        path = names.claim(SourceInfo("日" * 500 + ".png", "image"), ".jpg")
        write_whole(path, b"x")
    assert len(list(tmp_path.iterdir())) == 3


def test_clashes_get_numbers(tmp_path: Path) -> None:
    names = OutputNames(tmp_path)
    given = [
        names.claim(SourceInfo(name, "image"), ".jpg").name
        for name in ("x/a.png", "y/a.bmp", "z/A.png", "a-2.png", "a-5.png", "a", "a", "b.png")
    ]
    assert given == [
        *("a.jpg", "a-2.jpg", "A-3.jpg", "a-2-2.jpg"),
        *("a-5.jpg", "a-4.jpg", "a-6.jpg", "b.jpg"),
    ]


def test_a_source_is_never_written_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"precious")
    names = OutputNames(tmp_path)
    assert names.claim(SourceInfo(str(tmp_path / "a.jpg"), "image"), ".jpg").name == "a-2.jpg"
    assert names.claim(SourceInfo(str(tmp_path / "b.png"), "image"), ".jpg").name == "b-2.jpg"
    # From elsewhere: what is there is of an earlier run, and is replaced.
    other = OutputNames(tmp_path)
    assert other.claim(SourceInfo("elsewhere/a.jpg", "image"), ".jpg").name == "a.jpg"


def test_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    names = OutputNames(tmp_path)
    assert names.claim(SourceInfo("a\0b.png", "image"), ".jpg").name == "a-b.jpg"


def test_a_part_file_appears_whole(tmp_path: Path) -> None:
    file = PartFile(tmp_path / "out.txt")
    file.write(b"one\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt.part"]
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
