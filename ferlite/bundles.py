"""A model is a folder: ONNX files, `bundle.json` that describes them, and a model card.

The description is all the runtime knows of a model: input size, labels, crop geometry, thresholds
and the rest are read from it and never repeated in code. A lone `.onnx` carries the same
description (without `files`) in its metadata under `METADATA_KEY`. Both are hostile until checked:
every field is, and a file is used only when the bytes read have the SHA-256 that the description
states.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ferlite.errors import ModelError, UsageError
from ferlite.facts import MAX_DESCRIPTION_BYTES, Facts, shows

METADATA_KEY = "ferlite_bundle"
DESCRIPTION = "bundle.json"
YUNET = "yunet"  # the name of a bundle that holds a YuNet network
# Bound on what is read into memory; ONNX itself ends at 2 GiB.
MAX_MODEL_BYTES = 512 << 20
# Pixels of the smallest face that a detector finds, where its bundle does not say.
SMALLEST_FACE = 12
# Longest sides, in pixels, that a face detector may search; at the most it takes 1 GB of memory.
SMALLEST_SIZE, LARGEST_SIZE = 32, 8192

_log = logging.getLogger("ferlite")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the network takes: value = pixel * scale + offset, in crops of width x height pixels."""

    width: int
    height: int
    color: Literal["gray", "bgr", "rgb"]
    layout: Literal["NHWC", "NCHW"]
    dtype: Literal["float32", "uint8"]
    scale: float
    offset: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one crop, in the order of `layout`; gray has 1 channel, the others 3."""
        channels = 1 if self.color == "gray" else 3
        if self.layout == "NHWC":
            return (self.height, self.width, channels)
        return (channels, self.height, self.width)


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """From a detector's box to the square that is cropped.

    The square's side is `scale` times the box's longer side; its centre is the box's, moved by
    `dx` box widths and `dy` box heights. rotate: turn it so that the eyes lie level.
    """

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    rotate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What every model says of itself; see `find`.

    path: the folder, or the lone .onnx file.
    task: "emotion" or "face".
    files: name -> SHA-256 in lower-case hex, of files in that folder.
    metrics: as measured by the model's author; data: what it was trained on.
    """

    path: Path
    name: str
    task: str
    version: str
    license: str
    files: Mapping[str, str]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()

    @property
    def precisions(self) -> Mapping[str, str]:
        """ "fp32" and, where the bundle has it, "int8" -> the name of its ONNX file."""
        return {kind: name for name in self.files if (kind := _precision(name))}

    def load(self, name: str) -> bytes:
        """The bytes of a file, which are those the description states.

        Raises ModelError when the file is missing, unreadable or has another SHA-256.
        """
        if name not in self.files:
            raise ModelError(f"{self.path}: holds no file {name!r}; it has {', '.join(self.files)}")
        path = self.path if self.path.suffix.lower() == ".onnx" else self.path / name
        data = read_model(path)
        found = hashlib.sha256(data).hexdigest()
        if found != self.files[name]:
            raise ModelError(
                f"{path}: SHA-256 is {found}, but {self.files[name]} is expected;"
                " the file was changed or damaged: fetch the model again"
            )
        return data

    def verify(self) -> None:
        """Check every file against its SHA-256; raises ModelError at the first that differs."""
        for name in self.files:
            self.load(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionBundle(Bundle):
    """A classifier of crops.

    output: "logits" or "probabilities"; temperature divides the logits before the softmax.
    uncertain_below: a confidence under this means that the emotion is not known.
    crop: detector name -> geometry; a detector not named here uses the box as it is.
    """

    input: InputSpec
    labels: tuple[str, ...]
    output: Literal["logits", "probabilities"]
    temperature: float
    uncertain_below: float
    crop: Mapping[str, CropGeometry]

    def geometry(self, detector: str) -> CropGeometry:
        """How to crop a detector's boxes; the box as it is for a detector not in `crop`."""
        return self.crop.get(detector, CropGeometry())


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBundle(Bundle):
    """An anchor-free detector: uint8 [n, h, w, 3] BGR in, a map for each of `strides` out.

    The maps are what `crops.decode_boxes` takes. A face has `landmarks` points.
    threshold: least score of a face, 0..1. nms_iou: of two boxes that overlap by more than this,
        the weaker one is dropped.
    size: pixels of the longest side of the picture searched. smallest: pixels there of the
        smallest face that the network finds.
    """

    strides: tuple[int, ...]
    landmarks: int
    threshold: float
    nms_iou: float
    size: int
    smallest: int


def models_dir() -> Path:
    """The models that came with ferlite: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def user_dir() -> Path:
    """Where a user's own models lie: $FERLITE_HOME/models, else the XDG data folder.

    ModelError where the user has no home.
    """
    if home := os.environ.get("FERLITE_HOME"):
        return Path(home) / "models"
    try:
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:  # neither $HOME nor an entry in the list of users
        raise ModelError("this user has no home folder; set FERLITE_HOME to a folder") from None
    return Path(data) / "ferlite" / "models"


def _roots() -> list[Path]:
    """The folders of installed models that there may be."""
    with contextlib.suppress(ModelError):
        return [models_dir(), user_dir()]
    return [models_dir()]


def installed_names() -> list[str]:
    """Names of the models in `models_dir` and `user_dir`, those with a broken description too."""
    return sorted({path.parent.name for root in _roots() for path in root.glob(f"*/{DESCRIPTION}")})


def installed() -> list[Bundle]:
    """The bundles of all installed models, by name; a broken one is logged and left out."""
    found = []
    for name in installed_names():
        try:
            found.append(find(name))
        except ModelError as error:
            _log.warning("model left out: %s", error)
    return found


def find(name_or_path: str | Path) -> Bundle:
    """The bundle with this name, in this folder, or of this lone `.onnx` file.

    A name ("emotion") is looked for in `models_dir`, then `user_dir`. The description is checked
    here, the model files when they are loaded. Raises ModelError; UsageError for what is no name.
    """
    if not isinstance(name_or_path, str | Path):
        raise UsageError(f"model is {name_or_path!r:.80}; give a name, a folder or a .onnx file")
    path = Path(name_or_path)
    if path.suffix.lower() == ".onnx":
        return _from_onnx(path)
    # A plain name is an installed model even where the working folder has one of that name.
    if path.name == str(name_or_path):
        for root in _roots():
            if is_there(root / path / DESCRIPTION, Path.is_file):
                return _from_folder(root / path)
    if is_there(path, Path.is_dir):
        return _from_folder(path)
    if is_there(path, Path.is_file):
        raise ModelError(f"{path}: not a model; give a folder with {DESCRIPTION} or a .onnx file")
    names = ", ".join(bundle.path.name for bundle in installed()) or "none"
    raise ModelError(
        f"no model {str(name_or_path)!r}; installed: {names};"
        f" or give a folder with {DESCRIPTION} or a .onnx file"
    )


def is_there(path: Path, probe: Callable[[Path], bool]) -> bool:
    """What Path.is_file or Path.is_dir says; ModelError where the system does not let it look."""
    try:
        return probe(path)
    except OSError as error:
        raise ModelError(f"{str(path)!r:.80}: {error.strerror}") from None


def read_model(path: Path) -> bytes:
    """The bytes of a model file; ModelError when it is missing, unreadable, empty or huge."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot read the model: {error}") from None
    if not data:
        raise ModelError(f"{path}: the model file is empty")
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(f"{path}: over {MAX_MODEL_BYTES >> 20} MiB, too large for a ferlite model")
    return data


def _precision(name: str) -> str | None:
    """Which network a file holds; None for a file that is none."""
    lower = name.lower()
    if not lower.endswith(".onnx"):
        return None
    return "int8" if lower.endswith(".int8.onnx") else "fp32"


def _from_folder(folder: Path) -> Bundle:
    path = folder / DESCRIPTION
    try:
        with path.open("rb") as file:
            text = file.read(MAX_DESCRIPTION_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(f"{folder}: no {DESCRIPTION} in this folder, so not a model") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    facts = Facts.parse(str(path), text)
    files: dict[str, str] = {}
    for name, value in facts.section("files").items():
        # One plain name: a description must not reach outside its own folder.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", name):
            facts.fail("files", name, "a plain file name without a folder")
        sums = value if isinstance(value, dict) else {}
        digest = sums.get("sha256")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            facts.fail(f"files.{name}.sha256", digest, "64 lower-case hex digits")
        files[name] = digest
    kinds = [kind for name in files if (kind := _precision(name))]
    if not kinds or len(set(kinds)) < len(kinds):
        facts.fail("files", sorted(files), "one .onnx file, and perhaps one .int8.onnx")
    return _bundle(facts, folder, files)


def _from_onnx(path: Path) -> Bundle:
    from ferlite import session

    data = read_model(path)
    text = session.create(data, provider="cpu", threads=1, name=str(path)).metadata.get(
        METADATA_KEY
    )
    if text is None:
        beside = path.parent / DESCRIPTION
        hint = f"give the folder {path.parent}" if beside.is_file() else "export it with ferlite"
        raise ModelError(
            f"{path}: its metadata has no {METADATA_KEY!r}, so its labels are unknown; {hint}"
        )
    facts = Facts.parse(f"{path} (metadata {METADATA_KEY})", text.encode())
    return _bundle(facts, path, {path.name: hashlib.sha256(data).hexdigest()})


def _bundle(facts: Facts, path: Path, files: dict[str, str]) -> Bundle:
    task = facts.choice("task", "emotion", "face")
    common: dict[str, Any] = {
        "path": path,
        "name": facts.text("name"),
        "task": task,
        "version": facts.text("version"),
        "license": facts.text("license", 500),
        "files": files,
        "metrics": _metrics(facts.within("metrics")),
        "data": facts.strings("data", 500),
    }
    if task == "emotion":
        return _emotion(facts, common)
    # Its network says nothing of itself; OpenCV knows what it takes and gives.
    return Bundle(**common) if common["name"] == YUNET else _face(facts, common)


def _emotion(facts: Facts, common: dict[str, Any]) -> EmotionBundle:
    spec = facts.within("input")
    labels = facts.strings("labels", 200)
    if not 2 <= len(set(labels)) == len(labels) <= 1000:
        facts.fail("labels", list(labels), "2 to 1000 different names")
    crops: dict[str, CropGeometry] = {}
    for detector in facts.section("crop"):
        if not shows(detector, 200):
            facts.fail("crop", detector, "names of 1 to 200 printable characters")
        one = facts.within("crop").within(detector)
        crops[detector] = CropGeometry(
            scale=one.number("scale", 0.1, 10),
            dx=one.number("dx", -5, 5),
            dy=one.number("dy", -5, 5),
            rotate=one.boolean("rotate"),
        )
    return EmotionBundle(
        **common,
        input=InputSpec(
            width=spec.integer("width", 1, 4096),
            height=spec.integer("height", 1, 4096),
            color=spec.choice("color", "gray", "bgr", "rgb"),
            layout=spec.choice("layout", "NHWC", "NCHW"),
            dtype=spec.choice("dtype", "float32", "uint8"),
            scale=spec.number("scale", -1e6, 1e6),
            offset=spec.number("offset", -1e6, 1e6),
        ),
        labels=labels,
        output=facts.choice("output", "logits", "probabilities"),
        temperature=facts.number("temperature", 1e-3, 1e3),
        uncertain_below=facts.number("uncertain_below", 0, 1),
        crop=crops,
    )


def _face(facts: Facts, common: dict[str, Any]) -> FaceBundle:
    spec = facts.within("input")
    # Frames go in as they are: scaling is part of the network.
    spec.choice("color", "bgr")
    spec.choice("layout", "NHWC")
    spec.choice("dtype", "uint8")
    spec.number("scale", 1, 1)
    spec.number("offset", 0, 0)
    strides = facts.values.get("strides")
    if (
        not isinstance(strides, list)
        or not strides
        or strides
        != sorted(
            {stride for stride in strides if type(stride) is int and stride in (4, 8, 16, 32)}
        )
    ):
        facts.fail("strides", strides, "a rising list of some of 4, 8, 16, 32")
    return FaceBundle(
        **common,
        strides=tuple(strides),
        landmarks=facts.integer("landmarks", 5, 5),
        threshold=facts.number("threshold", 0, 1),
        nms_iou=facts.number("nms_iou", 0, 1),
        size=facts.integer("size", SMALLEST_SIZE, LARGEST_SIZE),
        smallest=facts.integer("smallest", 1, 1024)
        if "smallest" in facts.values
        else SMALLEST_FACE,
    )


def _metrics(facts: Facts) -> Mapping[str, Any]:
    """All of them; those that are shown to people are checked where they are stated."""
    if "protocol" in facts.values:
        facts.text("protocol")
    if "n" in facts.values:
        facts.integer("n", 0, 10**12)
    for name in ("accuracy", "macro_f1", "ap50", "ap50_95"):
        if name in facts.values:
            facts.number(name, 0, 1)
    return facts.values
