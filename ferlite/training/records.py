"""What lies beside Keras weights: train.json of their run, or bundle.json of their model folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite.bundles import DESCRIPTION
from ferlite.errors import ModelError
from ferlite.training.history import read_history

RUN, BEST, LAST = "train.json", "best.keras", "last.keras"
_KINDS: dict[str, type] = {"options": dict, "training": dict, "labels": list}


def read_run(folder: Path) -> dict[str, Any]:
    """train.json of a run's folder; empty where there is none, ModelError where it is damaged."""
    path = folder / RUN
    remedy = "; restore it, or take it away"
    return _object(path, "the record of a run", remedy) if path.is_file() else {}


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of bundle.json; ModelError when there is none."""
    remedy = "; name the folder that `ferlite export` wrote"
    return _object(folder / DESCRIPTION, "a bundle description", remedy)


def described(folder: Path) -> dict[str, Any]:
    """What the bundle in a folder of Keras weights says; empty for the folder of a run."""
    run = (folder / RUN).is_file() or not (folder / DESCRIPTION).is_file()
    return {} if run else read_facts(folder)


def labels_beside(weights: Path) -> tuple[str, ...]:
    """The classes that the run or the bundle states; () where neither does."""
    folder = weights.parent
    return tuple(read_run(folder).get("labels") or described(folder).get("labels") or ())


def protocol_beside(weights: Path) -> str | None:
    """Likewise the protocol by which the network was judged."""
    folder = weights.parent
    facts = read_run(folder) or described(folder).get("metrics")
    return str(facts["protocol"]) if isinstance(facts, dict) and "protocol" in facts else None


def training_facts(weights: Path, criterion: str) -> dict[str, Any]:
    """How weights in a run's folder came about; of those in a bundle, what it says.

    criterion: column of history.csv whose largest value chose the best weights.
    """
    folder = weights.parent
    if bundle := described(folder):
        return dict(bundle.get("training", {}))
    run = read_run(folder)
    kept = ("options", "init", "imagenet", "train", "valid", "backend")
    facts: dict[str, Any] = {key: run[key] for key in kept if run.get(key)}
    history = read_history(folder, criterion) if run else []
    # A criterion that is not computed in every epoch is nan in the others.
    judged = [row for row in history if row[criterion] == row[criterion]]
    if judged and weights.name in (BEST, LAST):
        best = max(judged, key=lambda row: row[criterion])
        facts["best_epoch" if weights.name == BEST else "last_epoch"] = int(
            best["epoch"] if weights.name == BEST else len(history)
        )
        facts["epochs_done"] = len(history)
        facts["hours"] = round(sum(row["seconds"] for row in history) / 3600, 3)
    return facts


def digest(*parts: str | NDArray[Any]) -> str:
    """The start of the SHA-256 of all parts in order, to tell one set of data from another."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data)
    return whole.hexdigest()[:12]


def fingerprint(path: Path) -> str:
    """File name and the start of its SHA-256: what train.json keeps of a file that a run takes."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _object(path: Path, what: str, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}")
        for name, kind in _KINDS.items():
            if not isinstance(content.get(name, kind()), kind):
                raise ValueError(f"its {name} is {type(content[name]).__name__}")
        if not all(isinstance(label, str) for label in content.get("labels", ())):
            raise ValueError("its labels are not all text")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not {what} ({error}){remedy}") from error
    return content
