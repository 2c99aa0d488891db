"""The README's Python examples run as they stand; docs/outputs.md names what is written."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ferlite_command
from conftest import ROOT
from media import write_clip

from ferlite.demo.clip import frames

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["stream", "pictures", "crops"])
def test_example_runs_and_prints(example: str, tmp_path: Path) -> None:
    pictures = [image for _, image in frames(1.0)]
    write_clip(tmp_path / "clip.mp4", pictures=pictures)
    cv2.imwrite(str(tmp_path / "portrait.jpg"), pictures[0][:, :320])
    cv2.imwrite(str(tmp_path / "group.jpg"), pictures[0])
    for number, left in ((1, 140), (2, 430)):
        face = np.ascontiguousarray(pictures[0][90:210, left : left + 120])
        cv2.imwrite(str(tmp_path / f"face-{number}.png"), face)
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() and not run.stderr


def test_every_field_and_column_is_described(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", pictures=[image for _, image in frames(0.3)])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    ferlite_command("detect", "clip.mp4", "broken.jpg", "-o", "out", cwd=tmp_path)
    out = tmp_path / "out"
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    faces = [face for record in records for face in record["faces"]]
    assert faces
    with (out / "results.csv").open(newline="") as file:
        columns = set(next(csv.reader(file)))
    labels = faces[0]["emotions"]
    columns -= {*labels, *(f"raw_{label}" for label in labels)}
    summary = json.loads((out / "summary.json").read_text())
    parts = [*records, *faces, summary, *summary["sources"], *summary["tracks"]]
    written = columns.union(*parts)

    text = (ROOT / "docs" / "outputs.md").read_text()
    assert written <= set(re.findall(r"`(\w+)`", text))
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= written
