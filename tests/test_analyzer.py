from __future__ import annotations

import math
import pickle
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_model
from numpy.typing import NDArray

from ferlite.analyzer import Analyzer, _Classify
from ferlite.errors import ModelError, UsageError
from ferlite.faces import DEFAULT_DETECTOR, open_detector
from ferlite.sources import SourceOptions, open_source
from ferlite.tracks import TrackOptions
from ferlite.types import Detections, Frame, FrameResult, SourceInfo

Image = NDArray[np.uint8]
Portraits = dict[str, Image]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_bundle(tmp_path_factory.mktemp("models") / "tiny", int8=False)


@pytest.fixture(scope="module")
def analyzer(folder: Path) -> Analyzer:
    # The emblem of a cap is a small face to the detector.
    return Analyzer(model=folder, provider="cpu", min_face=30)


@pytest.fixture(scope="module")
def scene(portraits: Portraits) -> Image:
    """Both portraits side by side, 256x512."""
    pair = np.concatenate([portraits["astronaut"], portraits["hopper"][:512]], axis=1)
    return np.asarray(cv2.resize(pair, (512, 256), interpolation=cv2.INTER_AREA), np.uint8)


def moving(scene: Image, frames: int) -> list[Image]:
    """The scene sliding left, 4 pixels a frame."""
    return [np.ascontiguousarray(scene[:, 4 * i : 4 * i + 460]) for i in range(frames)]


def assert_same(a: FrameResult, b: FrameResult) -> None:
    assert len(a.faces) == len(b.faces)
    for one, other in zip(a.faces, b.faces, strict=True):
        assert one.box == other.box and one.emotion == other.emotion
        assert one.emotions == pytest.approx(other.emotions, abs=1e-5)


def test_both_portraits_in_one_picture(analyzer: Analyzer, scene: Image) -> None:
    result = analyzer.analyze(scene)
    assert (result.width, result.height, result.error) == (512, 256, None)
    left, right = sorted(result.faces, key=lambda face: face.box[0])
    assert 70 < left.box[0] < 100 and 310 < right.box[0] < 350
    for face in (left, right):
        assert face.track is None and face.landmarks is not None
        assert 0 < face.score <= 1
        assert tuple(face.emotions) == tiny_model.LABELS == analyzer.labels
        assert sum(face.emotions.values()) == pytest.approx(1, abs=1e-5)
        assert face.confidence == max(face.emotions.values()) == face.emotions[face.emotion]
        assert face.raw_emotions == face.emotions and face.raw_emotions is not face.emotions
        assert face.uncertain == (face.confidence < 0.4)
    assert left.emotions != right.emotions


def test_results_are_frozen_and_travel(analyzer: Analyzer, scene: Image) -> None:
    result = analyzer.analyze(scene)
    assert pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(AttributeError):
        result.faces[0].emotion = "joy"  # type: ignore[misc]


def test_a_batch_equals_single_pictures(
    analyzer: Analyzer, scene: Image, portraits: Portraits
) -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    images = [scene, blank, portraits["astronaut"], portraits["hopper"], blank]
    results = analyzer.analyze_batch(images)
    assert [result.frame for result in results] == [0, 1, 2, 3, 4]
    assert [len(result.faces) for result in results] == [2, 0, 1, 1, 0]
    for image, result in zip(images, results, strict=True):
        assert_same(result, analyzer.analyze(image))
    assert analyzer.analyze_batch([]) == []
    assert analyzer.analyze_batch(iter([blank]))[0].faces == ()


def test_all_faces_of_a_batch_are_one_run(
    analyzer: Analyzer, scene: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    run = analyzer.classifier._session.run

    def counted(batch: NDArray[Any]) -> Any:
        sizes.append(len(batch))
        return run(batch)

    monkeypatch.setattr(analyzer.classifier._session, "run", counted)
    analyzer.analyze_batch([scene, scene])
    analyzer.classify([scene, scene, scene])
    assert sizes == [4, 3]


def test_colors(folder: Path, analyzer: Analyzer, scene: Image) -> None:
    rgb = Analyzer(model=folder, color="rgb", min_face=30)
    assert_same(rgb.analyze(np.ascontiguousarray(scene[:, :, ::-1])), analyzer.analyze(scene))
    assert_same(rgb.analyze(scene[:, :, ::-1]), analyzer.analyze(scene))  # a view
    gray = np.asarray(cv2.cvtColor(scene, cv2.COLOR_BGR2GRAY), np.uint8)
    expected = analyzer.analyze(gray)
    assert len(expected.faces) == 2
    assert_same(analyzer.analyze(gray[:, :, None]), expected)
    assert_same(Analyzer(model=folder, color="gray", min_face=30).analyze(gray), expected)
    with pytest.raises(UsageError, match="unknown color 'yuv'"):
        Analyzer(model=folder, color="yuv")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (None, "frame 0 is a NoneType"),
        ([[1, 2], [3, 4]], "frame 0 is a list"),
        ("clip.mp4", "frame 0 is a str"),
        (np.zeros((4, 4, 3)), r"dtype float64, shape \(4, 4, 3\).*\* 255\).astype\('uint8'\)"),
        (np.zeros((4, 4, 3), np.uint16), "dtype uint16.*scale it"),
        (np.zeros((4, 4, 3), bool), "dtype bool"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\), dtype uint8; color 'bgr' needs"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros(7, np.uint8), r"shape \(7,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\).*not empty"),
        (np.zeros((0, 0), np.uint8), r"shape \(0, 0\)"),
    ],
)
def test_what_is_no_picture_is_named(analyzer: Analyzer, frame: Any, shown: str) -> None:
    with pytest.raises(UsageError, match=shown):
        analyzer.analyze(frame)
    with pytest.raises(UsageError, match=shown.replace("frame", "crop")):
        analyzer.classify([frame])


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3), (40, 30, 1), (0, 3)])
def test_a_single_picture_is_no_batch(analyzer: Analyzer, shape: tuple[int, ...]) -> None:
    picture = np.zeros(shape, np.uint8)
    for several in (analyzer.analyze_batch, analyzer.classify):
        with pytest.raises(UsageError, match=r"\(.*\) was given; give a list of pictures"):
            several(picture)
    assert len(analyzer.analyze_batch(np.zeros((2, 40, 30, 3), np.uint8))) == 2


def test_what_holds_no_pictures(analyzer: Analyzer, scene: Image) -> None:
    for wrong in (None, 5, np.array(5)):
        for call in (analyzer.analyze_batch, analyzer.classify):
            with pytest.raises(UsageError, match="was given; give a list of pictures"):
                call(wrong)  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"time array.* of a \(t, picture\) pair is no finite"
    ) as caught:
        list(analyzer.stream([(scene, scene)]))
    assert "\n" not in str(caught.value)


def test_color_is_refused_where_gray_is_promised(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"color 'gray' needs uint8 \[h, w\]"):
        Analyzer(model=folder, color="gray").analyze(np.zeros((4, 4, 3), np.uint8))


def test_classify_crops_of_any_size(analyzer: Analyzer, portraits: Portraits) -> None:
    face = portraits["astronaut"][66:161, 177:272]
    small = np.asarray(cv2.resize(face, (32, 32), interpolation=cv2.INTER_AREA), np.uint8)
    gray = np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), np.uint8)
    whole, shrunk, grey, one_pixel = analyzer.classify([face, small, gray, face[:1, :1]])
    # The crop of the whole picture is what a frame's box gives, up to the detector's geometry.
    box = np.array([[177, 66, 95, 95]], np.float32)
    expected = analyzer.classifier.run(analyzer.classifier.crop(portraits["astronaut"], box))[0]
    assert list(whole.emotions.values()) == pytest.approx(expected.tolist(), abs=0.02)
    assert shrunk.emotions == pytest.approx(whole.emotions, abs=0.05)
    assert grey.emotions == pytest.approx(whole.emotions, abs=0.01)
    assert whole.label == max(whole.emotions, key=lambda label: whole.emotions[label])
    assert one_pixel.label in tiny_model.LABELS
    assert analyzer.classify([]) == []
    assert analyzer.classify(np.stack([face, face])) == [whole, whole]


def test_stream_of_arrays_keeps_identity(analyzer: Analyzer, scene: Image) -> None:
    frames = moving(scene, 12)
    results = list(analyzer.stream(iter(frames)))
    assert [result.frame for result in results] == list(range(12))
    assert [result.t for result in results] == pytest.approx([i / 25 for i in range(12)])
    for result, frame in zip(results, frames, strict=True):
        alone = analyzer.analyze(frame)
        assert sorted(face.box for face in result.faces) == sorted(f.box for f in alone.faces)
    places: dict[int | None, list[float]] = {}
    for result in results:
        for face in result.faces:
            places.setdefault(face.track, []).append(face.box[0])
    main = [track for track, xs in places.items() if len(xs) >= 10]
    assert len(main) == 2 and set(main) <= {1, 2}
    for track in main:
        xs = places[track]
        assert xs[0] > xs[-1] and max(xs) - min(xs) < 60  # one face, sliding left
    assert set(analyzer.timings) == {"read", "detect", "classify"}
    assert all(seconds > 0 for seconds in analyzer.timings.values())


def test_emotions_are_smoothed_along_tracks(folder: Path, portraits: Portraits) -> None:
    """A face that turns dark at once: the raw answer jumps, the smoothed one follows."""
    image = portraits["astronaut"]
    dark = (image * 0.6).astype(np.uint8)
    clip = [(i / 10, image if i < 3 else dark) for i in range(8)]
    smooth = list(Analyzer(model=folder, smoothing_s=0.5).stream(clip))
    faces = [result.faces[0] for result in smooth]
    assert faces[0].emotions == faces[0].raw_emotions
    before = np.array(list(faces[2].raw_emotions.values()))
    after = np.array(list(faces[3].raw_emotions.values()))
    assert np.abs(before - after).max() > 0.01
    share = 1 - np.exp(-0.1 / 0.5)
    found = np.array(list(faces[3].emotions.values()))
    np.testing.assert_allclose(found, before + share * (after - before), atol=1e-4)
    for face in Analyzer(model=folder, smoothing_s=0).stream(clip):
        assert face.faces[0].emotions == face.faces[0].raw_emotions


def test_without_tracks(analyzer: Analyzer, scene: Image) -> None:
    for result in analyzer.stream([scene, scene], tracks=False):
        assert [face.track for face in result.faces] == [None, None]
        assert all(face.emotions == face.raw_emotions for face in result.faces)


def test_options_reach_the_source(analyzer: Analyzer, scene: Image) -> None:
    results = list(analyzer.stream([scene] * 10, every=3, start_s=0.04, duration_s=0.3))
    assert [result.t for result in results] == pytest.approx([0.04, 0.16, 0.28])
    with pytest.raises(UsageError, match="every=0"):
        analyzer.stream([scene], every=0)
    with pytest.raises(UsageError, match="reconnect_s=-1"):
        analyzer.stream([scene], reconnect_s=-1)
    assert len(list(analyzer.stream([scene], reconnect_s=math.inf))) == 1


def test_stills_a_broken_one_and_a_new_source(
    analyzer: Analyzer, portraits: Portraits, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), portraits["astronaut"])
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    cv2.imwrite(str(tmp_path / "3.png"), portraits["hopper"])
    results = list(analyzer.stream(tmp_path))
    assert [Path(result.source).name for result in results] == ["1.png", "2.png", "3.png"]
    assert [len(result.faces) for result in results] == [1, 0, 1]
    assert [result.error is None for result in results] == [True, False, True]
    assert (results[1].width, results[1].height) == (0, 0)
    assert all(face.track is None for result in results for face in result.faces)


class Scripted:
    """A source of given frames; `Source` by protocol."""

    items = 1

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames
        self.closed = False

    @property
    def info(self) -> SourceInfo:
        return self._frames[0].source

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_each_source_counts_its_tracks_from_one(analyzer: Analyzer, portraits: Portraits) -> None:
    image = portraits["astronaut"]
    first, second = SourceInfo("a.mp4", "video"), SourceInfo("b.mp4", "video")
    frames = [Frame(first, i, i / 25, image) for i in range(3)]
    frames += [Frame(second, i, i / 25, image) for i in range(3)]
    source = Scripted(frames)
    results = list(analyzer.stream(source))
    assert [result.faces[0].track for result in results] == [1] * 6
    assert source.closed


def test_a_source_that_comes_again_uses_no_number_twice(
    analyzer: Analyzer, portraits: Portraits
) -> None:
    image = portraits["astronaut"]
    first, second = SourceInfo("a.mp4", "video"), SourceInfo("b.mp4", "video")
    frames = [
        Frame(info, i, i / 25, image) for info in (first, first, second, first) for i in range(2)
    ]
    results = list(analyzer.stream(Scripted(frames)))
    assert [result.faces[0].track for result in results] == [1, 1, 2, 2, 1, 1, 3, 3]


def test_an_outage_ends_no_identity(analyzer: Analyzer, portraits: Portraits) -> None:
    image, empty = portraits["astronaut"], np.empty((0, 0, 3), np.uint8)
    camera = SourceInfo("camera:0", "video")  # of this kind none is dropped
    frames = [Frame(camera, 0, 0.0, image), Frame(camera, 1, 9.0, image)]  # long gone: another face
    # Even where the next picture has the index of the outage's record.
    frames += [Frame(camera, 2, 9.1, empty, "connection lost"), Frame(camera, 2, 9.2, image)]
    results = list(analyzer.stream(Scripted(frames)))
    assert [face.track for result in results for face in result.faces] == [1, 2, 2]
    assert results[2].error == "connection lost"


def test_behind_an_outage_sits_another(analyzer: Analyzer, portraits: Portraits) -> None:
    image, empty = portraits["astronaut"], np.empty((0, 0, 3), np.uint8)
    camera = SourceInfo("camera:0", "live")
    now = datetime.now(UTC)
    frames = [Frame(camera, 0, 0.0, image, received=now)]
    frames += [Frame(camera, 1, 1.0, empty, "connection lost", now), Frame(camera, 2, 1.9, image)]
    for outage, tracks in ((True, [1, 2]), (False, [1, 1])):
        # Not as a stream: that might drop one.
        classify = _Classify(analyzer, TrackOptions())
        seen = [frame for frame in frames if outage or frame.error is None]
        results = [classify(analyzer._detect(frame))[1] for frame in seen]
        assert [face.track for result in results for face in result.faces] == tracks
        assert [r.received for r in results] == [frame.received for frame in seen]


def test_a_stream_that_changes_its_resolution_keeps_identities(
    analyzer: Analyzer, scene: Image
) -> None:
    height, width = scene.shape[:2]
    smaller = cv2.resize(scene, (width * 2 // 3, height * 2 // 3), interpolation=cv2.INTER_AREA)
    results = list(analyzer.stream([scene, scene, smaller, smaller]))
    seen = [{face.emotion: face.track for face in result.faces} for result in results]
    assert len(results[0].faces) == 2
    by_place = [
        [face.track for face in sorted(result.faces, key=lambda face: face.box[0])]
        for result in results
    ]
    assert by_place == [by_place[0]] * 4, seen


def test_a_detector_that_changes_another_is_asked_itself(folder: Path, scene: Image) -> None:
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    inner = open_detector(DEFAULT_DETECTOR, size=320)

    class Wrapper:
        name = "wrapper"

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def detect(self, image: Image) -> Detections:
            return none

    class Subclass(type(inner)):  # type: ignore[misc]
        def detect(self, image: Image) -> Detections:
            return none

    subclass = Subclass(inner.bundle, size=320)  # type: ignore[attr-defined]
    for detector in (Wrapper(), subclass):
        blind = Analyzer(detector, folder)  # type: ignore[arg-type]
        assert [result.faces for result in blind.analyze_batch([scene, scene])] == [(), ()]


def test_what_a_detector_owes(folder: Path, scene: Image) -> None:
    class Bare:
        name = "bare"

        def detect(self, image: Image) -> Any:
            return None

    bare = Analyzer(Bare(), folder)  # type: ignore[arg-type]
    assert [one["task"] for one in bare.description()["models"]] == ["emotion"]
    with pytest.raises(UsageError, match=r"detector bare: detect\(\) gave NoneType"):
        bare.analyze(scene)
    with pytest.raises(UsageError, match="gave NoneType"):
        list(bare.stream([scene]))
    for boxes, scores, points in (
        ((1, 5), (1,), None),
        ((4,), (4,), None),
        ((2, 4), (1,), None),
        ((1, 4), (1,), (1, 10)),
    ):
        wrong = Detections(
            np.ones(boxes, np.float32),
            np.ones(scores, np.float32),
            None if points is None else np.ones(points, np.float32),
        )
        bare.detector.detect = lambda image, wrong=wrong: wrong  # type: ignore[method-assign, misc]
        with pytest.raises(UsageError, match=r"detector bare: detect\(\) gave shapes \[\("):
            bare.analyze(scene)


def test_live_frames_are_dropped_rather_than_late(folder: Path, portraits: Portraits) -> None:
    started, release = threading.Event(), threading.Event()

    class Stuck:
        name = "stuck"
        models: tuple[dict[str, str], ...] = ()

        def detect(self, image: Image) -> Detections:
            started.set()
            release.wait(20)
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    camera = SourceInfo("camera:0", "live")
    frames = [Frame(camera, i, i / 25, portraits["astronaut"]) for i in range(50)]
    pipeline = Analyzer(Stuck(), folder).frames(Scripted(frames))
    started.wait(20)
    while pipeline.dropped < 40:
        time.sleep(0.001)
    release.set()
    indices = [frame.index for frame, _ in pipeline]
    assert indices[-2:] == [48, 49] and len(indices) + pipeline.dropped == 50


def test_the_record_of_an_outage_is_never_dropped(folder: Path, portraits: Portraits) -> None:
    release = threading.Event()

    class Stuck:
        name = "stuck"
        models: tuple[dict[str, str], ...] = ()

        def detect(self, image: Image) -> Detections:
            release.wait(20)
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    camera, empty = SourceInfo("camera:0", "live"), np.empty((0, 0, 3), np.uint8)
    frames = [Frame(camera, i, i / 25, portraits["astronaut"]) for i in range(50)]
    frames[20] = Frame(camera, 20, 0.8, empty, "connection lost")
    pipeline = Analyzer(Stuck(), folder).frames(Scripted(frames))
    while pipeline.dropped < 15:
        time.sleep(0.001)
    time.sleep(0.1)  # the record waits; were it dropped, all frames would have come by now
    release.set()
    assert [result.frame for _, result in pipeline if result.error] == [20]


def test_an_error_in_a_stage_ends_the_stream(folder: Path, scene: Image) -> None:
    class Broken:
        name = "broken"
        models: tuple[dict[str, str], ...] = ()

        def detect(self, image: Image) -> Detections:
            raise ModelError("the detector gave up")

    with pytest.raises(ModelError, match="gave up"):
        list(Analyzer(Broken(), folder).stream([scene] * 50))
    with pytest.raises(UsageError, match="belong to the detector"):
        Analyzer(Broken(), folder, min_face=20)


def test_leaving_a_stream_ends_its_threads(analyzer: Analyzer, scene: Image) -> None:
    for _ in analyzer.stream([scene] * 100):
        break
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("ferlite-")]


def test_leaving_a_stream_of_a_generator_that_blocks(analyzer: Analyzer, scene: Image) -> None:
    release = threading.Event()

    def blocking() -> Iterator[Image]:
        yield scene
        release.wait(30)

    results = analyzer.stream(blocking())
    next(results)
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10
    release.set()
    for thread in threading.enumerate():
        if thread.name == "ferlite-read":
            thread.join(20)
            assert not thread.is_alive()


def test_few_large_pictures_are_held_at_once(folder: Path) -> None:
    class Quick:
        name = "quick"
        models: tuple[dict[str, str], ...] = ()

        def detect(self, image: Image) -> Detections:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    class Stills(Scripted):
        given = 0

        def __iter__(self) -> Iterator[Frame]:
            for frame in self._frames:
                self.given += 1
                yield frame

    image = np.zeros((6000, 8000, 3), np.uint8)  # zeros take no memory until written
    info = SourceInfo("a.jpg", "image")
    source = Stills([Frame(info, 0, 0.0, image)] * 8)
    with Analyzer(Quick(), folder).frames(source) as results:
        for taken, _ in enumerate(results, 1):
            time.sleep(0.02)
            assert source.given <= taken + 1


def test_a_stream_holds_no_picture_whose_result_it_gave(analyzer: Analyzer) -> None:
    import weakref

    info, seen = SourceInfo("a.mp4", "video"), []

    class Fleeting(Scripted):
        def __iter__(self) -> Iterator[Frame]:
            for index in range(12):
                frame = Frame(info, index, index / 25, np.zeros((64, 64, 3), np.uint8))
                seen.append(weakref.ref(frame.image))
                yield frame
                del frame

    frames = Fleeting([Frame(info, 0, 0.0, np.zeros((64, 64, 3), np.uint8))])
    for number, _ in enumerate(analyzer.stream(frames)):
        time.sleep(0.02)
        assert seen[number]() is None


def test_frames_gives_the_pictures_too(analyzer: Analyzer, scene: Image) -> None:
    with open_source([scene] * 3, SourceOptions()) as source, analyzer.frames(source) as frames:
        for frame, result in frames:
            np.testing.assert_array_equal(frame.image, scene)
            assert result.frame == frame.index and len(result.faces) == 2


def test_several_threads_at_once(analyzer: Analyzer, scene: Image, portraits: Portraits) -> None:
    images = [scene, portraits["astronaut"], portraits["hopper"]]
    expected = [analyzer.analyze(image) for image in images]
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            for step in range(3):
                k = (number + step) % 3
                assert_same(analyzer.analyze(images[k]), expected[k])
            for result in analyzer.stream([images[number % 3]] * 3):
                assert_same(result, expected[number % 3])
                assert sorted(f.track or 0 for f in result.faces) == list(
                    range(1, len(result.faces) + 1)
                )
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_description_is_json_and_names_the_files(analyzer: Analyzer, folder: Path) -> None:
    import hashlib
    import json

    import onnxruntime

    about = json.loads(json.dumps(analyzer.description()))
    model, *detectors = about["models"]
    assert model["sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (model["name"], model["version"], model["precision"]) == ("tiny", "1.0.0", "fp32")
    assert about["provider"] == "cpu" and about["detector"] == DEFAULT_DETECTOR
    assert detectors == list(analyzer.detector.models)
    assert about["versions"]["onnxruntime"] == onnxruntime.__version__


def test_wrong_constructions(folder: Path) -> None:
    with pytest.raises(ModelError, match="no model 'no-such-model'"):
        Analyzer(model="no-such-model")
    with pytest.raises(UsageError, match="unknown detector 'dlib'"):
        Analyzer("dlib", folder)
    with pytest.raises(UsageError, match="unknown provider 'gpu'"):
        Analyzer(model=folder, provider="gpu")
    with pytest.raises(UsageError, match="smoothing_s is -1"):
        Analyzer(model=folder, smoothing_s=-1)
    with pytest.raises(UsageError, match="memory_s is nan"):
        Analyzer(model=folder, track_memory_s=float("nan"))
    with pytest.raises(UsageError, match="smoothing_s is 'long'"):
        Analyzer(model=folder, smoothing_s="long")  # type: ignore[arg-type]
    for detector in (None, 5, object(), ["haar"]):
        with pytest.raises(UsageError, match=r"detector is .*; give a name such as"):
            Analyzer(detector, folder)  # type: ignore[arg-type]
    for long in ({"model": "x" * 300}, {"detector": "x" * 300}):
        with pytest.raises(ModelError, match="File name too long"):
            Analyzer(**{"model": folder} | long)  # type: ignore[arg-type]
    for threads in (1.5, -1, 257, 100_000, "two"):
        with pytest.raises(UsageError, match=f"threads is .?{threads}"):
            Analyzer(model=folder, threads=threads)  # type: ignore[arg-type]
    for model in (None, 3):
        with pytest.raises(UsageError, match=f"model is {model}; give a name"):
            Analyzer(model=model)  # type: ignore[arg-type]
    analyzer = Analyzer(open_detector("haar"), folder)
    assert analyzer.detector.name == "haar"
    with pytest.raises(UsageError, match=r"frames\(\) of str: give an opened source"):
        analyzer.frames("clip.mp4")  # type: ignore[arg-type]


@pytest.mark.shared
def test_a_real_clip_has_stable_tracks(folder: Path, shared: Path) -> None:
    yunet = shared / "models" / "face_detection_yunet_2023mar.onnx"
    analyzer = Analyzer(yunet, folder)
    results = list(analyzer.stream(shared / "data" / "clips" / "crowd_1080p.mp4"))
    assert [result.frame for result in results] == list(range(105))
    lengths: dict[int | None, int] = {}
    for result in results:
        numbers = [face.track for face in result.faces]
        assert len(set(numbers)) == len(numbers)
        for number in numbers:
            lengths[number] = lengths.get(number, 0) + 1
        assert all(face.landmarks is not None for face in result.faces)
    faces = sum(lengths.values())
    assert faces > 4 * 105
    # Those that are there all along keep one number all along.
    longest = sorted(lengths.values())[-3:]
    assert min(longest) >= 90
    assert analyzer.description()["models"][1]["sha256"].startswith("8f2383e4")
