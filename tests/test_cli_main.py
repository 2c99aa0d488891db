"""The command group: what every command has in common, errors above all."""

from __future__ import annotations

import signal
import threading
from importlib import import_module

import click
import pytest
from click.testing import CliRunner, Result

import ferlite
from ferlite import errors
from ferlite.cli import COMMANDS, main
from ferlite.cli.interrupt import Interrupted, Signals


def invoke_failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *before: str) -> Result:
    """Runs a command of the group that raises `error`."""

    @click.command()
    def failing() -> None:
        raise error

    doctor = import_module("ferlite.cli.doctor")
    monkeypatch.setattr(doctor, "doctor", failing)
    return CliRunner().invoke(main, [*before, "doctor"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SourceError("a.mp4: no such file"), 1),
        (errors.ModelError("m.onnx: not a model"), 1),
        (errors.ProviderError("openvino: not installed"), 1),
        (errors.SinkError("cannot write"), 1),
        (errors.DataError("no rows"), 1),
        (errors.UsageError("every=0: give 1 or more"), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_is_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    result = invoke_failing(monkeypatch, error)
    assert result.stderr == f"error: {error}\n"
    assert result.stdout == ""
    assert result.exit_code == status


def test_an_error_of_several_lines_is_still_one(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke_failing(monkeypatch, errors.ModelError("bad\n  model\n"))
    assert result.stderr == "error: bad model\n"


def test_an_unexpected_error_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke_failing(monkeypatch, KeyError("x"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "unexpected KeyError: 'x'" in result.stderr
    assert "--debug" in result.stderr


def test_debug_lets_the_exception_through(monkeypatch: pytest.MonkeyPatch) -> None:
    error = errors.ModelError("no")
    result = invoke_failing(monkeypatch, error, "--debug")
    assert result.exception is error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted(signal.SIGINT), 130, "interrupted"),
        (Interrupted(signal.SIGTERM), 143, "interrupted"),
    ],
)
def test_interrupts(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    result = invoke_failing(monkeypatch, error)
    assert result.exit_code == status
    assert result.stderr.strip() == line


def test_version_and_help() -> None:
    assert (
        CliRunner().invoke(main, ["--version"]).output
        == f"ferlite, version {ferlite.__version__}\n"
    )
    text = CliRunner().invoke(main, ["-h"]).output
    for name, entry in COMMANDS.items():
        assert name in text
        assert entry.help in text
    assert "Examples:" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"ferlite {name}" in result.output.split("Example")[1]


def test_unknown_command_is_usage() -> None:
    result = CliRunner().invoke(main, ["detekt"])
    assert result.exit_code == 2
    assert result.stderr == "error: No such command 'detekt'; see `ferlite --help`\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--colour"], "error: No such option '--colour'; see `ferlite --help`"),
        (["detect"], "error: Missing argument 'SOURCE...'; see `ferlite detect --help`"),
        (["models", "show"], "error: Missing argument 'NAME'; see `ferlite models show --help`"),
        (["demo", "-o", ""], "-o' / '--output': it is empty; give a name or path"),
        (["demo", "--model", ""], "'--model': it is empty"),
        (["doctor", "-o", " "], "'--output': it is empty"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert line.replace(":", "").lower() in result.stderr.replace(":", "").lower()
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_a_group_without_a_command_shows_its_help() -> None:
    for arguments in ([], ["models"]):
        assert "Commands" in CliRunner().invoke(main, arguments).output


def test_the_first_signal_stops_and_the_second_is_raised() -> None:
    stopped = threading.Event()
    steps = []
    with pytest.raises(Interrupted) as caught, Signals(stopped.set) as signals:
        assert signals.received is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        assert stopped.wait(10)
        steps.append("went on")
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not reached")
    assert steps == ["went on"]
    assert caught.value.signum == signal.SIGINT


def test_a_signal_while_the_lock_that_stop_needs_is_held() -> None:
    lock, stopped = threading.Lock(), threading.Event()

    def stop() -> None:
        with lock:
            stopped.set()

    with Signals(stop):
        with lock:
            signal.raise_signal(signal.SIGINT)
        assert stopped.wait(10)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
