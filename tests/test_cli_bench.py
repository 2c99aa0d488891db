"""`ferlite bench`: that what it reports is whole and true, not how fast this machine is."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_face
import tiny_model
from click.testing import CliRunner, Result
from command import start
from numpy.typing import NDArray

from ferlite import Analyzer, bench, bundles, precision, session
from ferlite.bench import machine, video
from ferlite.bench.networks import BATCHES, Networks, faces
from ferlite.bench.timing import Row, in_turns, percentile
from ferlite.cli import main
from ferlite.emotion import EmotionClassifier
from ferlite.errors import ProviderError
from ferlite.types import Detections

STAGES = ["decode", "detect", "crop", "classify", "track", "write", "frame"]


@pytest.fixture(autouse=True)
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured, but for no longer than it takes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MEASURE_S", 0.01)
    monkeypatch.setattr(bench, "QUICK", bench.Plan(rounds=2, video_s=0.2, network_s=0.01))
    monkeypatch.setattr(bench, "thread_counts", lambda: [1, 2])
    monkeypatch.setattr(session, "default_threads", lambda: 2)
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", "--quick", *map(str, arguments)])


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """A detector of bright squares, in fp32 and INT8."""
    return tiny_face.write_bundle(tmp_path / "face", int8=tiny_face.network())


def check_row(row: dict[str, Any]) -> None:
    assert row["calls"] >= 2, row
    assert 0 < row["p50_ms"] <= row["p95_ms"], row
    low, high = row["per_s_range"]
    assert 0 < low <= row["per_s"] <= high, row


def test_every_figure_is_there(clip: Path, tiny: Path, tmp_path: Path) -> None:
    arguments = ("--video", clip, "--detector", "haar", "--model", tiny, "--json", "bench.json")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "round 2 of 2: the networks" in result.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    assert (report["schema"], report["complete"], report["rounds"]) == (1, True, 2)
    assert report["seconds"] > 0
    assert report["machine"]["threads_default"] == 2
    clip_facts = {"name": str(clip), "width": 320, "height": 180, "frames": 100, "fps": 25.0}
    assert report["clip"] == clip_facts
    assert report["runs"]["detector"] == "haar"
    assert report["runs"]["models"][0]["name"] == "tiny"

    assert report["process"]["first_record_s"] > 0
    assert report["process"]["records"] >= 1
    assert 20 < report["process"]["peak_mb"] < 4000

    assert [row["stage"] for row in report["stages"]] == STAGES
    for row in report["stages"]:
        check_row(row)
    assert [row["threads"] for row in report["whole"]] == [1, 2]
    for row in report["whole"]:
        assert 0 < row["per_s_range"][0] <= row["per_s"] <= row["per_s_range"][1]
    assert report["pace"]["slowest"] in ("decode", "detect", "crop + classify + track", "write")
    assert report["pace"]["ratio"] > 0

    # The same answers stage by stage as in the pipeline, of real faces.
    answers = report["answers"]
    assert answers["frames"] >= 2
    assert answers["faces"] >= answers["frames"]
    assert answers["frames_differing"] == 0
    assert answers["largest_box_difference_px"] < 0.01
    assert answers["largest_probability_difference"] < 1e-3

    providers = [name for name, works, _ in session.providers() if works]
    assert {row["provider"] for row in report["emotion"]} == set(providers)
    found = {(r["provider"], r["precision"], r["threads"], r["batch"]) for r in report["emotion"]}
    kinds = ("fp32", "int8")
    assert found == {
        *((one, kind, 2, batch) for one in providers for kind in kinds for batch in BATCHES),
        *((one, kind, 1, 16) for one in providers for kind in kinds),
    }
    for row in report["emotion"]:
        check_row(row)
        # The tiny network's INT8 is close to its fp32, and fp32 to itself.
        assert row["differs"] <= (0.05 if row["precision"] == "int8" else 1e-4)
    assert report["detector"] == []
    assert {one["provider"] for one in report["unavailable"]} == {"cpu", "openvino"} - {*providers}

    for word in (*STAGES, "int8", "emotion network", "energy:", "first record", "MB at most"):
        assert word in result.stdout, word
    assert "interrupted" not in result.stdout
    assert sorted(path.name for path in tmp_path.glob("bench*")) == ["bench.json"]


def test_a_detector_of_ferlites_own_kind(
    clip: Path, tiny: Path, face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "QUICK", bench.Plan(2, 0.2, 0.01, limit_s=0))
    arguments = ("--video", clip, "--detector", face, "--model", tiny, "--json", "bench.json")
    assert invoke(*arguments).exit_code == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["rounds"] == 1  # no time for another
    rows = report["detector"]
    assert {(row["precision"], row["threads"]) for row in rows if row["provider"] == "cpu"} == {
        (kind, threads) for kind in ("fp32", "int8") for threads in (1, 2)
    }
    for row in rows:
        assert (row["batch"], row["differs"]) == (1, 0)
    # A second run replaces what the first wrote.
    (tmp_path / "bench.json").write_text(json.dumps(report | {"rounds": 7}, indent=2))
    assert invoke(*arguments).exit_code == 0
    assert json.loads((tmp_path / "bench.json").read_text())["rounds"] == 1


def networks(emotion: Path, detector: Path | str, **options: Any) -> Networks:
    bundle = bundles.find(emotion)
    assert isinstance(bundle, bundles.EmotionBundle)
    defaults: dict[str, Any] = {"providers": ["cpu"], "threads": [1], "default": 1}
    return Networks(bundle, str(detector), **defaults | options)


def test_networks_that_answer_otherwise_are_shown(tiny: Path, tmp_path: Path) -> None:
    wrong = tiny_face.write_bundle(tmp_path / "wrong", int8=tiny_face.network(drift=8))
    differs = {
        row.facts["precision"]: row.facts["differs"] for row, _ in networks(tiny, wrong).detector
    }
    assert differs["fp32"] == 0
    assert differs["int8"] is None  # it finds faces where there are none


def test_only_networks_that_are_there(tmp_path: Path) -> None:
    single = tiny_model.write_bundle(tmp_path / "single", int8=False)
    rows = [row for row, _ in networks(single, "haar").emotion]
    assert {row.facts["precision"] for row in rows} == {"fp32"}


def test_a_provider_that_cannot_take_a_network(
    tiny: Path, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = session.create

    def refused(*arguments: Any, provider: str, **options: Any) -> session.Session:
        if provider == "openvino":
            raise ProviderError("provider openvino cannot take it; use provider 'cpu'")
        return create(*arguments, provider=provider, **options)

    monkeypatch.setattr(session, "create", refused)
    made = networks(tiny, face, providers=["cpu", "openvino"], threads=[1, 2])
    assert {row.facts["provider"] for row, _ in made.emotion + made.detector} == {"cpu"}
    told = [(one["network"], one["provider"]) for one in made.unavailable]
    names = ("tiny fp32", "tiny int8", "tiny-face fp32", "tiny-face int8")
    assert told == [(name, "openvino") for name in names]
    assert all("cannot take it" in one["reason"] for one in made.unavailable)


def test_batches_of_all_sizes_answer_alike(tiny: Path) -> None:
    bundle = bundles.find(tiny)
    for kind in ("fp32", "int8"):
        opened = EmotionClassifier(bundle, provider="cpu", precision=kind)
        crops = faces(opened, max(BATCHES))
        # They are faces that differ.
        assert len(np.unique(crops.reshape(len(crops), -1), axis=0)) == max(BATCHES)
        answers = opened.run(crops)
        for batch in BATCHES:
            np.testing.assert_allclose(opened.run(crops[:batch]), answers[:batch], atol=1e-5)


class Moved:
    """Finds one face, each time somewhere else; none at every second call."""

    name, models = "moved", ()

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        self.calls += 1
        boxes = np.array([[8 * self.calls, 40, 64, 64]], np.float32)[: self.calls % 2]
        return Detections(boxes, np.ones(len(boxes), np.float32))


def test_answers_that_change_are_counted(clip: Path, tiny: Path, tmp_path: Path) -> None:
    whole, stages = video.Whole({"threads": 1}), video.Stages()
    analyzer = Analyzer(Moved(), tiny, provider="cpu")
    results = whole.round(analyzer, clip, tmp_path, 60)
    assert len(results) == 100
    assert stages.slowest() is None
    # As many calls as frames came before: the same faces, elsewhere.
    stages.round(analyzer, clip, tmp_path, results[:20], 60)
    answers = stages.answers()
    assert (answers["frames"], answers["frames_differing"]) == (20, 0)
    assert answers["largest_box_difference_px"] == 800
    assert answers["largest_probability_difference"] > 1e-3
    analyzer.detector.detect(np.zeros((180, 320, 3), np.uint8))
    stages.round(analyzer, clip, tmp_path, results[:20], 60)
    assert stages.answers()["frames_differing"] == 20
    assert [len(one) for one in stages.rows["frame"].rounds] == [20, 20]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--video", "no.mp4"], 1, "no.mp4: no such file"),
        (["--video", "picture.png"], 2, "picture.png: is no video file"),
        (["--video", "."], 2, ".: is no video file"),
        (["--video", "text.mp4"], 1, "text.mp4"),
        (["--video", ""], 2, "it is empty"),
        (["--detector", "nosuch"], 2, "unknown detector 'nosuch'"),
        (["--model", "nosuch"], 1, "no model 'nosuch'"),
        (["--json", "no/such/bench.json"], 1, "cannot write 'no/such/bench.json'"),
        (["--json", "text.mp4"], 1, "text.mp4"),
        (["--json", "."], 2, "directory"),
        (["--rounds", "3"], 2, "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options(
    tiny: Path, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    import cv2

    cv2.imwrite("picture.png", np.zeros((8, 8, 3), np.uint8))
    Path("text.mp4").write_text("not a video, and somebody's own")
    before = sorted(tmp_path.iterdir())
    names = [] if "--model" in arguments else ["--model", str(tiny)]
    names += [] if "--json" in arguments else ["--json", "out.json"]
    result = invoke(*names, *arguments)
    assert result.exit_code == status, result.output
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert "Traceback" not in result.stderr
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("text.mp4").read_text() == "not a video, and somebody's own"


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_prints_what_is_measured(
    clip: Path, tiny: Path, face: Path, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    options = ("--video", clip, "--model", tiny, "--detector", face, "--json", "bench.json")
    process = start("bench", *options, cwd=tmp_path)
    told = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            told.append(line)
            if "round 1 of 3: the networks" in line:
                break
        time.sleep(0.1)
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status, [*told, stderr]
    assert stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert "interrupted after 0 whole rounds" in stdout
    assert "detect" in stdout
    report = json.loads((tmp_path / "bench.json").read_text())
    assert (report["complete"], report["rounds"]) == (False, 0)
    assert [row["stage"] for row in report["stages"]] == STAGES
    assert report["process"]["peak_mb"]
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupt_before_anything_is_measured(
    clip: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "process", stopped)
    result = invoke("--video", clip, "--detector", "haar", "--model", tiny, "--json", "a.json")
    assert result.exit_code == 130
    assert "interrupted after 0 whole rounds" in result.stdout
    assert json.loads((tmp_path / "a.json").read_text())["stages"] == []


def test_a_process_that_gives_no_record(tiny: Path, tmp_path: Path) -> None:
    found = video.process(tmp_path / "no.mp4", "haar", str(tiny), 1)
    assert found == {"unavailable": "`ferlite detect` gave no record, status 1"}


def test_the_demos_clip_is_a_video_with_faces(tmp_path: Path) -> None:
    path = video.demo_clip(tmp_path / "demo.mp4")
    with video.open_clip(path) as source:
        images = [frame.image for _, frame in zip(range(30), source, strict=False)]
        assert (source.info.width, source.info.height, source.info.frames) == (640, 360, 400)
    analyzer = Analyzer("haar", min_face=64, provider="cpu")
    assert len(analyzer.analyze(images[-1]).faces) == 2


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferlite.cli.bench import _progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with _progress() as told:
        told("round 1 of 3", 0.5)
    assert "round 1 of 3" in terminal.getvalue()


def test_rows_by_hand() -> None:
    """Two rounds of two faces a call: 4 calls in 1 s, then 2 in 1 s."""
    row = Row({"batch": 2}, 2, rounds=[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5], []])
    assert row.to_dict() == {
        "batch": 2,
        "calls": 6,
        "p50_ms": 350.0,
        "p95_ms": 500.0,
        "per_s": 6.0,
        "per_s_range": [4.0, 8.0],
    }
    assert Row({"batch": 2}).to_dict() == {"batch": 2}
    disturbed = [[0.1, 0.1, 0.7], [0.2, 0.2, 9.0]]
    assert Row({}, alike=True, rounds=disturbed).to_dict()["per_s_range"] == [5.0, 10.0]
    assert [percentile(range(1, 101), p) for p in (0, 50, 95, 100)] == [1, 50, 95, 100]
    assert percentile([7.0], 95) == 7.0


def test_what_is_compared_runs_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferlite.bench.timing.TURN_S", 0.0)
    order: list[str] = []
    rows = {name: Row({}) for name in "ab"}
    calls = [(row, lambda name=name: order.append(name)) for name, row in rows.items()]
    in_turns(calls, 0.002)
    in_turns(calls, 0)
    assert "".join(order[:6]) == "ababab"
    for row in rows.values():
        assert len(row.rounds[0]) >= 1
        assert len(row.rounds[1]) == 1


def counter(root: Path, zone: str, name: str, joules: float) -> Path:
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    return folder


def test_energy_of_all_packages(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 100)
    counter(tmp_path, "intel-rapl:0:0", "core", 50)
    counter(tmp_path, "intel-rapl:1", "package-1", 262143.0)
    counter(tmp_path, "intel-rapl:2", "psys", 9)
    energy = machine.Energy(tmp_path)
    assert energy.to_dict() == {"unavailable": "nothing was measured"}
    energy.begin()
    counter(tmp_path, "intel-rapl:0", "package-0", 103)
    counter(tmp_path, "intel-rapl:0:0", "core", 52)
    counter(tmp_path, "intel-rapl:1", "package-1", 1.0)  # past its end
    energy.end(10)
    assert energy.joules == pytest.approx(3 + 1.328850)
    found = energy.to_dict()
    assert found["joules_per_frame"] == pytest.approx(0.432885)
    assert found["watts"] > 0


def test_energy_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no energy counter" in machine.Energy(tmp_path).to_dict()["unavailable"]
    (counter(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").unlink()
    energy = machine.Energy(tmp_path)
    energy.begin()
    energy.end(5)
    assert "root may read it" in energy.to_dict()["unavailable"]


def test_threads_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, [1, 2]), (4, [1, 2, 3, 4]), (12, [1, 2, 3, 4, 8, 12])):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert machine.thread_counts() == expected


def test_memory_of_a_process_that_ended() -> None:
    assert machine.peak_mb(2**22 + 1) is None
