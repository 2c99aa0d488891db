"""The command line: a group whose commands are imported only when they are called.

`ferlite --help` therefore costs no more than click. Errors leave here as one line on stderr:

    0    done; also when the reader of the output has seen enough (`| head`)
    1    the run failed, or some of its inputs did (FerliteError)
    2    wrong usage (UsageError, click's own)
    130  Ctrl-C (128 + SIGINT); 143 for SIGTERM
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import click

from ferlite import __version__
from ferlite.cli.interrupt import Interrupted
from ferlite.cli.stderr import say, silence
from ferlite.errors import FerliteError, UsageError


class _Entry(NamedTuple):
    module: str
    attribute: str
    help: str


COMMANDS = {
    "detect": _Entry("ferlite.cli.detect", "detect", "Read emotions from pictures, video, camera."),
    "demo": _Entry("ferlite.cli.demo", "demo", "Try it: a built-in clip, no file and no network."),
    "models": _Entry("ferlite.cli.models", "models", "List, show, verify, add, remove models."),
    "doctor": _Entry("ferlite.cli.doctor", "doctor", "Tell what works on this machine."),
    "bench": _Entry("ferlite.cli.bench", "bench", "Measure how fast ferlite is on this machine."),
    "train": _Entry("ferlite.cli.train", "train", "Train an emotion network or a face detector."),
    "evaluate": _Entry("ferlite.cli.evaluate", "evaluate", "Score models on labelled pictures."),
    "export": _Entry("ferlite.cli.export", "export", "Turn trained weights into an ONNX model."),
    "quantize": _Entry("ferlite.cli.quantize", "quantize", "Make the INT8 version of a model."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and one line each; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def main(self, *args: Any, **extra: Any) -> Any:
        if sys.stderr is None:
            # Closed (`2>&-`): so that the next file opened does not become the second descriptor.
            sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        try:
            return super().main(*args, **extra)
        except OSError as error:  # of --help or --version: nothing else comes here
            silence(sys.stdout)
            sys.exit(_report(error))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage_in_one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_in_one_line():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:
            if ctx.params.get("debug") or isinstance(error, SystemExit):
                raise
            ctx.exit(_report(error))


class _UsageLine(click.ClickException):
    """click's own UsageError has three lines or more."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        say(f"error: {self.message}")


@contextmanager
def _usage_in_one_line() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2: its message is the help
            raise
        words = " ".join(error.format_message().split()).rstrip(".")
        command = error.ctx.command_path if error.ctx else "ferlite"
        raise _UsageLine(f"{words}; see `{command} --help`") from error


def _report(error: BaseException) -> int:
    """Prints the one line for this error and gives the exit status."""
    words = " ".join(str(error).split())
    if isinstance(error, BrokenPipeError):
        silence(sys.stdout)  # the reader has what it wanted (`| head`)
        return 0
    if isinstance(error, KeyboardInterrupt):
        say(words or "interrupted")
        return 128 + (error.signum if isinstance(error, Interrupted) else signal.SIGINT)
    if isinstance(error, FerliteError):
        say(f"error: {words}")
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, OSError) and error.strerror:  # a full disk, a folder that is not ours
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror}")
        return 1
    say(f"error: unexpected {type(error).__name__}: {words} (`ferlite --debug ...` shows where)")
    return 1


class _Warnings(logging.Handler):
    """Log records as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


_WARNINGS = _Warnings()


@click.command(
    "ferlite",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  ferlite demo                              see it work
  ferlite detect holiday.mp4 -o out         annotated video, records, summary
  ferlite detect photos/                    every picture of a folder
  ferlite detect 0 --stdout                 first camera, JSON Lines to the terminal
  ferlite doctor                            what works here, what to do where it does not
""",
)
@click.version_option(__version__, prog_name="ferlite")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
def main(debug: bool) -> None:
    """Reads facial emotion from pictures, video and cameras, on small CPUs and offline."""
    logging.getLogger("ferlite").addHandler(_WARNINGS)
    # OpenCV's own lines about a damaged picture say again what its record says.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
