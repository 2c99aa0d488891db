"""`ferlite detect` on what is not in order: one clear line, the right status, no ruins."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ferlite_command, records_of
from numpy.typing import NDArray

Portraits = dict[str, NDArray[np.uint8]]


def turned_jpeg(image: NDArray[np.uint8]) -> bytes:
    """A JPEG whose pixels lie on their side and whose EXIF says so (orientation 6)."""
    pixels = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    # TIFF header, one directory of one entry: tag 0x0112, SHORT, 1 value, 6.
    tiff = bytes.fromhex("49492a00080000000100120103000100000006000000 00000000")
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


@pytest.fixture
def mixed(tmp_path: Path, portraits: Portraits) -> Path:
    """Pictures of one face in every form, and what is none, in one folder."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    face = portraits["hopper"]
    for name, image in {
        "good-1.jpg": portraits["astronaut"],
        "good-2.png": face,
        "alpha.png": np.dstack([face, np.full(face.shape[:2], 90, np.uint8)]),
        "deep.png": face.astype(np.uint16) * 257,
        "gray.png": cv2.cvtColor(face, cv2.COLOR_BGR2GRAY),
        "dot.png": np.zeros((1, 1, 3), np.uint8),
    }.items():
        cv2.imwrite(str(folder / name), image)
    (folder / "rotated.jpg").write_bytes(turned_jpeg(face))
    (folder / "broken.jpg").write_bytes((folder / "good-1.jpg").read_bytes()[:300])
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("not a picture\n")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    return folder


BAD = ["broken.jpg", "empty.jpg", "gone.jpg", "text.png"]


def test_a_folder_of_good_and_bad_pictures(mixed: Path, tiny: Path, tmp_path: Path) -> None:
    command = ("detect", mixed, "--model", tiny, "-o", "out", "--min-face", "40")
    done = ferlite_command(*command, cwd=tmp_path)
    assert done.returncode == 1
    records = {Path(r["source"]).name: r for r in records_of(tmp_path / "out")}
    assert sorted(records) == sorted(path.name for path in mixed.iterdir())
    assert sorted(name for name, record in records.items() if "error" in record) == BAD
    faces = {n: len(r["faces"]) for n, r in records.items() if "error" not in r}
    assert faces.pop("dot.png") == 0
    assert faces == dict.fromkeys(faces, 1)
    # The turned picture is shown upright, and so is its box.
    upright, turned = (records[name]["faces"][0]["box"] for name in ("good-2.png", "rotated.jpg"))
    assert (records["rotated.jpg"]["width"], records["rotated.jpg"]["height"]) == (512, 600)
    assert turned == pytest.approx(upright, abs=12)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(BAD)
    for name in BAD:
        assert any(name in line for line in lines), name
    assert "11 frames" in done.stderr
    assert "4 failed" in done.stderr
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    # Two pictures are called good-1 and good-2; nothing is left of the bad ones.
    assert made == sorted(
        [f"{n}.jpg" for n in ("alpha", "deep", "dot", "good-1", "good-2", "gray", "rotated")]
        + ["results.csv", "results.jsonl", "summary.json"]
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["failures"]) == summary["errors"] == len(BAD)


def test_a_broken_video_among_good_ones(clip: Path, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(clip, folder / "b.mp4")
    (folder / "a.mp4").write_bytes(clip.read_bytes()[:2000])
    done = ferlite_command(
        *("detect", folder, "--model", tiny, "--duration", "0.2", "-o", "out"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "a.mp4" in done.stderr.splitlines()[0]
    records = records_of(tmp_path / "out")
    assert [("error" in r, Path(r["source"]).name) for r in records] == [
        (True, "a.mp4"),
        *[(False, "b.mp4")] * 5,
    ]
    assert not (tmp_path / "out" / "a.mp4").exists()


class Refused:
    """A command that must be refused before anything is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path) -> tuple[int, str]:
        """Exit status and the single line on stderr."""
        done = ferlite_command("detect", *arguments, cwd=self.folder)
        assert done.stdout == ""
        assert not (self.folder / "ferlite-output").exists()
        return done.returncode, done.stderr


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Refused]:
    before = set(tmp_path.rglob("*"))
    yield Refused(tmp_path)
    made = {p for p in set(tmp_path.rglob("*")) - before if ".cache" not in p.parts}
    assert not [path for path in made if path.name.startswith("ferlite-") or path.suffix == ".part"]


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.count("\n") == 1, text
    return text


def test_missing_file(refused: Refused, tiny: Path) -> None:
    status, text = refused("nothing.mp4", "--model", tiny)
    assert status == 1
    assert "nothing.mp4: no such file" in one_line(text)


def test_one_missing_file_among_several(refused: Refused, clip: Path, tiny: Path) -> None:
    status, text = refused(clip, "nothing.mp4", "--model", tiny)
    assert status == 1
    assert "nothing.mp4: no such file" in one_line(text)


def test_folder_without_media(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    status, text = refused(folder, "--model", tiny)
    assert status == 1
    assert "docs: no pictures or videos in this folder" in one_line(text)


def test_a_file_that_is_no_media(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("hello")
    status, text = refused(tmp_path / "notes.mp4", "--model", tiny)
    assert status == 1
    assert "notes.mp4" in one_line(text)


def test_no_camera(refused: Refused, tiny: Path) -> None:
    status, text = refused("98", "--model", tiny)
    assert status == 1
    assert "98" in one_line(text)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "SOURCE"),
        (["--provider", "cuda"], "cuda"),
        (["--precision", "fp16"], "fp16"),
        (["--save", "jsonl,xml"], "'xml'"),
        (["--save", ""], "an empty list"),
        (["--every", "0"], "--every"),
        (["--every", "two"], "two"),
        (["--threads", "-1"], "--threads"),
        (["--threads", "257"], "--threads"),
        (["--reconnect", "-1"], "--reconnect"),
        (["--reconnect", "nan"], "reconnect_s=nan"),
        (["-o", ""], "--output"),
        (["--model", ""], "--model"),
        (["--detector", ""], "--detector"),
        (["--duration", "0"], "--duration"),
        (["--start", "-1"], "--start"),
        (["--start", "nan"], "start_s=nan"),
        (["--fps-limit", "0"], "--fps-limit"),
        (["--min-face", "-5"], "--min-face"),
        (["--detection-threshold", "1.5"], "--detection-threshold"),
        (["--smoothing", "-1"], "--smoothing"),
        (["--detector", "mtcnn"], "mtcnn"),
        (["--detector", "yunet"], "yunet"),
        (["--detect-size", "0"], "'0'; use auto, or pixels from 32 to 8192"),
        (["--detect-size", "9000"], "'9000'; use auto, or pixels from 32 to 8192"),
        (["--detect-size", "big"], "'big'; use auto"),
        (["--detect-size", ""], "''; use auto"),
        (["--colour"], "--colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
    refused: Refused, clip: Path, tiny: Path, arguments: list[str], named: str
) -> None:
    sources = [clip, "--model", tiny] if arguments else []
    status, text = refused(*sources, *arguments)
    assert status == 2
    assert named in one_line(text)


def test_no_such_model(refused: Refused, clip: Path) -> None:
    status, text = refused(clip, "--model", "grumpy")
    assert status == 1
    assert "no model 'grumpy'" in one_line(text)


def test_model_that_is_not_onnx(refused: Refused, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"not a network" * 40)
    status, text = refused(clip, "--model", "junk.onnx")
    assert status == 1
    assert "junk.onnx: not a usable ONNX model" in one_line(text)


def test_detector_that_is_not_onnx(
    refused: Refused, clip: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"not a network" * 40)
    status, text = refused(clip, "--model", tiny, "--detector", "junk.onnx")
    assert status == 1
    assert "junk.onnx" in one_line(text)


def test_model_with_a_wrong_checksum(
    refused: Refused, clip: Path, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "changed")
    with (tmp_path / "changed" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    status, text = refused(clip, "--model", "changed")
    assert status == 1
    assert "changed/model.onnx: SHA-256 is " in one_line(text)


def test_output_below_a_file(refused: Refused, clip: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("keep me")
    for folder in ("taken", "taken/below"):
        status, text = refused(clip, "--model", tiny, "-o", folder)
        assert status == 1
        assert f"cannot write '{folder}'" in one_line(text)
    assert (tmp_path / "taken").read_text() == "keep me"


def test_output_on_a_kernel_file_system(refused: Refused, clip: Path, tiny: Path) -> None:
    """No permission helps there, not even root's."""
    status, text = refused(clip, "--model", tiny, "-o", "/proc/ferlite")
    assert status == 1
    assert "cannot write '/proc/ferlite'" in one_line(text)


@pytest.mark.parametrize("kibibytes", [8, 60])
def test_full_disk(clip: Path, tiny: Path, tmp_path: Path, kibibytes: int) -> None:
    """The limit on the size of files stands in for a disk that fills up during the run."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes << 10, kibibytes << 10))

    done = ferlite_command(
        *("detect", clip, "--model", tiny, "--precision", "fp32", "-o", "out"),
        cwd=tmp_path,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert "File too large; free some space" in one_line(done.stderr)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    # Nothing under a final name; the records read so far, whole ones only, under another.
    assert left <= {"results.jsonl.ferlite.part", "results.csv.ferlite.part"}
    lines = (tmp_path / "out" / "results.jsonl.ferlite.part").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < 100


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_really_full_disk(clip: Path, tiny: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this container may not mount")
    try:
        done = ferlite_command("detect", clip, "--model", tiny, "-o", small, cwd=tmp_path)
        assert done.returncode == 1
        assert "No space left on device; free some space" in one_line(done.stderr)
        assert {p.name for p in small.iterdir()} <= {
            "results.jsonl.ferlite.part",
            "results.csv.ferlite.part",
        }
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_standard_output_on_a_full_disk(clip: Path, tiny: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = ferlite_command(
            *("detect", clip, "--model", tiny, "--stdout"), cwd=tmp_path, stdout=full
        )
    assert done.returncode == 1
    assert "standard output" in one_line(done.stderr)
    assert "No space left" in done.stderr


def test_an_address_of_another_kind_is_found_out_first(
    refused: Refused, clip: Path, tiny: Path
) -> None:
    status, error = refused(clip, "ftp://host/b.mp4", "--model", tiny)
    assert status == 2
    assert "cannot open ftp://" in one_line(error)


def test_more_frames_a_second_than_there_are(refused: Refused, clip: Path, tiny: Path) -> None:
    status, error = refused(clip, "--fps-limit", "1e308", "--model", tiny)
    assert status == 2
    assert "fps_limit=1e+308: give at most" in one_line(error)


def test_a_pipe_in_a_folder_is_no_picture(portraits: Portraits, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "a.jpg")
    cv2.imwrite(str(folder / "b.jpg"), portraits["hopper"])
    done = ferlite_command("detect", folder, "--model", tiny, "--stdout", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()] == ["b.jpg"]


def test_a_pipe_where_results_go(refused: Refused, clip: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "results.jsonl")
    status, error = refused(clip, "--model", tiny, "-o", tmp_path / "out")
    assert status == 1
    assert "a pipe or device is there; move it" in one_line(error)


def test_the_unfinished_download_of_another_program(clip: Path, tiny: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(clip, tmp_path / "holiday.mkv"))
    download = tmp_path / "holiday.mp4.part"
    download.write_bytes(b"half a film")
    done = ferlite_command(
        *("detect", source, "--model", tiny, "-o", ".", "--save", "video", "--duration", "0.2"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert download.read_bytes() == b"half a film"
    assert (tmp_path / "holiday.mp4").is_file()


def test_what_fits_no_source_is_told(clip: Path, tiny: Path, tmp_path: Path) -> None:
    done = ferlite_command(
        *("detect", clip, "--model", tiny, "-o", "out", "--save", "images", "--duration", "0.2"),
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert "nothing written to out: what --save names does not fit these sources" in done.stderr
