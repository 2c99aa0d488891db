"""Write a model folder: bundle.json, its facts inside each ONNX, checksums, model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ferlite.bundles import DESCRIPTION, METADATA_KEY
from ferlite.errors import ModelError
from ferlite.training.card import model_card

FP32, INT8, WEIGHTS = "model.onnx", "model.int8.onnx", "weights.keras"


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of bundle.json; ModelError when there is none."""
    path = folder / DESCRIPTION
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not a bundle description ({error}); name the folder that `ferlite export` "
            "wrote"
        ) from error


def write_bundle(folder: Path, facts: dict[str, Any]) -> None:
    """Describe the files that lie in `folder`.

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
        part = path.with_name(f"part-{name}")
        onnx.save(model, str(part))
        part.replace(path)
        files[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
    whole = {**facts, "files": files}
    if (folder / WEIGHTS).is_file():
        whole["weights"] = {"file": WEIGHTS, "sha256": _sha256(folder / WEIGHTS)}
    for name, content in (
        (DESCRIPTION, json.dumps(whole, indent=2, ensure_ascii=False) + "\n"),
        ("README.md", model_card(whole)),
    ):
        part = folder / f"part-{name}"
        part.write_text(content)
        part.replace(folder / name)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
