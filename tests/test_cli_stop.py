"""Runs that are ended early: Ctrl-C, a service being stopped, a reader that has seen enough."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from command import PACKAGE_ROOT, records_of, start


def wait_for_records(part: Path, count: int) -> None:
    """Until `count` records are in the file, or the test fails."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if part.is_file() and part.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"{part} did not get {count} records")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_whole_files(
    clip: Path, tiny: Path, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    # Ten times the clip, so that the run is not over before it is stopped.
    process = start("detect", *[clip] * 10, "--model", tiny, "-o", "out", cwd=tmp_path)
    folder = tmp_path / "out"
    try:
        wait_for_records(folder / "results.jsonl.ferlite.part", 110)
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    records = records_of(folder)
    assert 110 <= len(records) < 1000
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert summary["frames"] == len(records)
    assert f"{len(records)} frames" in stderr
    # The first video is complete, the second has what was read; none is half-written.
    assert not list(folder.glob("*.part"))
    lengths = []
    for path in (folder / "clip.mp4", folder / "clip-2.mp4"):
        with av.open(str(path)) as container:
            lengths.append(sum(1 for _ in container.decode(video=0)))
    assert lengths[0] == 100
    assert sum(lengths) == min(200, len(records))


def test_stdout_is_whole_records_after_an_interrupt(clip: Path, tiny: Path, tmp_path: Path) -> None:
    process = start("detect", *[clip] * 10, "--model", tiny, "--stdout", cwd=tmp_path)
    assert process.stdout is not None
    first = b""
    try:
        # Not readline: what that reads ahead, communicate never sees.
        while b"\n" not in first:
            first += os.read(process.stdout.fileno(), 1 << 16)
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    records = [json.loads(line) for line in (first.decode() + rest).splitlines()]
    assert [record["frame"] for record in records] == list(range(len(records)))


def test_a_reader_that_has_seen_enough_is_no_failure(
    clip: Path, tiny: Path, tmp_path: Path
) -> None:
    process = start(
        *("detect", *[clip] * 3, "--model", tiny, "--stdout", "-o", "out"),
        *("--save", "jsonl,summary"),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) == 0, stderr
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in stderr
    assert "error" not in stderr
    # The files are wanted whole all the same.
    assert len(records_of(tmp_path / "out")) == 300
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["frames"], summary["interrupted"]) == (300, False)
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_reader_of_text_that_has_seen_enough(tmp_path: Path, tiny: Path) -> None:
    process = start("models", "show", tiny, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert stderr == ""


def test_a_service_manager_that_asks_twice(clip: Path, tiny: Path, tmp_path: Path) -> None:
    # `timeout` sends SIGTERM to the process and to its group.
    process = start("detect", *[clip] * 10, "--model", tiny, "-o", "out", cwd=tmp_path)
    try:
        wait_for_records(tmp_path / "out" / "results.jsonl.ferlite.part", 50)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["interrupted"] is True
    assert not list((tmp_path / "out").glob("*.part"))


def in_a_shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(PACKAGE_ROOT), "XDG_CACHE_HOME": str(cwd / ".cache")}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "2> >(exec true)"])
def test_a_run_goes_on_where_nobody_reads_its_messages(
    clip: Path, tiny: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "empty.jpg").touch()
    sources = f"empty.jpg {shlex.quote(str(clip))} empty.jpg"
    command = f"sleep 0.2; {sys.executable} -m ferlite detect {sources} --model {tiny} -o out"
    done = in_a_shell(f"( {command} ) {where}", tmp_path)
    assert len(records_of(tmp_path / "out")) == 102
    assert not list((tmp_path / "out").glob("*.part"))
    assert "Traceback" not in done.stderr
    if where == "2>&-":
        assert done.returncode == 1


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("--help >/dev/full", 1, "error: No space left on device\n"),
        ("models list >/dev/full", 1, "error: No space left on device\n"),
        ("detect {clip} --model {tiny} --stdout >&-", 1, "error: standard output is closed"),
    ],
)
def test_a_standard_output_that_takes_nothing(
    clip: Path, tiny: Path, tmp_path: Path, command: str, status: int, words: str
) -> None:
    line = f"{sys.executable} -m ferlite {command.format(clip=shlex.quote(str(clip)), tiny=tiny)}"
    done = in_a_shell(line, tmp_path)
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1
    assert done.returncode == status
