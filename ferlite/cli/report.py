"""The end of a run on stderr: a table on a terminal, two lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlite.cli.stderr import say

if TYPE_CHECKING:
    from ferlite.sinks import Sink

MAX_ROWS = 12


def report(summary: Mapping[str, Any], folder: Path | None, sinks: Sequence[Sink]) -> None:
    """Prints what a run saw (`summary` as in summary.json) and what its sinks left in `folder`."""
    totals = _totals(summary)
    if sys.stderr.isatty() and summary["faces"]:
        from rich.console import Console

        console = Console(stderr=True)
        console.print(_table(summary))
        console.print(totals, highlight=False, markup=False)
    else:
        shares = shares_text(summary["emotions"]) if summary["faces"] else ""
        say(f"{totals}{': ' if shares else ''}{shares}")
    if names := ", ".join(sink.written for sink in sinks if sink.written):
        say(f"written to {folder}: {names}")
    elif folder is not None:
        say(f"nothing written to {folder}: what --save names does not fit these sources")


def shares_text(emotions: Mapping[str, float], most: int = 3) -> str:
    """ "happiness 61 %, neutral 30 %, surprise 5 %": the `most` largest shares."""
    largest = sorted(emotions.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{label} {share:.0%}".replace("%", " %") for label, share in largest)


def _totals(summary: Mapping[str, Any]) -> str:
    parts = [_count(summary["frames"], "frame"), _count(summary["faces"], "face")]
    if summary["tracks_total"]:
        parts.append(_count(summary["tracks_total"], "track"))
    if summary["errors"]:
        parts.append(f"{summary['errors']} failed")
    if summary["frames_per_second"]:
        parts.append(f"{summary['frames_per_second']:.1f} frames/s")
    return ", ".join(parts)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _table(summary: Mapping[str, Any]) -> Any:
    """Tracks where there are any, else sources with a face; the most seen first."""
    from rich.table import Table

    tracks = summary["tracks"]
    several = len({track["source"] for track in tracks}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("track", "faces", "seen") if tracks else ("source", "faces"):
        right = name in ("faces", "seen") or (name == "track" and not several)
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    table.add_column("emotion", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("then")  # the one that gives way on a narrow terminal
    rows = [row for row in tracks or summary["sources"] if row["emotions"]]
    rows.sort(key=lambda row: -row["frames" if tracks else "faces"])
    for row in rows[:MAX_ROWS]:
        name = Path(row["source"] or "").name[-24:]
        if tracks:
            name = f"{name} {row['track']}" if several else str(row["track"])
            seen = f"{row['first_t']:.1f}-{row['last_t']:.1f} s"
            cells = [str(row["frames"]), seen]
        else:
            cells = [str(row["faces"])]
        table.add_row(_plain(name), *cells, *_shares(row["emotions"]))
    if len(rows) > MAX_ROWS:
        table.add_row(_plain(f"{len(rows) - MAX_ROWS} more"))
    blank = [""] if tracks else []
    table.add_row("all", str(summary["faces"]), *blank, *_shares(summary["emotions"]), style="bold")
    return table


def _plain(text: str) -> Any:
    from rich.text import Text

    # A file name is no markup, and what is too long ends in dots instead of on a second line.
    return Text(text, no_wrap=True, overflow="ellipsis")


def _shares(emotions: Mapping[str, float]) -> list[Any]:
    """The largest emotion, a bar of its share, and the next two."""
    first, *then = shares_text(emotions).split(", ")
    filled = round(max(emotions.values()) * 10)
    return [first, "█" * filled + "░" * (10 - filled), _plain(", ".join(then))]
