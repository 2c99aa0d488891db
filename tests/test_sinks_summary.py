"""summary.json: the counts, the shares, and how much is remembered."""

from __future__ import annotations

import gc
import json
import math
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sink_records import LABELS, make_face, make_frame

from ferlite.sinks import Summary
from ferlite.types import SourceInfo

CLIP = SourceInfo("clip.mp4", "video", 128, 96)
STILL = SourceInfo("a.png", "image")


def finished(sink: Summary, folder: Path) -> dict[str, Any]:
    sink.finish()
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def test_counts_and_shares(tmp_path: Path) -> None:
    sink = Summary(tmp_path / "summary.json")
    sink.begin(CLIP)
    sink.write(*make_frame(CLIP, 0, 1.0, [make_face(raw=0.9), make_face(emotion="fear", track=2)]))
    sink.write(*make_frame(CLIP, 1, 1.5, [make_face(raw=0.5, uncertain=True)]))
    sink.write(*make_frame(CLIP, 2, 2.0))
    sink.begin(STILL)
    sink.write(*make_frame(STILL, 0, 0.0, [make_face(track=None, raw=0.3)]))
    sink.write(*make_frame(STILL, 0, 0.0, error="cannot read a.png"))
    summary = finished(sink, tmp_path)

    totals = ("frames", "frames_with_faces", "faces", "errors", "uncertain", "tracks_total")
    assert [summary[name] for name in totals] == [5, 3, 4, 1, 1, 2]
    # happiness 0.9, 0.5, 0.3 and the rest of a face that is 0.72 fear
    assert summary["emotions"]["happiness"] == pytest.approx((1.7 + 0.28 / 7) / 4, abs=1e-4)
    assert summary["emotion"] == "happiness"
    assert sum(summary["emotions"].values()) == pytest.approx(1, abs=1e-3)
    assert list(summary["emotions"]) == list(LABELS)

    clip, still = summary["sources"]
    assert (clip["source"], clip["frames"], clip["faces"]) == ("clip.mp4", 3, 3)
    assert (clip["first_t"], clip["last_t"], clip["width"]) == (1.0, 2.0, 128)
    assert (still["kind"], still["errors"], still["width"]) == ("image", 1, 128)
    assert summary["failures"] == [{"source": "a.png", "frame": 0, "error": "cannot read a.png"}]

    first, second = summary["tracks"]
    assert (first["source"], first["track"], first["frames"]) == ("clip.mp4", 1, 2)
    assert (first["first_t"], first["last_t"], first["uncertain"]) == (1.0, 1.5, 1)
    assert first["emotions"]["happiness"] == pytest.approx(0.7, abs=1e-4)
    assert (second["track"], second["emotion"], second["frames"]) == (2, "fear", 1)

    assert summary["seconds"] >= 0
    started, ended = (datetime.fromisoformat(summary[name]) for name in ("started", "finished"))
    assert started <= ended
    assert started.utcoffset() is not None


def test_track_one_of_two_videos_is_two_tracks(tmp_path: Path) -> None:
    sink = Summary(tmp_path / "summary.json")
    for name in ("a.mp4", "b.mp4"):
        info = SourceInfo(name, "video")
        sink.begin(info)
        sink.write(*make_frame(info, 0, 0.0, [make_face(track=1)]))
    summary = finished(sink, tmp_path)
    assert [(t["source"], t["track"]) for t in summary["tracks"]] == [("a.mp4", 1), ("b.mp4", 1)]


def test_facts_of_the_caller(tmp_path: Path) -> None:
    sink = Summary(tmp_path / "summary.json")
    sink.add({"provider": "cpu", "models": [{"name": "emotion", "sha256": "00"}]})
    sink.add({"stages": {"decode": 1.5, "idle": math.nan}, "provider": "openvino", "o": Path("x")})
    summary = finished(sink, tmp_path)
    assert summary["provider"] == "openvino"
    assert summary["models"][0]["sha256"] == "00"
    assert summary["stages"] == {"decode": 1.5, "idle": None}
    assert summary["o"] == "x"


def test_an_empty_run(tmp_path: Path) -> None:
    summary = finished(Summary(tmp_path / "summary.json"), tmp_path)
    assert (summary["frames"], summary["emotion"], summary["emotions"]) == (0, None, {})


def test_one_nan_does_not_spoil_the_means(tmp_path: Path) -> None:
    sink = Summary(tmp_path / "summary.json")
    sink.begin(CLIP)
    sink.write(*make_frame(CLIP, 0, 0.0, [make_face(raw=math.nan), make_face(raw=0.6)]))
    summary = finished(sink, tmp_path)
    assert summary["faces"] == 2
    assert summary["emotions"]["happiness"] == 0.6


def test_an_endless_run_remembers_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferlite.sinks.summary.REMEMBERED", 50)
    sink = Summary(tmp_path / "summary.json")

    def run(first: int, last: int) -> int:
        tracemalloc.start()
        for i in range(first, last):
            info = SourceInfo(f"{i}.mp4", "video")
            sink.begin(info)
            faces = [make_face(track=2 * i), make_face(track=2 * i + 1)]
            sink.write(*make_frame(info, 0, 0.0, faces))
            sink.write(*make_frame(info, 1, 0.1, error="broken"))
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    run(0, 200)  # what fills the memory to its bound is not traced below
    some = run(200, 400)
    assert run(400, 1400) < 1.2 * some
    summary = finished(sink, tmp_path)
    assert (summary["sources_total"], summary["tracks_total"]) == (1400, 2800)
    assert (summary["frames"], summary["faces"], summary["errors"]) == (2800, 2800, 1400)
    assert [source["source"] for source in summary["sources"]] == [
        f"{i}.mp4" for i in range(1350, 1400)
    ]
    assert [track["track"] for track in summary["tracks"]] == list(range(2750, 2800))
    assert len(summary["failures"]) == 100


def test_a_track_that_goes_on_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferlite.sinks.summary.REMEMBERED", 10)
    sink = Summary(tmp_path / "summary.json")
    sink.begin(CLIP)
    for i in range(100):
        sink.write(*make_frame(CLIP, i, i / 25, [make_face(track=1), make_face(track=2 + i)]))
    summary = finished(sink, tmp_path)
    assert summary["tracks"][0]["track"] == 1
    assert summary["tracks"][0]["frames"] == 100
    assert [track["track"] for track in summary["tracks"][1:]] == list(range(93, 102))
