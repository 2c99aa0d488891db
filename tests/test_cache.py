from __future__ import annotations

from pathlib import Path

import pytest

from ferlite import cache, graphs


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    assert cache.folder() == tmp_path / "here" / "ferlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "ferlite"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(OSError, match="home"):
        cache.folder()
    assert graphs.load("0" * 64) is None and graphs.begin("0" * 64, 1) is None


def test_temporary_files_are_beside_and_different(tmp_path: Path) -> None:
    path = tmp_path / "new" / "choice.json"
    one, other = cache.temporary(path), cache.temporary(path)
    assert one != other and {one.parent, other.parent} == {path.parent}
    assert one.read_bytes() == b"" and not path.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        cache.temporary(tmp_path / "file" / "choice.json")


def test_the_processor_here() -> None:
    import platform

    assert cache.processor().startswith(platform.machine())
    assert len(cache.instructions().split()) > 5


CORE = """processor\t: {number}
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: {part}
CPU revision\t: 1

"""


def test_a_board_with_two_kinds_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """aarch64 names no model, only parts; the order of the cores does not matter."""
    found = []
    for parts in (("0xd0b", "0xd05", "0xd0b"), ("0xd05", "0xd05", "0xd0b"), ("0xd05",)):
        text = "".join(CORE.format(number=i, part=part) for i, part in enumerate(parts))
        lines = tuple((text + "Model\t\t: Raspberry Pi 5\n").splitlines())
        monkeypatch.setattr(cache, "_lines", lambda lines=lines: lines)
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        found.append(cache.processor())
        assert cache.instructions() == "fp asimd asimdhp asimddp"
    assert found[0] == found[1] == "aarch64 0x41 0xd05 0xd0b Raspberry Pi 5"
    assert found[2] != found[0]


def test_a_system_without_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setattr(cache, "_lines", lambda: ())
    assert (cache.processor(), cache.instructions()) == (platform.machine(), "")
