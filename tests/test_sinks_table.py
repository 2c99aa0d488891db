"""CSV: columns, rows, quoting, and agreement with the JSON Lines record."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sink_records import LABELS, make_face, make_frame

from ferlite.errors import UsageError
from ferlite.sinks import CsvTable
from ferlite.types import Frame, FrameResult, SourceInfo

INFO = SourceInfo("clip.mp4", "video", 128, 96)
COLUMNS = [
    *("source", "frame", "t", "received", "width", "height", "error"),
    *("track", "box_x", "box_y", "box_width", "box_height"),
    *("score", "emotion", "confidence", "uncertain"),
    *LABELS,
    *(f"raw_{label}" for label in LABELS),
    *("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "nose_x", "nose_y"),
    *("left_mouth_x", "left_mouth_y", "right_mouth_x", "right_mouth_y"),
]


def written(folder: Path, *items: tuple[Frame, FrameResult]) -> list[dict[str, str]]:
    sink = CsvTable(folder / "results.csv", LABELS)
    for frame, result in items:
        sink.write(frame, result)
    sink.finish()
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, strict=True)
        table = list(rows)
        assert rows.fieldnames == COLUMNS
    assert all(None not in row and None not in row.values() for row in table)  # no ragged row
    return table


def test_a_row_a_face_and_one_without(tmp_path: Path) -> None:
    items = [
        make_frame(INFO, 0, 0.04, [make_face(landmarks=True, raw=0.5), make_face(track=None)]),
        make_frame(INFO, 1, 0.08),
        make_frame(INFO, 2, 0.12, error="cannot decode frame 2"),
    ]
    rows = written(tmp_path, *items)
    assert [(row["frame"], row["track"]) for row in rows] == [
        ("0", "1"),
        ("0", ""),
        ("1", ""),
        ("2", ""),
    ]
    assert all(rows[2][column] == "" for column in COLUMNS[6:])
    assert rows[3]["error"] == "cannot decode frame 2"
    assert (rows[3]["width"], rows[3]["t"]) == ("0", "0.12")


def test_the_numbers_are_those_of_the_record(tmp_path: Path) -> None:
    item = make_frame(INFO, 7, 1 / 3, [make_face((1 / 3, 2, 3, 4), landmarks=True, raw=0.4)])
    (row,) = written(tmp_path, item)
    record = item[1].to_dict()
    face = record["faces"][0]
    assert float(row["t"]) == record["t"]
    assert [float(row[column]) for column in COLUMNS[8:12]] == face["box"]
    assert float(row["confidence"]) == face["confidence"]
    assert row["uncertain"] == "false"
    assert {label: float(row[label]) for label in LABELS} == face["emotions"]
    assert {label: float(row[f"raw_{label}"]) for label in LABELS} == face["raw_emotions"]
    assert [float(row[column]) for column in COLUMNS[-10:]] == [
        value for point in face["landmarks"] for value in point
    ]


def test_the_time_of_day_is_that_of_the_record(tmp_path: Path) -> None:
    frame, result = make_frame(INFO, 0, 0.04, [make_face()])
    live = replace(result, received=datetime(2026, 2, 3, 4, 5, 6, 7890, UTC))
    rows = written(tmp_path, (frame, live), (frame, result))
    assert [row["received"] for row in rows] == ["2026-02-03T04:05:06.007+00:00", ""]
    assert live.to_dict()["received"] == rows[0]["received"]
    assert "received" not in result.to_dict()


def test_what_is_not_a_number_is_empty(tmp_path: Path) -> None:
    face = make_face((math.nan, math.inf, 1, 2), confidence=math.nan, uncertain=True)
    (row,) = written(tmp_path, make_frame(INFO, 0, math.nan, [face]))
    assert [row[column] for column in ("t", "box_x", "box_y", "confidence", "happiness")] == [
        ""
    ] * 5
    assert (row["box_width"], row["uncertain"]) == ("1", "true")


@pytest.mark.parametrize("name", ['a,b".mp4', "a\nb\r\nc.mp4", "日本 😀.mp4", "a;b\t.mp4", " a "])
def test_odd_names_come_back(tmp_path: Path, name: str) -> None:
    (row,) = written(tmp_path, make_frame(SourceInfo(name, "video")))
    assert row["source"] == name


@pytest.mark.parametrize("name", ["=1+1.mp4", "+a", "-a", "@a", "\ta", "\ra", "\na"])
def test_a_name_never_becomes_a_formula(tmp_path: Path, name: str) -> None:
    (row,) = written(tmp_path, make_frame(SourceInfo(name, "video"), error=f"{name}: broken"))
    assert row["source"] == "'" + name
    assert row["error"] == f"'{name}: broken"


def test_a_negative_number_stays_a_number(tmp_path: Path) -> None:
    (row,) = written(tmp_path, make_frame(INFO, 0, -0.5, [make_face((-5, -6, 40, 50))]))
    assert (row["t"], row["box_x"], row["box_y"]) == ("-0.5", "-5", "-6")


def test_each_row_can_be_read_at_once(tmp_path: Path) -> None:
    sink = CsvTable(tmp_path / "results.csv", LABELS)
    part = tmp_path / "results.csv.ferlite.part"
    assert part.read_text().count("\n") == 1
    sink.write(*make_frame(INFO, 0, 0.0, [make_face(), make_face()]))
    assert part.read_text().count("\n") == 3
    sink.abort()
    assert part.read_text().count("\n") == 3


def test_a_label_that_is_a_column_already(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"label 'score' is also .* rename the label"):
        CsvTable(tmp_path / "results.csv", ["neutral", "score"])
    assert list(tmp_path.iterdir()) == []
