"""What importing and asking for help costs: a command line that answers at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command import PACKAGE_ROOT

import ferlite
from ferlite import errors
from ferlite.cli import COMMANDS

HEAVY = {"numpy", "cv2", "onnxruntime", "av", "rich", "keras", "tensorflow", "onnx"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after running this code in a fresh interpreter."""
    probe = (
        f"{code}\nimport sys\nprint('LOADED', *sorted({{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(PACKAGE_ROOT)},
    )
    return set(done.stdout.splitlines()[-1].removeprefix("LOADED ").split())


def test_import_ferlite_loads_nothing_heavy() -> None:
    assert "ferlite" in loaded_by("import ferlite")
    assert not HEAVY & loaded_by("import ferlite")


def test_a_public_name_is_loaded_on_first_use() -> None:
    assert "onnxruntime" in loaded_by(
        "import ferlite, ferlite.session\nferlite.Analyzer\nferlite.session.providers()"
    )


def test_every_public_name_is_there() -> None:
    for name in ferlite.__all__:
        assert getattr(ferlite, name) is not None
    public = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert public <= set(ferlite.__all__)
    with pytest.raises(AttributeError, match="'ferlite' has no attribute 'Analyser'"):
        ferlite.Analyser  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy comes with the dev extra")
    uses = "\n".join(f"ferlite.{name}" for name in ferlite.__all__)
    script = tmp_path / "script.py"
    script.write_text(f"import ferlite\n{uses}\nferlite.Analyser\n")
    command = ["--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=silent"]
    told, trouble, _ = api.run([*command, "--ignore-missing-imports", str(script)])
    errors_told = [line for line in told.splitlines() if ": error: " in line]
    assert len(errors_told) == 1, told + trouble
    assert 'Module has no attribute "Analyser"' in errors_told[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["models", "verify", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from ferlite.cli import main\nassert main({arguments!r}, standalone_mode=False) == 0"
    loaded = loaded_by(code)
    assert "click" in loaded
    assert not HEAVY & loaded


def test_help_is_quick() -> None:
    """Processor seconds of the best of three, so that a busy machine does not count."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        loaded_by("from ferlite.cli import main\nmain(['--help'], standalone_mode=False)")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5
