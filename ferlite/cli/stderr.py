"""Lines for a person, on stderr. A run goes on where nobody can read them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def say(line: str) -> None:
    """One line; none where stderr is closed, full, or a pipe whose reader has gone."""
    # Not click.echo: it would find the real stderr behind the one that a progress bar puts in its
    # place so that lines do not run into the bar.
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is still to come on a stream that failed goes where nobody complains.

    Python flushes it once more at its end, and would fail again (Python library, `signal`).
    """
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
