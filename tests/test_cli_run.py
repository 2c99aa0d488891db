"""The loop of a run: what the sinks are told, in which order, and how each end comes about."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ferlite.analyzer import Analyzer
from ferlite.cli.interrupt import Interrupted, Signals
from ferlite.cli.progress import Progress
from ferlite.cli.run import run
from ferlite.demo.clip import DemoSource
from ferlite.errors import SinkError
from ferlite.faces import DEFAULT_DETECTOR
from ferlite.pipeline import Pipeline
from ferlite.sinks import ReaderGone, Summary
from ferlite.types import Frame, FrameResult, SourceInfo


class Diary:
    """A sink that notes its calls, and does something of the test's choice at one of them."""

    written = ""

    def __init__(self, at: str = "", action: Callable[[], None] = lambda: None) -> None:
        self.calls: list[str] = []
        self._at = at
        self._action = action

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._at:
            self._action()

    def begin(self, info: SourceInfo) -> None:
        self._note(f"begin {info.name}")

    def write(self, frame: Frame, result: FrameResult) -> None:
        assert (frame.index, frame.t) == (result.frame, result.t)
        self._note(f"write {frame.index}")

    def finish(self) -> None:
        self._note("finish")

    def abort(self) -> None:
        self._note("abort")


@pytest.fixture(scope="module")
def analyzer(tiny: Path) -> Analyzer:
    return Analyzer(model=tiny, precision="fp32", min_face=64)


def raises(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def run_demo(analyzer: Analyzer, *sinks: Diary, still: bool = False) -> Summary:
    summary = Summary(Path())
    with DemoSource(still=still) as source:
        run(analyzer, source, sinks, summary, Progress(1), {"asked": 1})
    return summary


def test_a_whole_run(analyzer: Analyzer) -> None:
    first, second = Diary(), Diary()
    told = run_demo(analyzer, first, second, still=True).to_dict()
    assert first.calls == second.calls == ["begin demo", "write 0", "finish"]
    assert (told["frames"], told["faces"], told["asked"]) == (1, 2, 1)
    assert told["interrupted"] is False
    assert told["frames_dropped"] == 0
    assert told["detector"] == DEFAULT_DETECTOR
    assert told["stage_seconds"]["detect"] > 0


def test_an_error_of_a_sink_aborts_all(analyzer: Analyzer) -> None:
    first, second = Diary(), Diary("write 2", raises(SinkError("disk full")))
    with pytest.raises(SinkError, match="disk full"):
        run_demo(analyzer, first, second)
    wanted = ["begin demo", "write 0", "write 1", "write 2", "abort"]
    assert first.calls == second.calls == wanted


def test_an_error_at_the_end_aborts_all(analyzer: Analyzer) -> None:
    first, second = Diary("finish", raises(SinkError("disk full"))), Diary()
    with pytest.raises(SinkError, match="disk full"):
        run_demo(analyzer, first, second, still=True)
    assert first.calls[-2:] == ["finish", "abort"]
    assert second.calls[-2:] == ["write 0", "abort"]


def test_a_reader_that_is_gone_ends_the_run_properly(analyzer: Analyzer) -> None:
    only = Diary("write 1", raises(ReaderGone()))
    run_demo(analyzer, only)
    assert only.calls[-2:] == ["write 1", "finish"]


def test_what_else_is_written_goes_on_without_a_reader(analyzer: Analyzer) -> None:
    first, second = Diary("write 1", raises(ReaderGone())), Diary()
    run_demo(analyzer, first, second)
    assert first.calls[-2:] == ["write 1", "finish"]
    assert second.calls[-2:] == ["write 99", "finish"]


@pytest.fixture
def sigterm_as_before() -> Iterator[None]:
    """A run that SIGTERM ended leaves it ignored: its process ends."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_as_before")
def test_a_signal_ends_the_run_after_what_was_decoded(analyzer: Analyzer) -> None:
    first = Diary("write 2", lambda: signal.raise_signal(signal.SIGTERM))
    second = Diary()
    with pytest.raises(Interrupted) as caught:
        run_demo(analyzer, first, second)
    assert caught.value.signum == signal.SIGTERM
    assert first.calls == second.calls
    writes = [call for call in first.calls if call.startswith("write")]
    assert writes == [f"write {index}" for index in range(len(writes))]
    assert 3 <= len(writes) < 20  # what the queues hold, not the 100 frames of the clip
    assert first.calls[-1] == "finish"


def test_a_signal_while_finishing_costs_nothing(analyzer: Analyzer) -> None:
    """The records are complete by then: they stay, and the exit status tells of the signal."""
    first = Diary("finish", lambda: signal.raise_signal(signal.SIGINT))
    second = Diary()
    with pytest.raises(Interrupted):
        run_demo(analyzer, first, second, still=True)
    assert first.calls == second.calls == ["begin demo", "write 0", "finish"]


def test_a_second_signal_while_finishing_aborts(analyzer: Analyzer) -> None:
    first = Diary("write 1", lambda: signal.raise_signal(signal.SIGINT))
    second = Diary("finish", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        run_demo(analyzer, first, second)
    assert first.calls[-2:] == ["finish", "abort"]
    assert second.calls[-2:] == ["finish", "abort"]


def test_a_signal_between_two_frames_loses_none(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes as the pipeline hands out a frame: that frame is written all the same."""
    take = Pipeline.__next__

    def signalled(self: Pipeline[Any]) -> Any:
        item = take(self)
        if item[0].index == 2:
            signal.raise_signal(signal.SIGINT)
        return item

    monkeypatch.setattr(Pipeline, "__next__", signalled)
    first = Diary()
    with pytest.raises(Interrupted):
        run_demo(analyzer, first, Diary())
    writes = [call for call in first.calls if call.startswith("write")]
    assert writes == [f"write {index}" for index in range(len(writes))]
    assert 3 <= len(writes) < 20


def test_dropped_frames_are_told(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "dropped", 7)
    assert run_demo(analyzer, Diary(), still=True).to_dict()["frames_dropped"] == 7


def test_two_sigterms_at_once_are_one(sigterm_as_before: None) -> None:
    with Signals(lambda: None) as signals:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
    assert signals.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
