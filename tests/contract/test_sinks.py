"""What every sink must do, whichever it is."""

from __future__ import annotations

import gc
import io
import json
import os
import pathlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sink_records import LABELS, make_face, make_frame

from ferlite.errors import SinkError, UsageError
from ferlite.sinks import SINKS, Sink, StdoutJsonl, open_sinks
from ferlite.types import SourceInfo

STILL = SourceInfo("pictures/ä b.png", "image", 128, 96)
CLIP = SourceInfo("clips/day 1.mov", "arrays", 128, 96, fps=25.0)
LIVE = SourceInfo("rtsp://me:secret@cam.local:554/live/1", "live", 64, 48)

# What each leaves of a run over the three sources above.
FILES = {
    "jsonl": {"results.jsonl"},
    "csv": {"results.csv"},
    "video": {"day 1.mov.mp4", "cam.local-live-1.mp4"},
    "images": {"ä b.jpg"},
    "summary": {"summary.json"},
    "stdout": set(),
}


class Stdout(io.BytesIO):
    """Bytes where a terminal would be; StdoutJsonl takes any binary stream."""


def open_one(name: str, folder: Path) -> Sink:
    if name == "stdout":
        return StdoutJsonl(Stdout())
    (sink,) = open_sinks(folder, [name], labels=LABELS, threads=1)
    return sink


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def run_all(sink: Sink) -> None:
    """A still, a clip and a camera: faces, none, an error record, odd values."""
    sink.begin(STILL)
    sink.write(*make_frame(STILL, 0, 0.0, [make_face(track=None, landmarks=True)]))
    sink.begin(CLIP)
    for i in range(4):
        sink.write(*make_frame(CLIP, i, i / 25, [make_face()] * (i % 3)))
    sink.write(*make_frame(CLIP, 4, 0.16, error="frame 4 is damaged"))
    sink.write(*make_frame(CLIP, 5, 0.2, [make_face((np.nan, 0, 5, 5)), make_face(raw=np.nan)]))
    sink.begin(LIVE)
    sink.write(*make_frame(LIVE, 0, 5000.0, [make_face((-900, -900, 1e9, 1e9), uncertain=True)]))
    sink.write(*make_frame(LIVE, 1, 5000.1))


@pytest.fixture(params=[*SINKS, "stdout"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_finish_leaves_whole_files_and_nothing_else(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    run_all(sink)
    sink.finish()
    assert names_in(tmp_path) == FILES[name]
    assert all((tmp_path / file).stat().st_size > 0 for file in FILES[name])


def test_abort_after_finish_and_twice_changes_nothing(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    run_all(sink)
    sink.finish()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    sink.abort()
    sink.abort()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_abort_leaves_nothing_unfinished_under_a_final_name(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    run_all(sink)
    sink.abort()
    # The clip and the still were complete before the camera began.
    left = {
        "jsonl": {"results.jsonl.ferlite.part"},
        "csv": {"results.csv.ferlite.part"},
        "video": {"day 1.mov.mp4"},
        "images": {"ä b.jpg"},
    }
    assert names_in(tmp_path) == left.get(name, set())


def test_a_run_without_a_frame_is_no_error(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    sink.finish()
    assert names_in(tmp_path) == (FILES[name] if name in ("jsonl", "csv", "summary") else set())


def test_only_error_records(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    for info in (STILL, CLIP):
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, error=f"cannot read {info.name}"))
    sink.finish()
    assert names_in(tmp_path) == (FILES[name] if name in ("jsonl", "csv", "summary") else set())


def test_the_frame_is_not_touched(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    image.flags.writeable = False
    for info in (STILL, CLIP):
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, [make_face()], image=image))
    sink.finish()


def test_views_of_any_stride_are_taken(name: str, tmp_path: Path) -> None:
    sink = open_one(name, tmp_path)
    image = np.zeros((200, 300, 3), np.uint8)[::2, ::-2]
    for info in (STILL, CLIP):
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, [make_face()], image=image))
    sink.finish()


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (31, 2), (2000, 3)])
def test_any_size_of_picture(name: str, tmp_path: Path, size: tuple[int, int]) -> None:
    sink = open_one(name, tmp_path)
    image = np.zeros((*size, 3), np.uint8)
    for info in (STILL, CLIP):
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, [make_face((0, 0, 1, 1))], image=image))
    sink.finish()
    assert names_in(tmp_path) == FILES[name] - {"cam.local-live-1.mp4"}


def test_an_earlier_run_is_replaced(name: str, tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        sink = open_one(name, tmp_path)
        run_all(sink)
        sink.finish()
        made.append([(tmp_path / file).stat().st_mtime_ns for file in FILES[name]])
    assert names_in(tmp_path) == FILES[name]
    assert all(first < second for first, second in zip(*made, strict=True))


@pytest.mark.parametrize("name", SINKS)
def test_a_file_of_the_user_is_never_replaced(name: str, tmp_path: Path) -> None:
    for file in FILES[name]:
        (tmp_path / file).write_bytes(b"my own")
    try:
        sink = open_one(name, tmp_path)
    except SinkError as error:
        assert "a file of another kind is there" in str(error)
        assert names_in(tmp_path) == FILES[name]
    else:
        assert name in ("video", "images")
        run_all(sink)
        sink.finish()
        others = {f"{Path(file).stem}-2{Path(file).suffix}" for file in FILES[name]}
        assert names_in(tmp_path) == FILES[name] | others
    assert all((tmp_path / file).read_bytes() == b"my own" for file in FILES[name])


def test_sinks_tell_only_of_what_is_there(name: str, tmp_path: Path) -> None:
    words = {
        "jsonl": ("results.jsonl", "results.jsonl.ferlite.part"),
        "csv": ("results.csv", "results.csv.ferlite.part"),
        "video": ("annotated video", "annotated video"),
        "images": ("annotated pictures", "annotated pictures"),
        "summary": ("summary.json", ""),
        "stdout": ("", ""),
    }
    for number, end in enumerate(("finish", "abort")):
        sink = open_one(name, tmp_path / end)
        assert sink.written == ""
        run_all(sink)
        getattr(sink, end)()
        assert sink.written == words[name][number]


def test_memory_does_not_grow_with_the_frames(name: str, tmp_path: Path) -> None:
    nothing = Path(os.devnull).open("wb")  # noqa: SIM115, closed below
    sink: Sink = StdoutJsonl(nothing) if name == "stdout" else open_one(name, tmp_path)
    info = STILL if name == "images" else CLIP
    faces = [make_face(track=1), make_face(track=2)]
    image = np.zeros((16, 16, 3), np.uint8)

    def write(first: int, last: int) -> None:
        for i in range(first, last):
            sink.write(*make_frame(info, i, i / 25, faces, image=image))
        gc.collect()

    def traced() -> int:
        # pathlib interns file names, and now and then the interpreter's table of them grows.
        snapshot = tracemalloc.take_snapshot()
        others = snapshot.filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
        return sum(trace.size for trace in others.traces)

    sink.begin(info)
    count = 300 if name in ("video", "images") else 3000
    tracemalloc.start()
    try:
        write(0, count)
        sizes = [traced()]
        for part in (1, 3):
            write(part * count, (part + 2) * count)
            sizes.append(traced())
    finally:
        tracemalloc.stop()
        sink.finish()
        nothing.close()
    # The images of one name each remember that it is taken; 2 * 300 of them, 200 bytes each.
    # What grows with the frames grows each time; a table of coverage's grows once in a while.
    assert min(np.diff(sizes)) < (200_000 if name == "images" else 20_000)


UNWRITABLE = """
import resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[4])
from sink_records import LABELS, make_face, make_frame
from ferlite.errors import SinkError
from ferlite.sinks import open_sinks
from ferlite.types import SourceInfo

name, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
info = SourceInfo("p.png", "image") if name == "images" else SourceInfo("p", "arrays")
rng = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sinks = []
try:
    sinks = open_sinks(folder, [name], labels=LABELS, threads=1)
    sinks[0].begin(info)
    for i in range(400):
        noise = rng.integers(0, 256, (96, 128, 3), np.uint8)
        sinks[0].write(*make_frame(info, i, i / 25, [make_face()], image=noise))
    sinks[0].finish()
except SinkError as error:
    print(error)
    for sink in sinks:
        sink.abort()
"""


@pytest.mark.parametrize("name", SINKS)
@pytest.mark.parametrize("limit", [100, 1200])
def test_a_file_that_cannot_grow(name: str, tmp_path: Path, limit: int) -> None:
    """The kernel refuses every byte after `limit`, as a full disk does (EFBIG for ENOSPC)."""
    tests = Path(__file__).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-c", UNWRITABLE, name, str(tmp_path), str(limit), str(tests)],
        capture_output=True,
        text=True,
        cwd=tests.parent,
        check=True,
    )
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    assert run.stdout.startswith(f"cannot write '{tmp_path}/")
    assert "free some space" in run.stdout
    left = names_in(tmp_path)
    assert left <= {"results.jsonl.ferlite.part", "results.csv.ferlite.part"}
    for file in left:
        data = (tmp_path / file).read_bytes()
        assert len(data) <= limit
        assert data == b"" or data.endswith(b"\n")
    if name == "jsonl" and limit == 1200:
        records = (tmp_path / "results.jsonl.ferlite.part").read_text().splitlines()
        assert [json.loads(record)["frame"] for record in records] == list(range(len(records)))
        assert len(records) >= 1


@pytest.mark.parametrize("name", SINKS)
def test_dev_full(name: str, tmp_path: Path) -> None:
    """Linux's always full device in the place of each output."""
    (stem,) = FILES[name] if name != "video" else {"day 1.mov.mp4"}
    (tmp_path / f"{stem}.ferlite.part").symlink_to("/dev/full")
    sink: Sink | None = None
    with pytest.raises(SinkError, match=r"No space left on device; free some space") as caught:
        sink = open_one(name, tmp_path)
        run_all(sink)
        sink.finish()
    if sink is not None:
        sink.abort()
    assert str(tmp_path / stem) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stem not in names_in(tmp_path)


@pytest.mark.parametrize("name", SINKS)
def test_a_full_file_system(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "ferlite-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        (folder / "ballast").write_bytes(bytes(60 * 1024))
        info = STILL if name == "images" else CLIP
        sinks: list[Sink] = []
        rng = np.random.default_rng(0)
        with pytest.raises(SinkError, match="No space left on device"):
            sinks = open_sinks(folder, [name], labels=LABELS, threads=1)
            if name == "summary":
                (folder / "more").write_bytes(bytes(4 * 1024))
            sinks[0].begin(info)
            for i in range(200):
                noise = rng.integers(0, 256, (96, 128, 3), np.uint8)
                sinks[0].write(*make_frame(info, i, i / 25, [make_face()], image=noise))
            sinks[0].finish()
        for sink in sinks:
            sink.abort()
        left = names_in(folder) - {"ballast", "more"}
        assert left <= {"results.jsonl.ferlite.part", "results.csv.ferlite.part"} | FILES[
            "images"
        ] | {f"ä b-{i}.jpg" for i in range(9)}
        for file in left - {"results.jsonl.ferlite.part", "results.csv.ferlite.part"}:
            assert (folder / file).read_bytes().endswith(b"\xff\xd9")  # a whole JPEG
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", SINKS)
def test_a_folder_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here first")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SinkError, match="move what stands in the way") as caught:
            open_sinks(folder, [name], labels=LABELS)
        assert str(folder) in str(caught.value)
    with pytest.raises(SinkError, match="choose an output folder that you may write to"):
        open_sinks(Path("/sys/ferlite"), [name], labels=LABELS)
    assert (tmp_path / "file").read_text() == "here first"


@pytest.mark.parametrize("name", ["jsonl", "csv", "summary"])
def test_a_folder_in_the_place_of_a_file(name: str, tmp_path: Path) -> None:
    for file in FILES[name]:
        (tmp_path / file).mkdir()
    sink = open_one(name, tmp_path)
    with pytest.raises(SinkError, match="Is a directory"):
        run_all(sink)
        sink.finish()
    sink.abort()
    assert (
        names_in(tmp_path) - {"results.jsonl.ferlite.part", "results.csv.ferlite.part"}
        == FILES[name]
    )


def test_folders_are_made(tmp_path: Path) -> None:
    for sink in open_sinks(tmp_path / "a" / "b", SINKS, labels=LABELS):
        sink.finish()
    assert names_in(tmp_path / "a" / "b") == {"results.jsonl", "results.csv", "summary.json"}


def test_one_sink_that_fails_to_open_takes_the_others_with_it(tmp_path: Path) -> None:
    (tmp_path / "results.csv.ferlite.part").mkdir()
    with pytest.raises(SinkError, match=r"results\.csv"):
        open_sinks(tmp_path, ["jsonl", "csv"], labels=LABELS)
    assert "results.jsonl" not in names_in(tmp_path)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot save 'gif'; choose from video, images, jsonl"):
        open_sinks(tmp_path, ["jsonl", "gif"])
    with pytest.raises(UsageError, match="no output folder"):
        open_sinks(None, ["jsonl"])
    assert open_sinks(None, []) == []
    assert [type(sink).__name__ for sink in open_sinks(None, [], stdout=True)] == ["StdoutJsonl"]
    assert len(open_sinks(tmp_path, ["summary", "summary"])) == 1
    assert names_in(tmp_path) == set()


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, ferlite.sinks; print([m for m in ('cv2', 'av', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
