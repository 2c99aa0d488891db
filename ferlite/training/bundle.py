"""Write a model folder: bundle.json, its facts inside each ONNX, checksums, model card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferlite.bundles import DESCRIPTION, METADATA_KEY, find
from ferlite.errors import ModelError, UsageError
from ferlite.staging import working_folder
from ferlite.training.card import model_card
from ferlite.training.records import described, read_facts, read_run

FP32, INT8, WEIGHTS = "model.onnx", "model.int8.onnx", "weights.keras"
_CARD = "README.md"
VERSION, LICENSE = "1.0.0", "Apache-2.0"  # of weights that nothing else is known of


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """An empty folder to fill, whose files replace those of `out` at the end; none when it fails.

    An INT8 file and weights that `out` has and the new folder has not go, for they are of another
    network. Raises UsageError where files of these names are no model folder's, and ModelError for
    what the runtime would refuse.
    """
    if not (out / DESCRIPTION).is_file():
        for name in (FP32, INT8, WEIGHTS, _CARD):
            if (out / name).exists():
                raise UsageError(
                    f"{out / name} is there, and {out} is no model folder; name another"
                )
    # Inside, as `out` may be on another disk than the folder it is in.
    with working_folder(out if out.is_dir() else out.parent) as work:
        yield work
        try:
            find(work.resolve()).verify()
        except ModelError as error:
            reason = str(error).replace(str(work.resolve()), str(out))
            raise ModelError(f"{reason}; nothing was written") from error
        out.mkdir(exist_ok=True)
        written = [path.replace(out / path.name).name for path in work.iterdir()]
        for name in {INT8, WEIGHTS}.difference(written):
            (out / name).unlink(missing_ok=True)


@contextmanager
def revised(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A copy of a model folder and its facts, both to be changed; see `finished`."""
    facts = readable(folder)
    with finished(folder) as work:
        for name in (FP32, INT8, WEIGHTS):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, work / name)
        yield work, facts
        write_bundle(work, facts)


def readable(folder: Path) -> dict[str, Any]:
    """The facts of a model folder to which figures can be added; ModelError when it is none."""
    facts = read_facts(folder)
    if not isinstance(facts.get("metrics"), dict):
        raise ModelError(f"{folder / DESCRIPTION} has no metrics; export the network anew")
    return facts


def inherited(weights: Path) -> dict[str, Any]:
    """What weights bring along: license and data of the bundle that they lie in or began with.

    Of the former also name and version.
    """
    kept = ["license", "data"]
    if facts := described(weights.parent):
        kept += ["name", "version"]
    else:
        began = read_run(weights.parent).get("began_with")
        facts = began if isinstance(began, dict) else {}
    return {key: facts[key] for key in kept if key in facts}


def int8_of(out: Path, weights: Path) -> dict[str, Any]:
    """What the bundle in `out` says of its INT8 network; empty unless made of these weights."""
    if not (out / INT8).is_file():
        return {}
    try:
        facts = read_facts(out)
        same = facts["weights"]["sha256"] == _sha256(weights)
        return dict(facts["metrics"]["int8"]) if same else {}
    except (KeyError, TypeError, ValueError, ModelError):
        return {}


def write_bundle(folder: Path, facts: dict[str, Any]) -> None:
    """Describe the files that lie in `folder`, one that `finished` or `revised` gave.

    Every ONNX file gets the facts (without `files`) as metadata, so that it loads alone; then
    checksums, bundle.json and README.md are written. The Keras weights are named apart, since
    an installed package leaves them out.
    """
    import onnx

    facts = {key: value for key, value in facts.items() if key not in ("files", "weights")}
    text = json.dumps(facts)
    files = {}
    for name in (FP32, INT8):
        path = folder / name
        if not path.is_file():
            continue
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
        onnx.save(model, str(path))
        files[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
    whole = {**facts, "files": files}
    if (folder / WEIGHTS).is_file():
        whole["weights"] = {"file": WEIGHTS, "sha256": _sha256(folder / WEIGHTS)}
    try:
        card = model_card(whole)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{DESCRIPTION} lacks a figure of the model card: {error}") from error
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    (folder / _CARD).write_text(card, encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
