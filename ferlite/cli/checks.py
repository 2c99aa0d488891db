"""What `ferlite doctor` looks at, and what to do where something is missing or broken."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import ferlite
from ferlite.errors import FerliteError

if TYPE_CHECKING:
    from ferlite.bundles import Bundle
    from ferlite.precision import Choice

# Distributions that hold the same module and overwrite each other when installed together.
_CLASHES = (
    (
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
        "pip uninstall -y opencv-python opencv-contrib-python opencv-python-headless"
        " && pip install opencv-python-headless",
    ),
    (
        ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu"),
        "keep one: pip uninstall -y all of them, then install that one",
    ),
)

# Instruction sets that decide the speed of ferlite's own kernels or of ONNX Runtime's.
_FEATURES = (
    ["sse4_1", "fma", "avx", "avx2", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8"],
    ["asimd", "neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"],
)

# ferlite is installed from its source.
_REINSTALL = "in a clone of ferlite: pip install --force-reinstall ."


@dataclass(frozen=True)
class Check:
    """One line of the report.

    state: "ok"; "missing" when something is absent that ferlite can do without; "broken" when
        something it needs does not work.
    remedy: what to do, empty when ok.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""


def run_checks(output: Path) -> Iterator[Check]:
    """Yields the checks one by one, as they finish; `output` is the folder results would go to."""
    for check in (
        _versions,
        _clashes,
        _processor,
        _kernels,
        _providers,
        _models,
        _detectors,
        _codecs,
        _cameras,
        lambda: _folders(output),
    ):
        yield from _guarded(check)


def _guarded(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that itself fails is a finding too, and the others still run."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.strip("_")
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        remedy = "" if isinstance(error, FerliteError) else _REINSTALL
        yield Check(name, "broken", detail, remedy)


def _versions() -> Iterator[Check]:
    yield Check("ferlite", "ok", f"{ferlite.__version__} in {Path(ferlite.__file__).parent}")
    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Check("system", "ok", f"{_distribution()}, {platform.release()} {platform.machine()}")
    for module, package in (
        ("numpy", "numpy"),
        ("onnxruntime", "onnxruntime"),
        ("cv2", "opencv-python-headless"),
        ("av", "av"),
        ("rich", "rich"),
    ):
        try:
            found = import_module(module)
        except ImportError as error:
            yield Check(package, "broken", str(error), f"pip install {package}")
            continue
        version = getattr(found, "__version__", None) or metadata.version(package)
        if module == "av":
            libraries = found.library_versions.items()
            version += " with " + ", ".join(
                f"{name} {'.'.join(map(str, number))}"
                for name, number in libraries
                if name in ("libavcodec", "libavformat", "libswscale")
            )
        yield Check(package, "ok", version)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _clashes() -> Iterator[Check]:
    installed = {str(d.metadata["Name"]).lower() for d in metadata.distributions()}
    for names, remedy in _CLASHES:
        if len(both := [name for name in names if name in installed]) > 1:
            detail = f"{' and '.join(both)} overwrite each other"
            yield Check("packages", "broken", detail, remedy)


def _processor() -> Iterator[Check]:
    facts = _cpuinfo()
    # Arm kernels name no model; a Raspberry Pi names its board.
    name = facts.get("model name") or facts.get("Model") or platform.processor() or "unknown"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    features = [feature for family in _FEATURES for feature in family if feature in flags]
    yield Check("processor", "ok", f"{name}, {usable} of {os.cpu_count()} logical cores usable")
    yield Check("cpu features", "ok", " ".join(features) or "none that ferlite uses")


def _cpuinfo() -> dict[str, str]:
    """Fields of /proc/cpuinfo, first processor first; empty where there is none."""
    facts: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


def _kernels() -> Iterator[Check]:
    """Crops a known face-sized square with the C++ core."""
    import numpy as np

    from ferlite import _core, crops

    try:
        used = crops.instruction_set()
    except FerliteError as error:
        yield Check("c++ kernels", "broken", str(error), "unset FERLITE_FORCE_ISA")
        return
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    boxes = np.array([[16, 16, 32, 32]], np.float32)
    crop = crops.crop_faces(ramp, boxes, size=(16, 16), color="gray", image_color="gray")
    # Area average of columns 16 and 17, 18 and 19, ...
    exact = np.allclose(crop[0, 0, :, 0], np.arange(16.5, 48, 2))
    others = ", ".join(name for name in _core.instruction_sets() if name != used)
    detail = used + (f" (this machine also runs {others})" if others else "")
    yield Check(
        "c++ kernels",
        "ok" if exact else "broken",
        detail if exact else f"{detail}, but the crops are wrong",
        "" if exact else _REINSTALL,
    )


def _providers() -> Iterator[Check]:
    from ferlite import session

    for name, works, remedy in session.providers():
        # The CPU provider is the one that always has to work.
        state: Literal["missing", "broken"] = "broken" if name == "cpu" else "missing"
        if works:
            yield Check(f"provider {name}", "ok", "ran a network")
        else:
            problem, _, advice = remedy.partition("; ")
            yield Check(f"provider {name}", state, problem, advice)
    yield Check("threads", "ok", f"{session.default_threads()} by default (--threads)")


def _models() -> Iterator[Check]:
    from ferlite import bundles

    installed = bundles.installed_names()
    if not installed:
        remedy = "install ferlite again; it comes with a model"
        yield Check("models", "broken", "none installed", remedy)
    for model in installed:
        name = f"model {model}"
        try:
            bundle = bundles.find(model)
            bundle.verify()
            network = _network(bundle)
        except FerliteError as error:
            problem, _, advice = str(error).partition("; ")
            yield Check(name, "broken", problem, advice or "install the model again")
            continue
        yield Check(name, "ok", f"{bundle.version}, {len(bundle.files)} files verified")
        if network:
            yield Check(f"network {model}", "ok", network)


def _network(bundle: Bundle) -> str:
    """Which network of a model runs on which provider, and why; found out by opening it as a run
    does. Empty where OpenCV runs it.
    """
    from ferlite.emotion import EmotionClassifier
    from ferlite.faces import open_detector
    from ferlite.faces.anchor_free import AnchorFreeDetector

    opened = EmotionClassifier(bundle) if bundle.task == "emotion" else open_detector(bundle.path)
    if not isinstance(opened, EmotionClassifier | AnchorFreeDetector):
        return ""
    taken = f"{opened.precision} on {opened.provider}"
    return f"{taken}, {_reason(opened.choice)}" if opened.choice else f"{taken}, the only way"


def _reason(choice: Choice) -> str:
    from ferlite.precision import AGREE

    words = [f"{one.ms:.3g} ms a run" for one in choice.measured if one.way == choice.way]
    for one in choice.measured:
        if one.way != choice.way:
            words.append(f"{one.way} {one.ms:.3g}")
            if one.difference > AGREE:
                words[-1] += f" but answers otherwise, a probability differs by {one.difference:g}"
    return "; ".join(words)


def _detectors() -> Iterator[Check]:
    """The default, which has to work, and those that a run may ask for by name."""
    from ferlite.faces import DEFAULT_DETECTOR, DETECTORS, open_detector

    for name in DETECTORS:
        default = name == DEFAULT_DETECTOR
        try:
            detector = open_detector(name)
        except FerliteError as error:
            problem, _, remedy = str(error).partition("; ")
            yield Check(
                f"detector {name}",
                "broken" if default else "missing",
                problem,
                remedy or "install ferlite again",
            )
        else:
            files = ", ".join(one["file"] for one in detector.models) or "OpenCV's cascade"
            yield Check(f"detector {name}", "ok", files + (" (default)" if default else ""))


def _codecs() -> Iterator[Check]:
    """Encodes a few frames as the video sink does, and decodes them again."""
    import io

    import av
    import numpy as np

    remedy = "pip install --force-reinstall --only-binary av av (its wheels hold libx264)"
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for value in range(0, 250, 50):
                image = np.full((64, 64, 3), value, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError) as error:
        yield Check("h264 encoder", "broken", f"libx264: {error}", remedy)
        return
    yield Check("h264 encoder", "ok", f"libx264, 5 frames in {len(memory.getvalue())} bytes")
    memory.seek(0)
    with av.open(memory, "r") as source:
        decoded = [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]
    levels = [int(image.mean()) for image in decoded]
    good = len(levels) == 5 and all(abs(v - 50 * i) < 10 for i, v in enumerate(levels))
    yield Check(
        "h264 decoder",
        "ok" if good else "broken",
        f"{len(levels)} of 5 frames back",
        "" if good else remedy,
    )


def _cameras() -> Iterator[Check]:
    from ferlite.sources.camera import devices

    found = devices()
    if not found:
        remedy = "plug one in, or pass it to the container (--device /dev/video0)"
        yield Check("cameras", "missing", "no /dev/video*", remedy)
    for device, name in found:
        if os.access(device, os.R_OK | os.W_OK):
            yield Check("camera", "ok", f"{device} {name}".strip())
        else:
            remedy = "sudo usermod -aG video $USER, then log in again"
            yield Check("camera", "missing", f"{device}: no permission", remedy)


def _folders(output: Path) -> Iterator[Check]:
    from ferlite.sinks.folder import writable

    try:
        writable(output)
    except FerliteError as error:
        yield Check("output folder", "broken", str(error), "choose another with -o")
    else:
        yield Check("output folder", "ok", str(output.resolve()))
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"ferlite")
    except OSError as error:
        yield Check("temporary files", "broken", str(error), "set TMPDIR to a writable folder")
    else:
        yield Check("temporary files", "ok", tempfile.gettempdir())
