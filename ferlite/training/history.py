"""The table that a run keeps of its epochs. Needs no training package."""

from __future__ import annotations

import csv
from pathlib import Path

from ferlite.errors import DataError

HISTORY = "history.csv"
Row = dict[str, float]


def read_history(folder: Path, *columns: str) -> list[Row]:
    """The rows of history.csv in a run's folder; empty where there is none.

    columns: those it must have beside epoch and seconds.
    Raises DataError for a table without them, or with anything but numbers in it.
    """
    path = folder / HISTORY
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [{k: float(v) for k, v in row.items()} for row in reader]
            found = reader.fieldnames or ()
    except (TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error})") from error
    if missing := [name for name in ("epoch", "seconds", *columns) if name not in found]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; it must be the table of such a run"
        )
    return rows


def write_history(path: Path, rows: list[Row]) -> None:
    """Replace the table; `rows` in order, with equal columns."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.9g}" for k, v in row.items()})
