"""The README's Python examples run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
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
