"""`ferlite detect` on inputs that are in order: what is written, what each option does."""

from __future__ import annotations

import csv
import json
import math
import os
import pty
import re
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import tiny_face
from click.testing import CliRunner, Result
from command import ferlite_command, records_of, start
from numpy.typing import NDArray

from ferlite import sinks, sources
from ferlite.cli import main
from ferlite.cli.detect import _reads_from
from ferlite.sinks import open_sinks


@pytest.fixture
def detect(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `ferlite detect` with the tiny model in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["detect", "--model", str(tiny), *map(str, arguments)])

    return invoke


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_everything_for_a_video(detect: Any, clip: Path, tmp_path: Path) -> None:
    result = detect(clip)
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "ferlite-output"
    assert names(folder) == ["clip.mp4", "results.csv", "results.jsonl", "summary.json"]
    records = records_of(folder)
    with av.open(str(clip)) as container:
        stamps = [float(frame.time) for frame in container.decode(video=0)]
    assert [record["t"] for record in records] == pytest.approx(stamps, abs=1e-6)
    faces = [face for record in records for face in record["faces"]]
    assert len(faces) > 150
    assert {face["track"] for face in faces} == {1, 2}
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert len(rows) == sum(max(1, len(record["faces"])) for record in records)
    with av.open(str(folder / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100
    summary = summary_of(folder)
    assert (summary["frames"], summary["faces"], summary["errors"]) == (100, len(faces), 0)
    assert summary["interrupted"] is False
    assert summary["models"][0]["sha256"]
    assert set(summary["stage_seconds"]) == {"read", "detect", "classify", "write"}
    assert summary["versions"]["av"] == av.__version__
    # What is shown when nobody watches: two plain lines, on stderr.
    lines = result.stderr.splitlines()
    assert re.match(r"100 frames, \d+ faces, 2 tracks, [\d.]+ frames/s: \w+ \d+ %, ", lines[0])
    assert lines[1].startswith("written to ferlite-output: annotated video, results.jsonl")
    assert len(lines) == 2
    assert result.stdout == ""


def test_stdout_alone_writes_no_files(detect: Any, clip: Path, tmp_path: Path) -> None:
    result = detect(clip, "--stdout", "--duration", 0.2)
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["frame"] for record in records] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "ferlite-output").exists()


def test_stdout_with_output_writes_both(detect: Any, clip: Path, tmp_path: Path) -> None:
    result = detect(clip, "--stdout", "-o", "out", "--duration", 0.2)
    assert result.stdout == (tmp_path / "out" / "results.jsonl").read_text()
    assert "clip.mp4" in names(tmp_path / "out")


def test_save_chooses(detect: Any, clip: Path, tmp_path: Path) -> None:
    assert detect(clip, "--save", "csv, summary", "--every", 50).exit_code == 0
    assert names(tmp_path / "ferlite-output") == ["results.csv", "summary.json"]


def test_a_source_in_the_output_folder_is_not_written_over(
    detect: Any, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a" / "x.mkv", tmp_path / "b" / "x.mp4"):
        path.write_bytes(clip.read_bytes())
    for _ in range(2):
        result = detect("a/x.mkv", "b/x.mp4", "-o", "b", "--save", "video", "--every", 50)
        assert result.exit_code == 0
        assert (tmp_path / "b" / "x.mp4").read_bytes() == clip.read_bytes()
    assert names(tmp_path / "b") == [*(f"x-{number}.mp4" for number in range(2, 6)), "x.mp4"]


@pytest.mark.parametrize("again", ["out/x.mp4", "out", "out/*.mp4", "*/**", "*/*"])
def test_an_output_that_is_a_source_now_stays(
    detect: Any, clip: Path, tmp_path: Path, again: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mkv").write_bytes(clip.read_bytes())
    options = ["-o", "out", "--save", "video", "--every", 50]
    for count in (1, 2):  # a second time it is replaced
        assert detect("a/x.mkv", *options).exit_code == 0, count
    assert names(tmp_path / "out") == ["x.mp4"]
    before = (tmp_path / "out" / "x.mp4").read_bytes()
    assert detect("a/x.mkv", again, *options).exit_code == 0
    assert (tmp_path / "out" / "x.mp4").read_bytes() == before
    assert "x-2.mp4" in names(tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("res", True),
        ("res/a.jpg", True),
        ("res/*.jpg", True),
        ("r?s/a.*", True),
        ("**/a.jpg", True),
        ("res/photos", False),
        ("res/photos/*.jpg", False),
        ("0", False),
        ("rtsp://camera/res", False),
    ],
)
def test_the_output_folder_may_hold_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: bool
) -> None:
    (tmp_path / "res" / "photos").mkdir(parents=True)
    (tmp_path / "res" / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert _reads_from(Path("res"), [source]) == expected
    assert not _reads_from(Path(), ["0", "rtsp://camera/stream"])


def test_two_runs_into_one_folder(detect: Any, clip: Path, tmp_path: Path) -> None:
    (other,) = open_sinks(tmp_path / "out", ["jsonl"])
    result = detect(clip, "-o", "out", "--every", 50)
    other.abort()
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "another run is writing here; choose another folder (-o)"
    )


def test_only_what_was_written_is_told(detect: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    result = detect("broken.jpg", "-o", "out")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == "written to out: results.jsonl, results.csv, summary.json"


def test_options_reach_the_source_and_the_encoder(
    detect: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, seconds = [], []
    video, options = sinks.AnnotatedVideo, sources.SourceOptions

    def noted_video(folder: Path, count: int, **others: Any) -> Any:
        threads.append(count)
        return video(folder, count, **others)

    def noted_options(**given: Any) -> Any:
        seconds.append(given["reconnect_s"])
        return options(**given)

    monkeypatch.setattr(sinks, "AnnotatedVideo", noted_video)
    monkeypatch.setattr(sources, "SourceOptions", noted_options)
    assert detect(clip, "--duration", 0.1, "--threads", 1, "-o", "o").exit_code == 0
    assert summary_of(tmp_path / "o")["options"]["reconnect_s"] is None
    assert detect(clip, "--duration", 0.1, "--reconnect", 3, "-o", "o").exit_code == 0
    assert threads == [1, 0]
    assert seconds == [math.inf, 3]


def test_pictures_of_a_folder(
    detect: Any, portraits: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in portraits.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    result = detect(folder, "-o", "out", "--min-face", "60")
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path / "out") == [
        "astronaut.jpg",
        "hopper.jpg",
        "results.csv",
        "results.jsonl",
        "summary.json",
    ]
    records = records_of(tmp_path / "out")
    assert [Path(record["source"]).name for record in records] == ["astronaut.png", "hopper.png"]
    assert [[face["track"] for face in record["faces"]] for record in records] == [[None], [None]]
    assert "annotated pictures" in result.stderr
    assert "annotated video" not in result.stderr


def test_part_of_a_video(detect: Any, clip: Path, tmp_path: Path) -> None:
    options = ["--start", 1, "--duration", 1, "--every", 5, "--save", "jsonl"]
    assert detect(clip, *options).exit_code == 0
    records = records_of(tmp_path / "ferlite-output")
    assert [record["t"] for record in records] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])
    assert [record["frame"] for record in records] == [0, 5, 10, 15, 20]


def test_fps_limit(detect: Any, clip: Path, tmp_path: Path) -> None:
    assert detect(clip, "--fps-limit", 5, "--save", "jsonl").exit_code == 0
    assert len(records_of(tmp_path / "ferlite-output")) == 20


def test_min_face_leaves_small_faces_out(detect: Any, clip: Path, tmp_path: Path) -> None:
    for least, count in ((0, 2), (150, 0)):
        assert detect(clip, "--min-face", least, "--duration", 0.04, "-o", "o").exit_code == 0
        (record,) = records_of(tmp_path / "o")
        assert len(record["faces"]) == count


def test_detection_threshold_leaves_unsure_faces_out(
    detect: Any, clip: Path, tmp_path: Path
) -> None:
    counts = []
    for threshold in (0.3, 1):
        options = ["--detection-threshold", threshold, "--duration", 0.04, "-o", "o"]
        assert detect(clip, *options).exit_code == 0
        counts.append(len(records_of(tmp_path / "o")[0]["faces"]))
    assert counts == [2, 0]


def test_smoothing(detect: Any, clip: Path, tmp_path: Path) -> None:
    changes = []
    for seconds in (0, 5):
        options = ["--smoothing", seconds, "--duration", 1, "--save", "jsonl", "-o", "o"]
        assert detect(clip, *options).exit_code == 0
        faces = [f for record in records_of(tmp_path / "o") for f in record["faces"]]
        first = [f["emotions"]["happiness"] for f in faces if f["track"] == 1]
        changes.append(np.abs(np.diff(first)).mean())
        if seconds == 0:
            assert all(face["emotions"] == face["raw_emotions"] for face in faces)
    assert changes[1] < 0.3 * changes[0]


def test_precision(detect: Any, clip: Path, tmp_path: Path) -> None:
    for precision, file in (("fp32", "model.onnx"), ("int8", "model.int8.onnx")):
        options = ["--precision", precision, "--duration", 0.1, "--threads", 1, "-o", "o"]
        assert detect(clip, *options).exit_code == 0
        summary = summary_of(tmp_path / "o")
        assert summary["models"][0]["file"] == file
        assert summary["threads"] == 1


def test_detect_size(detect: Any, clip: Path, tmp_path: Path) -> None:
    face = tiny_face.write_bundle(tmp_path / "face", size=64)
    shares = {}
    for size in ("32", "320", "auto"):
        options = ["--detector", face, "--detect-size", size, "--duration", 0.04, "-o", "o"]
        assert detect(clip, *options).exit_code == 0
        shares[size] = {round(one["box"][2]) for one in records_of(tmp_path / "o")[0]["faces"]}
        summary = summary_of(tmp_path / "o")
        assert summary["options"]["detect_size"] == (size if size == "auto" else int(size))
        assert summary["detector"] == "tiny-face"
        assert summary["models"][1]["precision"] == "fp32"
    # Cells of 8 pixels of the picture searched are the larger in the frame, the smaller it is.
    assert min(shares["320"]) == 16 and not shares["32"] & shares["320"]
    assert min(shares["auto"]) == 16


@pytest.mark.shared
def test_yunet(detect: Any, clip: Path, tmp_path: Path, shared: Path) -> None:
    yunet = shared / "models" / "face_detection_yunet_2023mar.onnx"
    assert detect(clip, "--detector", yunet, "--duration", 0.1, "-o", "o").exit_code == 0
    records = records_of(tmp_path / "o")
    assert all(len(face["landmarks"]) == 5 for record in records for face in record["faces"])
    assert all(len(record["faces"]) == 2 for record in records)


def test_a_terminal_gets_a_bar_and_a_table(clip: Path, tiny: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(
        # Slow enough for the bar to know its pace.
        *("detect", clip, "--model", tiny, "--detector", "haar"),
        *("--duration", "2", "--save", "summary"),
        cwd=tmp_path,
        stderr=theirs,
        terminal="xterm-256color",
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # Linux reports the end of a pseudo-terminal as EIO
    finally:
        os.close(ours)
    assert process.communicate()[0] == ""
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    assert "clip.mp4" in text
    assert "50/50" in text
    assert re.search(r"[\d.]+/s", text)
    assert "2 faces" in text
    table = text[text.index("track ") :]
    assert re.search(r"\r\n +1 +\d+ +0\.0-2\.0 s +\w+ \d+ % +█", table)
    assert re.search(r"\r\n +all +\d+ ", table)
    assert "50 frames, " in table


@pytest.mark.shared
def test_real_crowd_times_and_size(tmp_path: Path, shared: Path) -> None:
    """The main job, with the model that comes with ferlite."""
    crowd = shared / "data" / "clips" / "crowd_1080p.mp4"
    done = ferlite_command("detect", crowd, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with av.open(str(crowd)) as container:
        stamps = [float(frame.time) for frame in container.decode(video=0)]
    assert [r["t"] for r in records_of(tmp_path / "out")] == pytest.approx(stamps, abs=1e-3)
    with av.open(str(tmp_path / "out" / "crowd_1080p.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == (1920, 1080)
        drawn = [float(frame.time) for frame in container.decode(stream)]
    assert drawn == pytest.approx(stamps, abs=1e-3)


@pytest.mark.shared
def test_a_clip_without_a_face_has_every_record(detect: Any, shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "clips" / "no_face.mp4"
    assert detect(source, "--save", "jsonl,summary").exit_code == 0
    with av.open(str(source)) as container:
        count = sum(1 for _ in container.decode(video=0))
    assert len(records_of(tmp_path / "ferlite-output")) == count > 50
