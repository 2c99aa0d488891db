"""A model is a folder: ONNX files, `bundle.json` that describes them, and a model card.

The description is all the runtime knows of a model: input size, labels, crop geometry and the rest
are read from it and never repeated in code. A lone `.onnx` carries the same description (without
`files`) in its metadata under `METADATA_KEY`. Both are hostile until checked: every field is, and
a file is used only when the bytes read have the SHA-256 that the description states.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from ferlite.errors import ModelError

METADATA_KEY = "ferlite_bundle"
DESCRIPTION = "bundle.json"
# Bounds on what is read into memory; ONNX itself ends at 2 GiB.
MAX_DESCRIPTION_BYTES = 1 << 20
MAX_MODEL_BYTES = 512 << 20

_Word = TypeVar("_Word", bound=str)

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


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model and its description; see `find`.

    path: the folder, or the lone .onnx file.
    files: name -> SHA-256 in lower-case hex, of files in that folder.
    output: "logits" or "probabilities"; temperature divides the logits before the softmax.
    uncertain_below: a confidence under this means that the emotion is not known.
    crop: detector name -> geometry; a detector not named here uses the box as it is.
    metrics: as measured by the model's author; data: what it was trained on.
    """

    path: Path
    name: str
    task: str
    version: str
    license: str
    files: Mapping[str, str]
    input: InputSpec
    labels: tuple[str, ...]
    output: Literal["logits", "probabilities"]
    temperature: float
    uncertain_below: float
    crop: Mapping[str, CropGeometry]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()

    @property
    def precisions(self) -> Mapping[str, str]:
        """ "fp32" and, where the bundle has it, "int8" -> the name of its ONNX file."""
        return {kind: name for name in self.files if (kind := _precision(name))}

    def geometry(self, detector: str) -> CropGeometry:
        """How to crop a detector's boxes; the box as it is for a detector not in `crop`."""
        return self.crop.get(detector, CropGeometry())

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


def models_dir() -> Path:
    """The models that came with ferlite: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def user_dir() -> Path:
    """Where a user's own models lie: $FERLITE_HOME/models, else the XDG data folder."""
    if home := os.environ.get("FERLITE_HOME"):
        return Path(home) / "models"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "ferlite" / "models"


def installed_names() -> list[str]:
    """Names of the models in `models_dir` and `user_dir`, those with a broken description too."""
    roots = (models_dir(), user_dir())
    return sorted({path.parent.name for root in roots for path in root.glob(f"*/{DESCRIPTION}")})


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
    here, the model files when they are loaded. Raises ModelError.
    """
    path = Path(name_or_path)
    if path.suffix.lower() == ".onnx":
        return _from_onnx(path)
    # A plain name is an installed model even where the working folder has one of that name.
    if path.name == str(name_or_path):
        for root in (models_dir(), user_dir()):
            if (root / path / DESCRIPTION).is_file():
                return _from_folder(root / path)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        raise ModelError(f"{path}: not a model; give a folder with {DESCRIPTION} or a .onnx file")
    names = ", ".join(bundle.path.name for bundle in installed()) or "none"
    raise ModelError(
        f"no model {str(name_or_path)!r}; installed: {names};"
        f" or give a folder with {DESCRIPTION} or a .onnx file"
    )


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
    facts = _Facts.parse(str(path), text)
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
    facts = _Facts.parse(f"{path} (metadata {METADATA_KEY})", text.encode())
    return _bundle(facts, path, {path.name: hashlib.sha256(data).hexdigest()})


def _bundle(facts: _Facts, path: Path, files: dict[str, str]) -> Bundle:
    task = facts.choice("task", "emotion")
    spec = facts.within("input")
    labels = facts.strings("labels", 200)
    if not 2 <= len(set(labels)) == len(labels) <= 1000:
        facts.fail("labels", list(labels), "2 to 1000 different names")
    crops: dict[str, CropGeometry] = {}
    for detector in facts.section("crop"):
        if not _shows(detector, 200):
            facts.fail("crop", detector, "names of 1 to 200 printable characters")
        one = facts.within("crop").within(detector)
        crops[detector] = CropGeometry(
            scale=one.number("scale", 0.1, 10),
            dx=one.number("dx", -5, 5),
            dy=one.number("dy", -5, 5),
            rotate=one.boolean("rotate"),
        )
    return Bundle(
        path=path,
        name=facts.text("name"),
        task=task,
        version=facts.text("version"),
        license=facts.text("license", 500),
        files=files,
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
        metrics=_metrics(facts.within("metrics")),
        data=facts.strings("data", 500),
    )


def _metrics(facts: _Facts) -> Mapping[str, Any]:
    """All of them; those that are shown to people are checked where they are stated."""
    if "protocol" in facts.values:
        facts.text("protocol")
    if "n" in facts.values:
        facts.integer("n", 0, 10**12)
    for name in ("accuracy", "macro_f1"):
        if name in facts.values:
            facts.number(name, 0, 1)
    return facts.values


def _shows(text: str, longest: int) -> bool:
    """Whether it can be printed as it is: an escape sequence would command the terminal."""
    return 0 < len(text) <= longest and text.isprintable()


@dataclass(frozen=True, slots=True)
class _Facts:
    """One JSON object of a description; reads typed fields and names what is wrong with one."""

    where: str
    values: Mapping[str, Any]
    prefix: str = ""

    @classmethod
    def parse(cls, where: str, text: bytes) -> _Facts:
        if len(text) > MAX_DESCRIPTION_BYTES:
            raise ModelError(f"{where}: over {MAX_DESCRIPTION_BYTES >> 20} MiB, no description")
        try:
            values = json.loads(text)
        # RecursionError: brackets nested thousands deep.
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ModelError(f"{where}: a JSON object is needed, not {type(values).__name__}")
        return cls(where, values)

    def fail(self, name: str, value: object, wanted: str) -> NoReturn:
        shown = "missing" if value is None else f"{value!r:.80}"
        raise ModelError(f"{self.where}: field {self.prefix}{name} is {shown}; needed: {wanted}")

    def section(self, name: str) -> dict[str, Any]:
        value = self.values.get(name)
        if not isinstance(value, dict):
            self.fail(name, value, "a JSON object")
        return value

    def within(self, name: str) -> _Facts:
        return _Facts(self.where, self.section(name), f"{self.prefix}{name}.")

    def text(self, name: str, longest: int = 200) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or not _shows(value, longest):
            self.fail(name, value, f"a text of 1 to {longest} printable characters")
        return value

    def choice(self, name: str, *allowed: _Word) -> _Word:
        value = self.values.get(name)
        same = [word for word in allowed if word == value]
        if not same:
            self.fail(name, value, " or ".join(allowed))
        return same[0]

    def number(self, name: str, low: float, high: float) -> float:
        value = self.values.get(name)
        # bool is an int to Python; NaN fails the comparison.
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, value, f"a number from {low:g} to {high:g}")
        if not low <= value <= high or not math.isfinite(value):
            self.fail(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(name, value, f"an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            self.fail(name, value, "true or false")
        return value

    def strings(self, name: str, longest: int) -> tuple[str, ...]:
        value = self.values.get(name)
        if not isinstance(value, list):
            self.fail(name, value, "a list of texts")
        for item in value:
            if not isinstance(item, str) or not _shows(item, longest):
                self.fail(name, item, f"texts of 1 to {longest} printable characters")
        return tuple(value)
