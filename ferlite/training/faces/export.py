"""From trained detector weights to a model folder that the runtime loads."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferlite import session
from ferlite.errors import ModelError
from ferlite.training.bundle import (
    FP32,
    LICENSE,
    VERSION,
    WEIGHTS,
    finished,
    inherited,
    write_bundle,
)
from ferlite.training.classifier import load_keras
from ferlite.training.faces import calibrate, convert
from ferlite.training.faces.evaluate import FLOOR, KNOWN_FLOOR, evaluate_faces
from ferlite.training.faces.photographs import SURE, read_photographs, with_faces
from ferlite.training.records import read_run, training_facts

PROTOCOL = f"teacher's boxes of score >= {SURE:g}, native size, detections from {FLOOR:g}"
PARITY_PICTURES = 24
ECE_FLOOR = 0.1  # raw score; below, almost all is background and right to be so
# Of the comparison, what a bundle does not keep: it depends on the machine or is said elsewhere.
_NOT_KEPT = ("network_320_ms", "picture_ms", "parameters", "file_bytes", "threshold")

Say = Callable[[str], object]


@dataclass(frozen=True)
class FaceExportOptions:
    """What a bundle says beside what is measured.

    detect_size: pixels of the longest side that is searched by default. smallest: pixels there of
    the smallest face that is found. nms_iou: overlap from which the weaker box is dropped.
    provenance: of the data, one line a source; for the model card.
    name, version, license: "" for what the weights bring along, see `bundle.inherited`.
    """

    name: str = ""
    version: str = ""
    license: str = ""
    detect_size: int = 640
    smallest: int = 12
    nms_iou: float = 0.45
    provenance: tuple[str, ...] = ()


def export_faces(
    weights: Path,
    root: Path,
    out: Path,
    options: FaceExportOptions,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Write the model folder `out` from a .keras file; returns the facts of bundle.json.

    root: folder with faces.json and images/. Its training photographs calibrate the scores and
    choose the threshold, its val photographs check that ONNX and Keras agree, and are scored.
    say: takes a line when a step is done. Nothing is left in `out` when a check fails.
    """
    import onnx

    model = load_keras(weights)
    before = inherited(weights)
    sources = options.provenance or ("Photographs of the user's own folder",)
    photographs = read_photographs(root)
    train, valid = (with_faces(photographs, split) for split in ("train", "val"))
    network = convert.convert(model)
    raw = session.create(
        network.SerializeToString(), provider="cpu", threads=1, name=f"{weights} as ONNX"
    )
    seen = calibrate.observe(raw, train, nms_iou=options.nms_iou)
    scaling = calibrate.fit(seen, raw.output_names)
    threshold = calibrate.threshold(seen, scaling)
    say(f"calibrated on {len(seen.logits)} detections in {seen.pictures} pictures")
    convert.finish(network, scaling)
    final = session.create(network.SerializeToString(), provider="cpu", name="the exported network")
    sample = valid[:: max(1, len(valid) // PARITY_PICTURES)][:PARITY_PICTURES]
    batches = [calibrate.letterboxed(one.image())[0] for one in sample]
    score, side = convert.parity(model, final, scaling, batches)
    say(f"ONNX and Keras differ by at most {score:.1e} in score, {side:.4f} pixels in a side")
    checked = calibrate.observe(raw, valid, nms_iou=options.nms_iou, zooms=(1.0,))
    facts: dict[str, Any] = {
        "name": options.name or before.get("name", model.name),
        "task": "face",
        "version": options.version or before.get("version", VERSION),
        "license": options.license or before.get("license", LICENSE),
        "parameters": int(model.count_params()),
        "input": {"color": "bgr", "layout": "NHWC", "dtype": "uint8", "scale": 1, "offset": 0},
        "strides": [int(name.removeprefix("stride")) for name in raw.output_names],
        "landmarks": 5,
        "threshold": threshold,
        "nms_iou": options.nms_iou,
        "size": options.detect_size,
        "smallest": options.smallest,
        "metrics": {},
        "data": list(dict.fromkeys([*before.get("data", ()), *sources])),
        "training": training_facts(weights, "valid_ap"),
    }
    with finished(out) as work:
        shutil.copyfile(weights, work / WEIGHTS)
        onnx.save(network, str(work / FP32))
        write_bundle(work, facts)
        facts["metrics"] = {
            **measured(work / FP32, root),
            "calibration": _calibration(seen, checked, scaling),
            "parity": {
                "photographs": len(batches),
                "score": score,
                "side_px": round(side, 6),
            },
        }
        write_bundle(work, facts)
    return facts


def measured(network: Path, root: Path) -> dict[str, Any]:
    """Figures of an exported network for bundle.json, on the val photographs, with n and protocol.

    Of `evaluate_faces`, rounded. false_per_picture and so on are at the bundle's threshold.
    """
    report = evaluate_faces([str(network)], root)
    (result,) = report.results
    return {
        "protocol": PROTOCOL,
        "split": report.split,
        "n": result.curve.n,
        "photographs": len(report.photographs),
        "known_floor": KNOWN_FLOOR,
        **{
            name: round(value, 5)
            for name, value in result.figures.items()
            if math.isfinite(value) and name not in _NOT_KEPT
        },
    }


def _calibration(
    seen: calibrate.Seen, checked: calibrate.Seen, scaling: dict[str, convert.Scaling]
) -> dict[str, Any]:
    """What was fitted on the training photographs, and how well it holds on the val ones."""
    judged = checked.scores() >= ECE_FLOOR
    before, after = (checked.scores(s)[judged] for s in (None, scaling))
    right = checked.right[judged]
    return {
        "scaling": {
            name: {key: round(value, 4) for key, value in asdict(one).items()}
            for name, one in scaling.items()
        },
        "pictures": seen.pictures,
        "face_free_pictures": seen.free_pictures,
        "n": int(judged.sum()),
        "error_before": round(calibrate.calibration_error(before, right), 4),
        "error_after": round(calibrate.calibration_error(after, right), 4),
    }


def is_face_network(weights: Path) -> bool:
    """Whether a .keras file holds a face detector: by its run's train.json, else by its outputs.

    Raises ModelError for a file that is no Keras model.
    """
    arch = read_run(weights.parent).get("options", {}).get("arch")
    if arch is not None:
        return str(arch) == "ferlite-face"
    if weights.suffix != ".keras":
        raise ModelError(f"{weights} is not a .keras file; export best.keras of a run")
    return any(
        str(name).startswith("stride") for name in getattr(load_keras(weights), "output_names", ())
    )
