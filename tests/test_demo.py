"""The clip that the demo draws, and the demo itself with the model that comes with ferlite."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from command import ferlite_command, records_of

from ferlite.demo import clip
from ferlite.faces import open_detector
from ferlite.sources import Source


def test_clip_has_the_promised_times_and_size() -> None:
    frames = list(clip.DemoSource())
    assert len(frames) == clip.DURATION_S * clip.FPS == frames[0].source.frames
    assert [frame.t for frame in frames] == [i / clip.FPS for i in range(len(frames))]
    assert {frame.image.shape for frame in frames} == {(clip.HEIGHT, clip.WIDTH, 3)}
    assert frames[0].image.dtype == np.uint8


def test_clip_is_drawn_the_same_each_time() -> None:
    first, second = (next(iter(clip.DemoSource())).image for _ in range(2))
    assert np.array_equal(first, second)


def test_clip_moves_without_jumps() -> None:
    """Nothing but the one who leaves changes abruptly: neighbours differ by a few grey levels."""
    images = [image.astype(np.int16) for t, image in clip.frames(1.5)]
    steps = [np.abs(b - a).mean() for a, b in pairwise(images)]
    assert min(steps) > 0.05
    assert max(steps) < 9


def test_one_face_leaves_and_comes_back() -> None:
    detector = open_detector(min_face=64)
    counts = {round(t, 2): len(detector.detect(image)) for t, image in clip.frames()}
    leave, back = clip.AWAY_S
    assert {n for t, n in counts.items() if leave + 0.01 < t < back - 0.01} == {1}
    # Seen at the start and at the end, and away for less than a tracker's 0.5 s of memory.
    absent = [t for t, n in counts.items() if n < 2]
    assert len(absent) / clip.FPS < 0.5
    assert max(counts.values()) == 2


def test_source_is_a_source_that_can_be_closed() -> None:
    source = clip.DemoSource()
    assert isinstance(source, Source)
    seen = 0
    for _ in source:
        seen += 1
        if seen == 3:
            source.close()
    assert seen == 3


def test_still_is_one_picture() -> None:
    (frame,) = clip.DemoSource(still=True)
    assert frame.source.kind == "image"
    assert len(open_detector(min_face=64).detect(frame.image)) == 2


@pytest.mark.parametrize("name", ["astronaut.jpg", "hopper.jpg"])
def test_portraits_are_small_files(name: str) -> None:
    assert clip.portrait(name).shape == (400, 320, 3)
    assert (Path(clip.__file__).parent / name).stat().st_size < 35_000


def test_demo_command_end_to_end(tmp_path: Path) -> None:
    done = ferlite_command("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100 frames" in done.stderr
    assert "2 tracks" in done.stderr
    folder = tmp_path / "ferlite-demo"
    assert sorted(path.name for path in folder.iterdir()) == [
        "demo.mp4",
        "results.jsonl",
        "summary.json",
    ]
    records = records_of(folder)
    assert [record["t"] for record in records] == [i / 25 for i in range(100)]
    assert {face["track"] for record in records for face in record["faces"]} == {1, 2}
    with av.open(str(folder / "demo.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (clip.WIDTH, clip.HEIGHT)
        assert sum(1 for _ in container.decode(stream)) == 100
    # The left portrait smiles broadly, which any usable model sees.
    left = [f for record in records for f in record["faces"] if f["box"][0] < clip.WIDTH / 3]
    assert len({face["track"] for face in left}) == 1
    assert sum(face["emotion"] == "happiness" for face in left) > 0.9 * len(left)
    assert json.loads((folder / "summary.json").read_text())["tracks_total"] == 2


def test_demo_picture(tmp_path: Path, tiny: Path) -> None:
    done = ferlite_command("demo", "--picture", "--model", tiny, "-o", "look", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    drawn = cv2.imread(str(tmp_path / "look" / "demo.jpg"))
    assert drawn is not None
    assert drawn.shape == (clip.HEIGHT, clip.WIDTH, 3)
    # Boxes and labels were drawn on it.
    plain = next(iter(clip.DemoSource(still=True))).image
    assert np.abs(drawn.astype(int) - plain).max() > 100
    (record,) = records_of(tmp_path / "look")
    assert [face["track"] for face in record["faces"]] == [None, None]
