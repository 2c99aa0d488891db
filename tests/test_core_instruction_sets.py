"""Which kernels run, and how FERLITE_FORCE_ISA forces them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ferlite import _core, crops

MACHINE = platform.machine()
EVERYWHERE = {"x86_64": ["plain", "sse2"], "aarch64": ["plain", "neon"]}


def forced(name: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"FERLITE_FORCE_ISA": name}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_what_every_machine_of_its_kind_has() -> None:
    available = _core.instruction_sets()
    assert available[:2] == EVERYWHERE.get(MACHINE, ["plain"])
    assert len(set(available)) == len(available)


def test_flags_that_the_system_reports_are_used() -> None:
    with Path("/proc/cpuinfo").open() as file:
        flags = set(next((line for line in file if line.startswith("flags")), "").split())
    wide = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
    for name, needed in wide.items():
        assert (name in _core.instruction_sets()) == (needed <= flags)


@pytest.mark.parametrize("name", ["", *_core.instruction_sets()])
def test_forcing_one(name: str) -> None:
    code = "from ferlite import crops; print(crops.instruction_set())"
    process = forced(name, code)
    assert process.stdout.strip() == (name or _core.instruction_sets()[-1]), process.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mmx", "is no instruction set"),
        ("AVX2", "is no instruction set"),
        ("neon" if MACHINE == "x86_64" else "avx2", "this machine or build lacks"),
    ],
)
def test_forcing_what_cannot_run_is_an_error_each_time(name: str, why: str) -> None:
    code = """
import numpy as np
from ferlite import crops
from ferlite.errors import UsageError
image = np.zeros((4, 4, 3), np.uint8)
for call in (
    crops.instruction_set,
    lambda: crops.crop_faces(image, [[0, 0, 2, 2]], size=(2, 2)),
    lambda: crops.letterbox(image, (8, 8)),
    lambda: crops.decode_boxes([np.zeros((5, 1, 1), np.float32)], [8], threshold=0.5),
):
    try:
        call()
    except UsageError as error:
        print(error)
"""
    process = forced(name, code)
    lines = process.stdout.splitlines()
    assert len(lines) == 4 and len(set(lines)) == 1, process.stderr
    assert f"FERLITE_FORCE_ISA is '{name}'" in lines[0] and why in lines[0]
    assert ", ".join(_core.instruction_sets()) in lines[0]


def test_use_takes_no_unknown_name() -> None:
    with pytest.raises(ValueError, match="'sse9', which is no instruction set"):
        _core.use_instruction_set("sse9")
    assert crops.instruction_set() == _core.instruction_set()
