"""What a run shows on stderr: the bar and the table of a terminal, the plain lines elsewhere."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from sink_records import make_face, make_frame

from ferlite.cli.progress import MAX_FAILURES_PER_SOURCE, Progress
from ferlite.cli.report import MAX_ROWS, report, shares_text
from ferlite.sinks import Summary, open_sinks
from ferlite.types import SourceInfo


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stderr a terminal 120 wide that understands no colours.

    No fixture: pytest sets sys.stderr anew between the setup of a test and its body.
    """
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def summary_of(sources: dict[str, list[int]], kind: str = "video") -> Summary:
    """A run over named sources, in each of which the given tracks are seen once."""
    summary = Summary(Path())
    for name, tracks in sources.items():
        info = SourceInfo(name, kind)  # type: ignore[arg-type]
        summary.begin(info)
        still = kind == "image"
        for index, track in enumerate(tracks):
            face = make_face(track=None if still else track)
            summary.write(*make_frame(info, index, index / 25, [face]))
    return summary


def test_table_of_tracks_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    report(summary_of({"a.mp4": list(range(1, MAX_ROWS + 6))}).to_dict(), None, [])
    lines = terminal.getvalue().splitlines()
    assert lines[0].split() == ["track", "faces", "seen", "emotion", "then"]
    assert sum(" s  happiness" in line for line in lines) == MAX_ROWS
    assert "5 more" in terminal.getvalue()
    assert lines[-2].split()[:3] == ["all", str(MAX_ROWS + 5), "happiness"]
    assert "72 %" in lines[-2]
    assert lines[-1].startswith(f"{MAX_ROWS + 5} frames, {MAX_ROWS + 5} faces, ")


def test_table_names_the_source_of_tracks_when_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = watched(monkeypatch)
    report(summary_of({"x/a.mp4": [1, 1], "x/[red]b.mp4": [1]}).to_dict(), None, [])
    assert "a.mp4 1" in terminal.getvalue()
    assert "[red]b.mp4 1" in terminal.getvalue()


def test_table_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    report(
        summary_of({"x/a.jpg": [1, 2], "x/b.jpg": [], "c.jpg": [1]}, "image").to_dict(), None, []
    )
    lines = terminal.getvalue().splitlines()
    assert lines[0].split() == ["source", "faces", "emotion", "then"]
    assert lines[1].split()[:3] == ["a.jpg", "2", "happiness"]
    assert lines[2].split()[:2] == ["c.jpg", "1"]
    assert "b.jpg" not in terminal.getvalue()


def test_no_face_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    report(summary_of({"a.jpg": []}, "image").to_dict(), None, [])
    assert terminal.getvalue().startswith("0 frames, 0 faces")


def test_plain_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sinks = open_sinks(tmp_path, ["jsonl", "csv", "summary"])
    sinks[0].finish()
    sinks[1].abort()
    report(summary_of({"a.mp4": [1, 2]}).to_dict(), Path("out"), sinks)
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first.startswith("2 frames, 2 faces, 2 tracks, ")
    assert ": happiness 72 %, " in first
    assert second == ("written to out: results.jsonl, results.csv.ferlite.part")


def test_one_is_not_plural(capsys: pytest.CaptureFixture[str]) -> None:
    report(summary_of({"a.mp4": [1]}).to_dict(), None, [])
    assert capsys.readouterr().err.startswith("1 frame, 1 face, 1 track, ")


def test_shares_are_the_largest() -> None:
    assert shares_text({"a": 0.1, "b": 0.61, "c": 0.25, "d": 0.04}) == "b 61 %, c 25 %, a 10 %"


def test_nothing_but_failures_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(2)
    info = SourceInfo("a.mp4", "video", frames=3)
    progress.begin(info)
    progress.advance(make_frame(info)[1])
    assert capsys.readouterr().err == ""
    progress.advance(make_frame(info, 1, 0.04, error="the file ends early")[1])
    progress.stop()
    assert capsys.readouterr().err == "error: a.mp4 at 0.04 s: the file ends early\n"
    assert progress.failed == 1


def test_failures_of_one_video_are_not_told_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1)
    info = SourceInfo("a.mp4", "video")
    progress.begin(info)
    for index in range(100):
        progress.advance(make_frame(info, index, error="damaged")[1])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MAX_FAILURES_PER_SOURCE + 1
    assert lines[-1] == "error: a.mp4: further failures are only in the records"
    assert progress.failed == 100


def test_each_picture_that_fails_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(100)
    for number in range(100):
        info = SourceInfo(f"{number}.jpg", "image")
        progress.begin(info)
        progress.advance(make_frame(info, error=f"{number}.jpg: damaged")[1])
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"error: {number}.jpg: damaged" for number in range(100)]


def tasks_of(progress: Progress) -> list[tuple[str, float | None, float]]:
    """Name, total and done of what the bar shows."""
    return [(t.description, t.total, t.completed) for t in progress._bar.tasks]


def test_bar_of_videos_and_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    progress = Progress(4)
    video = SourceInfo("x/a-name-that-goes-on-and-on-for-ever.mp4", "video", frames=7)
    progress.begin(video)
    progress.advance(make_frame(video, faces=[make_face()])[1])
    assert tasks_of(progress) == [("...t-goes-on-and-on-for-ever.mp4 (1/4)", 7, 1)]
    assert progress._bar.tasks[0].fields["faces"] == "1 face"
    camera = SourceInfo("camera:0", "live")
    progress.begin(camera)
    assert tasks_of(progress) == [("camera:0 (2/4)", None, 0)]
    # The pictures that are left share one bar, which counts what was before them.
    for name in ("b.jpg", "c.jpg"):
        still = SourceInfo(name, "image")
        progress.begin(still)
        progress.advance(make_frame(still)[1])
    assert tasks_of(progress) == [("pictures", 4, 4)]
    assert progress._bar.tasks[0].fields["faces"] == "0 faces"
    still = SourceInfo("[b]d.jpg", "image")
    progress.begin(still)
    progress.advance(make_frame(still, error="damaged")[1])
    progress.stop()
    assert "error: [b]d.jpg: damaged" in terminal.getvalue()
