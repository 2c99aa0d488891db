"""JSON Lines: what is in a record, when it is there, and what happens to a reader that leaves."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sink_records import make_face, make_frame

from ferlite.errors import SinkError
from ferlite.sinks import JsonLines, ReaderGone, StdoutJsonl
from ferlite.sinks.jsonl import to_json
from ferlite.types import SourceInfo

INFO = SourceInfo("clip.mp4", "video", 128, 96)


def strict(text: str) -> object:
    """Parse as JSON's grammar has it: Python's own parser takes NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"not JSON: {constant}")

    return json.loads(text, parse_constant=refuse)


def test_a_record_is_the_results_own_dict(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    sink = JsonLines(path)
    results = [
        make_frame(INFO, 0, 0.0, [make_face(landmarks=True), make_face(track=2)]),
        make_frame(INFO, 1, 1 / 30),
        make_frame(INFO, 2, 2 / 30, error="cannot decode frame 2"),
    ]
    for frame, result in results:
        sink.write(frame, result)
    sink.finish()
    lines = path.read_text(encoding="utf-8").splitlines()
    expected = [json.loads(json.dumps(result.to_dict())) for _, result in results]
    assert [strict(line) for line in lines] == expected


def test_each_record_can_be_read_at_once(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "results.jsonl")
    part = tmp_path / "results.jsonl.ferlite.part"
    for i in range(3):
        sink.write(*make_frame(INFO, i))
        assert [json.loads(line)["frame"] for line in part.read_text().splitlines()] == list(
            range(i + 1)
        )
    sink.abort()
    assert part.read_text().count("\n") == 3


def test_no_nan_and_no_infinity(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    sink = JsonLines(path)
    face = make_face((math.nan, math.inf, 1.0, 2.0), confidence=math.nan, landmarks=True)
    sink.write(*make_frame(INFO, 0, math.nan, [face]))
    sink.finish()
    record = strict(path.read_text())
    assert isinstance(record, dict)
    assert record["t"] is None
    assert record["faces"][0]["box"] == [None, None, 1.0, 2.0]
    assert record["faces"][0]["confidence"] is None


@pytest.mark.parametrize("name", ["ä ö/日本 😀.mp4", 'a"b\\c\nd.mp4', "\x01.mp4"])
def test_any_name(tmp_path: Path, name: str) -> None:
    sink = JsonLines(tmp_path / "results.jsonl")
    sink.write(*make_frame(SourceInfo(name, "video")))
    sink.finish()
    text = (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert json.loads(text)["source"] == name


def test_a_name_of_bytes_that_are_not_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    sink = JsonLines(tmp_path / "results.jsonl")
    sink.write(*make_frame(SourceInfo(name, "video")))
    sink.finish()
    assert os.fsencode(json.loads((tmp_path / "results.jsonl").read_bytes())["source"]) == (
        b"caf\xe9.mp4"
    )


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert json.loads(to_json({"path": Path("a/b"), "n": np.float32(0.5)})) == {
        "path": "a/b",
        "n": "0.5",
    }


WRITER = """
import resource
import sys
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
from sink_records import make_face, make_frame
from ferlite.errors import SinkError
from ferlite.sinks import ReaderGone, StdoutJsonl
from ferlite.types import SourceInfo

sink = StdoutJsonl()
info = SourceInfo("clip.mp4", "video", 128, 96)
try:
    for i in range(100_000):
        sink.write(*make_frame(info, i, i / 25, [make_face()]))
except ReaderGone:
    sys.stderr.write(f"gone after {i}")
except SinkError as error:
    sys.stderr.write(f"{error}")
sink.finish()
"""


def writer(stdout: int, limit: int = resource.RLIM_INFINITY) -> subprocess.Popen[bytes]:
    tests = Path(__file__).resolve().parent
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tests), str(limit)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=tests.parent,
    )


def test_a_reader_that_leaves_ends_the_run_in_silence() -> None:
    """As in `ferlite detect clip.mp4 --stdout | head -n 2`."""
    with writer(subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        head = [process.stdout.readline() for _ in range(2)]
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait() == 0
    assert [json.loads(line)["frame"] for line in head] == [0, 1]
    # No "Exception ignored ... BrokenPipeError" from the interpreter's own last flush either.
    assert errors.startswith("gone after ")
    assert errors.removeprefix("gone after ").isdigit()


def test_standard_output_on_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full, writer(full.fileno()) as process:
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        assert process.wait() == 0
    assert errors == (
        "cannot write 'standard output': No space left on device; "
        "free some space or send it elsewhere"
    )


def test_a_full_disk_leaves_whole_records_in_a_file(tmp_path: Path) -> None:
    """As in `ferlite detect clip.mp4 --stdout >> faces.jsonl`, day after day."""
    records = tmp_path / "faces.jsonl"
    for limit in (50_000, 200_000):
        with records.open("ab") as file, writer(file.fileno(), limit=limit) as process:
            assert process.stderr is not None
            errors = process.stderr.read().decode()
        assert errors.startswith("cannot write 'standard output': File too large")
        lines = records.read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert len([json.loads(line) for line in lines]) > limit // 1000


def test_reader_gone_is_no_error_of_ferlite() -> None:
    assert not issubclass(ReaderGone, SinkError)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as stream:  # noqa: PTH123, a descriptor has no path
        sink = StdoutJsonl(stream)
        with pytest.raises(ReaderGone):
            sink.write(*make_frame(INFO))
