from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_model
from onnx import numpy_helper

from ferlite import bundles, emotion, precision, session
from ferlite.precision import Choice


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


class Slow(session.Session):
    """A session that takes its time, whatever it computes."""

    wait_s = 0.0

    def run(self, batch):  # type: ignore[no-untyped-def]
        import time

        time.sleep(self.wait_s)
        return super().run(batch)


def opened(bundle: bundles.EmotionBundle, kind: str, wait_s: float = 0.0) -> Slow:
    made = session.create(bundle.load(bundle.precisions[kind]), provider="cpu", threads=1)
    slow = Slow(made._session, made.name, made.provider)
    slow.wait_s = wait_s
    return slow


@pytest.mark.parametrize(
    ("fp32_s", "int8_s", "winner"),
    [(0.004, 0.001, "int8"), (0.001, 0.004, "fp32"), (0.004, 0.004, "fp32")],
)
def test_the_faster_wins_and_fp32_a_tie(
    bundle: bundles.EmotionBundle,
    fp32_s: float,
    int8_s: float,
    winner: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fp32_s == int8_s:
        monkeypatch.setattr(precision, "WORTH", 0.5)  # timers of a busy machine are not this exact
    found = precision.measure(
        emotion.trial(bundle), opened(bundle, "fp32", fp32_s), opened(bundle, "int8", int8_s)
    )
    assert found.precision == winner
    assert found.fp32_ms >= fp32_s * 1e3 and found.int8_ms >= int8_s * 1e3


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


def test_an_int8_network_that_answers_otherwise_is_not_taken(bundle: bundles.EmotionBundle) -> None:
    """As on a processor where its sums saturate: fast, and wrong."""
    fp32 = opened(bundle, "fp32", 0.003)
    agreed = precision.measure(emotion.trial(bundle), fp32, opened(bundle, "int8"))
    assert agreed.precision == "int8" and agreed.difference < 0.05
    model = onnx.load_from_string(bundle.load("model.int8.onnx"))
    dense = next(one for one in model.graph.initializer if one.name == "dense")
    dense.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(dense), "dense"))
    wrong = session.create(model.SerializeToString(), provider="cpu", threads=1)
    found = precision.measure(emotion.trial(bundle), fp32, wrong)
    assert found.int8_ms < found.fp32_ms
    assert found.precision == "fp32" and found.difference > precision.AGREE


def test_measured_once_then_remembered(bundle: bundles.EmotionBundle, cache: Path) -> None:
    fp32 = opened(bundle, "fp32", 0.003)
    first = precision.choose(
        bundle, fp32, lambda: opened(bundle, "int8"), 1, lambda: emotion.trial(bundle)
    )
    assert first.precision == "int8"
    assert cache.stat().st_size and [path.name for path in cache.parent.iterdir()] == [cache.name]

    def never() -> session.Session:
        raise AssertionError("measured again")

    assert precision.choose(bundle, fp32, never, 1, lambda: emotion.trial(bundle)) == first
    # Another number of threads is another question.
    with pytest.raises(AssertionError, match="measured again"):
        precision.choose(bundle, fp32, never, 2, lambda: emotion.trial(bundle))


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", '{"a": 1}', "[" * 100_000, '{"a": {"precision": "int8"}}', "\x00"),
        '{"a": {"precision": [], "fp32_ms": 1, "int8_ms": 2, "difference": 0}}',
        '{"a": {"precision": "int8", "fp32_ms": "1", "int8_ms": 2, "difference": 0}}',
        '{"a": {"precision": "int8", "fp32_ms": 1, "int8_ms": NaN, "difference": 0}}',
        '{"a": {"precision": "int8", "fp32_ms": 1, "int8_ms": 2, "difference": null}}',
        '{"a": {"precision": "int8", "fp32_ms": 1, "int8_ms": 2}}',
    ],
)
def test_a_damaged_cache_is_replaced(
    bundle: bundles.EmotionBundle, cache: Path, content: str
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    fp32 = opened(bundle, "fp32", 0.003)
    precision.choose(bundle, fp32, lambda: opened(bundle, "int8"), 1, lambda: emotion.trial(bundle))
    (entry,) = json.loads(cache.read_text()).values()
    assert entry["precision"] == "int8"


def test_an_unknown_precision_in_the_cache_is_ignored(
    bundle: bundles.EmotionBundle, cache: Path
) -> None:
    fp32 = opened(bundle, "fp32", 0.003)
    precision._write({precision._key(bundle, "cpu", 1): Choice("fp64", 1.0, 1.0, 0.0)})
    assert (
        precision.choose(
            bundle, fp32, lambda: opened(bundle, "int8"), 1, lambda: emotion.trial(bundle)
        ).precision
        == "int8"
    )


def test_a_cache_that_cannot_be_written(
    bundle: bundles.EmotionBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = precision.choose(
        bundle,
        opened(bundle, "fp32"),
        lambda: opened(bundle, "int8", 0.003),
        1,
        lambda: emotion.trial(bundle),
    )
    assert found.precision == "fp32"


def test_a_full_disk_leaves_nothing_behind(
    bundle: bundles.EmotionBundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    precision.choose(
        bundle,
        opened(bundle, "fp32"),
        lambda: opened(bundle, "int8"),
        1,
        lambda: emotion.trial(bundle),
    )
    assert list(cache.parent.iterdir()) == []


def test_the_cache_stays_small(cache: Path) -> None:
    precision._write({f"key {i}": Choice("fp32", 1.0, 2.0, 0.0) for i in range(500)})
    kept = json.loads(cache.read_text())
    assert len(kept) == precision.MAX_ENTRIES and "key 499" in kept


def test_the_key_names_what_the_answer_depends_on(bundle: bundles.EmotionBundle) -> None:
    import onnxruntime

    key = precision._key(bundle, "cpu", 3)
    for part in (bundle.files["model.onnx"][:16], onnxruntime.__version__, "cpu", "threads=3"):
        assert part in key
    assert key != precision._key(bundle, "openvino", 3)
