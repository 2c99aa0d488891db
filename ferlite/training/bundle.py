"""Write a model folder: bundle.json, its facts inside each ONNX, checksums, model card."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferlite.bundles import DESCRIPTION, METADATA_KEY
from ferlite.errors import ModelError
from ferlite.training.card import model_card
from ferlite.training.classifier import read_run
from ferlite.training.history import read_history

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


def described(folder: Path) -> dict[str, Any]:
    """What the bundle in a folder of Keras weights says; empty for the folder of a run."""
    run = (folder / "train.json").is_file() or not (folder / DESCRIPTION).is_file()
    return {} if run else read_facts(folder)


def training_facts(folder: Path, criterion: str) -> dict[str, Any]:
    """How the weights in a run's folder came about; of those in a bundle, what it says.

    criterion: column of history.csv whose largest value chose best.keras.
    """
    if bundle := described(folder):
        return dict(bundle.get("training", {}))
    run = read_run(folder)
    facts: dict[str, Any] = {
        key: run[key] for key in ("options", "init", "train", "valid", "backend") if run.get(key)
    }
    history = read_history(folder)
    # A criterion that is not computed in every epoch is nan in the others.
    judged = [row for row in history if row[criterion] == row[criterion]]
    if judged:
        facts["best_epoch"] = int(max(judged, key=lambda row: row[criterion])["epoch"])
        facts["epochs_done"] = len(history)
        facts["hours"] = round(sum(row["seconds"] for row in history) / 3600, 3)
    return facts


@contextmanager
def finished(out: Path, weights: Path, *, keep_int8: bool) -> Iterator[Path]:
    """A folder to fill, whose files replace those of `out` at the end; none when it fails.

    A copy of the Keras weights is in it from the start. keep_int8: so is an INT8 file of `out` that
    was made of the same weights; any other goes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        work = Path(folder)
        shutil.copyfile(weights, work / WEIGHTS)
        if keep_int8 and _same_weights(out, weights):
            shutil.copyfile(out / INT8, work / INT8)
        yield work
        out.mkdir(exist_ok=True)
        (out / INT8).unlink(missing_ok=True)
        for path in work.iterdir():
            path.replace(out / path.name)


def int8_kept(work: Path, out: Path) -> dict[str, Any]:
    """The figures of an INT8 file that `finished` keeps, as {"int8": ...}; else empty."""
    if not (work / INT8).is_file():
        return {}
    return {"int8": read_facts(out)["metrics"]["int8"]}


def _same_weights(out: Path, weights: Path) -> bool:
    if not (out / INT8).is_file() or not (out / DESCRIPTION).is_file():
        return False
    facts = read_facts(out)
    made_of = facts.get("weights", {}).get("sha256")
    return made_of == _sha256(weights) and "int8" in facts.get("metrics", {})


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
        part.write_text(content, encoding="utf-8")
        part.replace(folder / name)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
