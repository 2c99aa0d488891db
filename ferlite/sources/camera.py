"""Cameras of this machine, through PyAV's Video4Linux2 input.

PyAV rather than cv2.VideoCapture: the same decoder and the same error handling as streams, the
kernel's own time stamps on the frames, and OpenCV's capture prints to stderr what it should raise.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ferlite.errors import SourceError
from ferlite.sources.base import SourceOptions
from ferlite.sources.decoding import open_container
from ferlite.sources.live import LiveSource

_DEVICES = Path("/dev")
_NAMES = Path("/sys/class/video4linux")


def devices() -> list[tuple[str, str]]:
    """The video devices present: (path, what the driver calls it), by number.

    One camera often has several; only some of them deliver pictures.
    """
    found = []
    for path in _DEVICES.glob("video*"):
        if number := re.fullmatch(r"video(\d+)", path.name):
            label = _NAMES / path.name / "name"
            name = label.read_text(errors="replace").strip() if label.is_file() else ""
            found.append((int(number[1]), str(path), name))
    return [(path, name) for _, path, name in sorted(found)]


def find(spec: int | str | Path) -> str | None:
    """The device path that 0, "0", "camera:0" or "/dev/video0" means, or None for anything else."""
    match = re.fullmatch(r"(?:camera:|/dev/video)?(\d+)", str(spec))
    return str(_DEVICES / f"video{int(match[1])}") if match else None


def camera_name(device: str) -> str:
    """ "camera:N" for a device path."""
    return device.replace(str(_DEVICES / "video"), "camera:")


class CameraSource(LiveSource):
    """A camera by its device path, as `find` gives it; kind "live", named "camera:N".

    Raises SourceError, listing the devices found, when it is missing, or cannot be opened.
    """

    def __init__(self, device: str, options: SourceOptions | None = None) -> None:
        options = options or SourceOptions()
        require(device)
        name = camera_name(device)
        super().__init__(
            name,
            lambda: open_container(
                device, name=name, format="video4linux2,v4l2", timeout_s=options.timeout_s
            ),
            options,
        )


def require(device: str) -> None:
    """SourceError when there is no such device, or it may not be read."""
    if not Path(device).exists():
        found = ", ".join(f"{path} ({name})" if name else path for path, name in devices())
        raise SourceError(f"{device}: no such camera; found: {found or 'none'}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{device}: no permission; add yourself to the group 'video'")
