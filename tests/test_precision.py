from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_model
from onnx import numpy_helper

from ferlite import bundles, emotion, precision, session
from ferlite import cache as user_cache
from ferlite.emotion import EmotionClassifier
from ferlite.errors import ProviderError
from ferlite.precision import Choice, Measured, Way


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MEASURE_S", 0.01)
    return tmp_path / "cache" / "ferlite" / "choice.json"


@pytest.fixture
def bundle(tmp_path: Path) -> bundles.EmotionBundle:
    found = bundles.find(tiny_model.write_bundle(tmp_path / "tiny"))
    assert isinstance(found, bundles.EmotionBundle)
    return found


CPU_FP32, CPU_INT8 = Way("cpu", "fp32"), Way("cpu", "int8")
OV_FP32, OV_INT8 = Way("openvino", "fp32"), Way("openvino", "int8")


class Clock:
    """Stands in for the module time: moves only as a session says that it took."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(session.Session):
    """A session that takes its time, whatever it computes; it may claim to be of OpenVINO."""

    wait_s = 0.0
    off = 0.0
    clock = Clock()

    def run(self, batch):  # type: ignore[no-untyped-def]
        self.clock.now += self.wait_s
        answer = super().run(batch)
        # Another label wins.
        answer[0][:, 0] += self.off
        return answer


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Way]]:
    """Both providers are there, each way as slow as said, in seconds; gives a list of those opened.

    What is missing of the ways cannot be opened. off: added to a score of a way.
    """

    def prepare(off: Mapping[Way, float] | None = None, **waits: float) -> list[Way]:
        names = {"cpu_fp32": CPU_FP32, "cpu_int8": CPU_INT8, "ov_fp32": OV_FP32, "ov_int8": OV_INT8}
        wait_s = {names[name]: wait for name, wait in waits.items()}
        opened: list[Way] = []
        create = session.create

        def pretended(model: bytes, *, provider: str, name: str = "", **options: Any) -> Slow:
            way = Way(provider, "int8" if name.endswith("int8.onnx") else "fp32")
            if way not in wait_s:
                raise ProviderError(f"provider {provider} is broken; use provider 'cpu'")
            made = create(model, provider="cpu", name=name, **options)
            found = Slow(made._session, name, provider)
            found.wait_s, found.off = wait_s[way], (off or {}).get(way, 0.0)
            opened.append(way)
            return found

        providers = {"cpu": "1.0"} | ({"openvino": "2.0"} if len(waits) > 2 else {})
        monkeypatch.setattr(precision, "time", Slow.clock)
        monkeypatch.setattr(session, "create", pretended)
        monkeypatch.setattr(session, "installed", lambda: providers)
        monkeypatch.setattr(precision, "_told", set())
        return opened

    return prepare


def chosen(bundle: bundles.EmotionBundle, **options: Any) -> EmotionClassifier:
    return EmotionClassifier(bundle, **({"threads": 1} | options))


def choice_of(bundle: bundles.EmotionBundle, **options: Any) -> Choice:
    found = chosen(bundle, **options)
    assert found.choice is not None
    assert found.choice.way == Way(found.provider, found.precision)
    return found.choice


@pytest.mark.parametrize(
    ("fp32_s", "int8_s", "winner"),
    [(0.004, 0.001, CPU_INT8), (0.001, 0.004, CPU_FP32), (0.004, 0.004, CPU_FP32)],
)
def test_the_faster_wins_and_fp32_a_tie(
    bundle: bundles.EmotionBundle,
    slow: Callable[..., list[Way]],
    fp32_s: float,
    int8_s: float,
    winner: Way,
) -> None:
    slow(cpu_fp32=fp32_s, cpu_int8=int8_s)
    found = choice_of(bundle)
    assert found.way == winner
    fp32, int8 = found.measured
    assert (fp32.way, int8.way) == (CPU_FP32, CPU_INT8)
    assert (fp32.ms, int8.ms, fp32.difference) == (fp32_s * 1e3, int8_s * 1e3, 0)


ALL = {"cpu_fp32": 0.012, "cpu_int8": 0.012, "ov_fp32": 0.012, "ov_int8": 0.012}


@pytest.mark.parametrize(
    ("fastest", "winner"),
    [("cpu_fp32", CPU_FP32), ("cpu_int8", CPU_INT8), ("ov_fp32", OV_FP32), ("ov_int8", OV_INT8)],
)
def test_the_fastest_of_providers_and_precisions_wins(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]], fastest: str, winner: Way
) -> None:
    slow(**(ALL | {fastest: 0.001}))
    found = choice_of(bundle)
    assert found.way == winner
    assert [one.way for one in found.measured] == [CPU_FP32, OV_FP32, CPU_INT8, OV_INT8]


def test_what_was_asked_for_is_not_replaced(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]]
) -> None:
    slow(**(ALL | {"cpu_int8": 0.001}))
    found = choice_of(bundle, provider="openvino")
    assert [one.way for one in found.measured] == [OV_FP32, OV_INT8]
    assert choice_of(bundle, precision="fp32").way.precision == "fp32"
    named = chosen(bundle, provider="openvino", precision="fp32")
    assert (named.provider, named.precision, named.choice) == ("openvino", "fp32", None)


@pytest.mark.parametrize("wrong", [OV_FP32, OV_INT8, CPU_INT8])
def test_a_fast_way_that_answers_otherwise_is_not_taken(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]], wrong: Way
) -> None:
    fast = {OV_FP32: "ov_fp32", OV_INT8: "ov_int8", CPU_INT8: "cpu_int8"}[wrong]
    slow(off={wrong: 9.0}, **(ALL | {fast: 0.0, "cpu_fp32": 0.004}))
    found = choice_of(bundle)
    assert found.way == CPU_FP32
    differ = {one.way: one.difference for one in found.measured}
    assert differ.pop(wrong) > precision.AGREE
    assert max(differ.values()) < 0.05


def test_openvino_alone_is_measured_against_fp32_on_the_cpu(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]]
) -> None:
    slow(off={OV_INT8: 9.0}, **(ALL | {"ov_int8": 0.0}))
    assert choice_of(bundle, provider="openvino").way == OV_FP32


def test_auto_goes_without_a_provider_that_fails_and_says_so_once(
    bundle: bundles.EmotionBundle,
    slow: Callable[..., list[Way]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened = slow(cpu_fp32=0.004, cpu_int8=0.0, ov_int8=0.0)  # fp32 fails
    found = choice_of(bundle)
    assert [one.way for one in found.measured] == [CPU_FP32, CPU_INT8, OV_INT8]
    assert caplog.text.count("going without provider openvino") == 1
    with pytest.raises(ProviderError, match="provider openvino is broken"):
        chosen(bundle, provider="openvino", precision="fp32")
    with pytest.raises(ProviderError, match="provider openvino is broken"):
        chosen(bundle, provider="openvino")
    opened.clear()
    assert choice_of(bundle) == found
    assert opened == [found.way]


def test_a_remembered_provider_that_is_gone_is_replaced(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(**(ALL | {"ov_int8": 0.0}))
    assert choice_of(bundle).way == OV_INT8
    create = session.create

    def gone(*arguments: Any, provider: str, **options: Any) -> session.Session:
        if provider == "openvino":
            raise ProviderError("provider openvino is gone")
        return create(*arguments, provider=provider, **options)

    monkeypatch.setattr(session, "create", gone)
    assert choice_of(bundle).way.provider == "cpu"


def test_one_way_is_not_measured(
    tmp_path: Path, cache: Path, slow: Callable[..., list[Way]]
) -> None:
    slow(cpu_fp32=0.0, cpu_int8=0.0)
    alone = bundles.find(tiny_model.write_bundle(tmp_path / "alone", int8=False))
    assert isinstance(alone, bundles.EmotionBundle)
    assert chosen(alone).choice is None
    assert not cache.exists()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_pictures_are_what_the_network_takes(
    bundle: bundles.EmotionBundle, layout: Any, dtype: Any
) -> None:
    spec = replace(bundle.input, color="rgb", width=12, layout=layout, dtype=dtype)
    spec = replace(spec, scale=1.0, offset=0.0)
    pictures = emotion._pictures(spec)
    assert pictures.shape == (emotion.COMPARED, *spec.shape) and pictures.dtype == dtype
    assert pictures.std() > 20 and len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) > 9


def test_an_int8_network_that_answers_otherwise_is_not_taken(
    tmp_path: Path, slow: Callable[..., list[Way]]
) -> None:
    """As on a processor where its sums saturate: fast, and wrong."""
    folder = tiny_model.write_bundle(tmp_path / "wrong")
    model = onnx.load(folder / "model.int8.onnx")
    dense = next(one for one in model.graph.initializer if one.name == "dense")
    dense.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(dense), "dense"))
    data = model.SerializeToString()
    (folder / "model.int8.onnx").write_bytes(data)
    description = folder / "bundle.json"
    facts = json.loads(description.read_text())
    facts["files"]["model.int8.onnx"]["sha256"] = hashlib.sha256(data).hexdigest()
    description.write_text(json.dumps(facts))
    bundle = bundles.find(folder)
    assert isinstance(bundle, bundles.EmotionBundle)
    slow(cpu_fp32=0.003, cpu_int8=0.0)
    found = choice_of(bundle)
    fp32, int8 = found.measured
    assert int8.ms < fp32.ms
    assert found.way == CPU_FP32 and int8.difference > precision.AGREE


def test_measured_once_then_remembered(
    bundle: bundles.EmotionBundle, cache: Path, slow: Callable[..., list[Way]]
) -> None:
    opened = slow(cpu_fp32=0.003, cpu_int8=0.0)
    first = choice_of(bundle)
    assert first.way == CPU_INT8 and opened == [CPU_FP32, CPU_INT8]
    assert cache.stat().st_size and not list(cache.parent.glob("choice.json?*"))
    opened.clear()
    assert choice_of(bundle) == first
    # Only what runs is opened.
    assert opened == [CPU_INT8]
    # Another number of threads is another question.
    choice_of(bundle, threads=2)
    assert opened == [CPU_INT8, CPU_FP32, CPU_INT8]


WAY = '{"provider": "cpu", "precision": "int8"}'
ENTRY = f'{{"way": {WAY}, "measured": [{{"way": {WAY}, "ms": 1, "difference": 0}}]}}'


def test_an_entry_that_is_read() -> None:
    """The entry that the next test damages is a good one."""
    found = precision._choice(json.loads(ENTRY))
    assert found == Choice(CPU_INT8, (Measured(CPU_INT8, 1.0, 0.0),))


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", '{"KEY": 1}', "[" * 100_000, '{"KEY": {"way": {}}}', "\x00"),
        # Of an earlier version.
        '{"KEY": {"precision": "int8", "fp32_ms": 1, "int8_ms": 2, "difference": 0}}',
        *(
            '{"KEY": ' + ENTRY.replace(good, bad) + "}"
            for good, bad in (
                ('"cpu"', '"gpu"'),
                ('"cpu"', "[]"),
                ('"int8"', '"fp64"'),
                ('"int8"', '"auto"'),
                ('"ms": 1', '"ms": "1"'),
                ('"ms": 1', '"ms": -1'),
                ('"difference": 0', '"difference": NaN'),
                ('"difference": 0', '"difference": null'),
                (', "difference": 0', ""),
                (f', "measured": [{{"way": {WAY}, "ms": 1, "difference": 0}}]', ""),
                (f'[{{"way": {WAY}, "ms": 1, "difference": 0}}]', "[]"),
                (f'[{{"way": {WAY}, "ms": 1, "difference": 0}}]', "7"),
            )
        ),
    ],
)
def test_a_damaged_cache_is_replaced(
    bundle: bundles.EmotionBundle, cache: Path, slow: Callable[..., list[Way]], content: str
) -> None:
    slow(cpu_fp32=0.001, cpu_int8=0.003)
    key = precision._key(bundle, 1, [CPU_FP32, CPU_INT8])
    cache.parent.mkdir(parents=True)
    cache.write_text(content.replace("KEY", key))
    assert choice_of(bundle).way == CPU_FP32
    (entry,) = json.loads(cache.read_text()).values()
    assert entry["way"] == {"provider": "cpu", "precision": "fp32"}


def test_a_damaged_entry_takes_no_others_with_it(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(f'{{"old": {{"precision": "int8"}}, "good": {ENTRY}}}')
    assert list(precision._read()) == ["good"]


def test_a_cache_that_cannot_be_written(
    bundle: bundles.EmotionBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slow: Callable[..., list[Way]],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    slow(cpu_fp32=0.0, cpu_int8=0.003)
    assert choice_of(bundle).way == CPU_FP32


def test_a_full_disk_leaves_nothing_behind(
    bundle: bundles.EmotionBundle,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    slow: Callable[..., list[Way]],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    slow(cpu_fp32=0.0, cpu_int8=0.003)
    monkeypatch.setattr(Path, "replace", full)
    choice_of(bundle)
    assert [path for path in cache.parent.rglob("*") if path.is_file()] == []


def test_the_cache_stays_small(cache: Path) -> None:
    choice = Choice(CPU_FP32, (Measured(CPU_FP32, 1.0, 0.0),))
    precision._write({f"key {i}": choice for i in range(500)})
    kept = json.loads(cache.read_text())
    assert len(kept) == precision.MAX_ENTRIES and "key 499" in kept
    assert precision._read()["key 499"] == choice


def test_the_key_names_what_the_answer_depends_on(bundle: bundles.EmotionBundle) -> None:
    import onnxruntime

    key = precision._key(bundle, 3, [CPU_FP32, CPU_INT8])
    parts = (bundle.files["model.onnx"][:16], onnxruntime.__version__, "int8 on cpu", "threads=3")
    for part in parts:
        assert part in key
    assert key != precision._key(bundle, 3, [CPU_FP32, OV_FP32])


@pytest.mark.parametrize("what", ["processor", "instructions"])
def test_another_machine_measures_anew(
    bundle: bundles.EmotionBundle, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    key = precision._key(bundle, 1, [CPU_FP32, CPU_INT8])
    monkeypatch.setattr(user_cache, what, lambda: "another")
    assert precision._key(bundle, 1, [CPU_FP32, CPU_INT8]) != key


def test_another_file_or_runtime_is_measured_anew(
    bundle: bundles.EmotionBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [Way("cpu", "fp32"), Way("cpu", "int8")]
    other = replace(bundle, files={**bundle.files, "model.int8.onnx": "f" * 64})
    keys = {precision._key(one, 1, ways) for one in (bundle, other)}
    for version in ("1", "2"):
        there = {"cpu": "1", "openvino": version}
        monkeypatch.setattr(session, "installed", lambda there=there: there)
        keys.add(precision._key(bundle, 1, ways))
    assert len(keys) == 4


def test_what_was_measured_for_other_threads_stays(
    bundle: bundles.EmotionBundle, slow: Callable[..., list[Way]]
) -> None:
    opened = slow(cpu_fp32=0.003, cpu_int8=0.001)
    for threads in (1, 2):
        choice_of(bundle, threads=threads)
    opened.clear()
    choice_of(bundle)
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("way", "s", "winner"),
    [
        ("ov_fp32", 0.009, CPU_FP32),
        ("ov_fp32", 0.007, OV_FP32),
        ("cpu_int8", 0.0096, CPU_FP32),
        ("cpu_int8", 0.0094, CPU_INT8),
    ],
)
def test_how_much_faster_another_way_must_be(
    bundle: bundles.EmotionBundle,
    slow: Callable[..., list[Way]],
    way: str,
    s: float,
    winner: Way,
) -> None:
    slow(**(dict.fromkeys(ALL, 0.01) | {way: s}))
    assert choice_of(bundle).way == winner
