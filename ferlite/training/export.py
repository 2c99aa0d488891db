"""From trained Keras weights to a model folder that the runtime loads."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ferlite.errors import ModelError
from ferlite.training.bundle import (
    FP32,
    INT8,
    LICENSE,
    VERSION,
    WEIGHTS,
    finished,
    inherited,
    int8_of,
    write_bundle,
)
from ferlite.training.classifier import (
    Classifier,
    aligned,
    load_keras,
    open_classifier,
    softmax,
)
from ferlite.training.data import EmotionData
from ferlite.training.graph import check_convertible, rename, round_weights, to_onnx
from ferlite.training.metrics import Scores, certainty, fit_temperature, uncertain_below
from ferlite.training.records import described, training_facts

PARITY_IMAGES = 512
PARITY = 1e-4
# Kept of the weights, so that they pack well: the first that keeps PARITY. FER+ networks keep it
# with 13; those trained for a few epochs have larger logits.
MANTISSA_BITS = (13, 16, 19)
# From benchmarks/crop_geometry.py on FER+ training pictures; docs/crop-geometry.md has the spread.
CROP = {
    "ferlite-face": {"scale": 0.986, "dx": -0.002, "dy": -0.011, "rotate": False},
    "haar": {"scale": 1.021, "dx": 0.0, "dy": 0.0, "rotate": False},
    "yunet": {"scale": 0.991, "dx": -0.001, "dy": -0.008, "rotate": False},
}
_PROVENANCE = {
    "majority": (
        "FER+ annotations (Barsoum et al., ICMI 2016; MIT licence) of the FER2013 pictures",
        "FER2013 (Goodfellow et al., 2013): photographs gathered by web search for a Kaggle "
        "competition, for research; the photographers keep their rights",
    ),
    "fer2013": (
        "FER2013 (Goodfellow et al., 2013): photographs gathered by web search for a Kaggle "
        "competition, for research; the photographers keep their rights",
    ),
}


def convert(model: Any, path: Path, output: str = "logits") -> None:
    """Write a Keras model as ONNX: input "faces" [n, size, size, 1], `output` [n, classes].

    Raises ModelError for a network that computes in less than float32 or has training-only nodes.
    """
    import keras
    import onnx

    check_convertible(model)
    import tensorflow as tf

    # A fresh functional model names the ends; a Sequential one has no names tf2onnx understands.
    inputs = keras.Input(model.input_shape[1:], name="faces")
    functional = keras.Model(inputs, model(inputs))
    signature = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="faces")
    converted = to_onnx(functional, model.name, signature, ("n",))
    rename(converted.graph, (output,))
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, str(path))


def parity(one: Classifier, other: Classifier, data: EmotionData) -> float:
    """Largest absolute difference of probabilities over PARITY_IMAGES pictures of `data`.

    Raises ModelError at PARITY or above.
    """
    images = data.images[:PARITY_IMAGES]
    a, b = softmax(one.logits(images)), softmax(other.logits(images))
    difference = float(np.abs(a - b).max())
    if not difference < PARITY:
        raise ModelError(
            f"ONNX and Keras differ by {difference:.2e} in probability over {len(images)} pictures "
            f"({PARITY:g} is the limit); nothing was written"
        )
    return difference


def compact(path: Path, trained: Classifier, data: EmotionData) -> float:
    """Round the weights of a converted network as far as parity allows; returns that.

    Raises ModelError where even the weights as they are do not give it.
    """
    import onnx

    whole = path.read_bytes()

    def difference() -> float:
        converted = open_classifier(path, scale=trained.scale, offset=trained.offset)
        return parity(trained, converted, data)

    kept = difference()
    for bits in MANTISSA_BITS:
        rounded = onnx.load_from_string(whole)
        round_weights(rounded.graph, bits)
        onnx.save(rounded, str(path))
        with suppress(ModelError):
            return difference()
    path.write_bytes(whole)
    return kept


def measure(classifier: Classifier, data: EmotionData, temperature: float) -> Scores:
    """Scores over the judged pictures."""
    judged = data.only_judged()
    return Scores(data.labels, judged.classes, classifier.probabilities(judged.images, temperature))


def export(
    weights: Path,
    data: EmotionData,
    out: Path,
    *,
    name: str = "",
    version: str = "",
    license_: str = "",
    crop: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the model folder `out` from a .keras file; returns the facts of bundle.json.

    data: validation pictures; temperature, uncertainty threshold and metrics come from them.
    weights: of a run, or those in a bundle, which then says how they were trained, and the crops.
    name, version, license_: as the bundle says that the weights lie in; the licence also as that
        from whose weights they were trained; else of the network, 1.0.0, and Apache-2.0.
    An INT8 network of the same weights in `out` stays, and is measured anew.
    Nothing is left in `out` when a check fails.
    """
    model = load_keras(weights)
    trained = open_classifier(weights)
    data = aligned(data, trained)
    int8 = int8_of(out, weights)
    before = inherited(weights)
    sources = _PROVENANCE.get(data.protocol, ("Pictures of the user's own folders",))
    with finished(out) as work:
        shutil.copyfile(weights, work / WEIGHTS)
        output = trained.output(data.images[:PARITY_IMAGES])
        convert(model, work / FP32, output)
        difference = compact(work / FP32, trained, data)
        converted = open_classifier(work / FP32, scale=trained.scale, offset=trained.offset)
        judged = data.only_judged()
        logits = converted.logits(judged.images)
        temperature = round(fit_temperature(logits, judged.classes), 3)
        scores = Scores(data.labels, judged.classes, softmax(logits, temperature))
        below = uncertain_below(scores)
        if int8:
            shutil.copyfile(out / INT8, work / INT8)
            found = measure(open_classifier(work / INT8), data, temperature)
            int8 = {"int8": int8 | found.facts()}
        facts: dict[str, Any] = {
            "name": name or before.get("name", model.name),
            "task": "emotion",
            "version": version or before.get("version", VERSION),
            "license": license_ or before.get("license", LICENSE),
            "parameters": trained.parameters,
            "input": {
                "width": trained.size,
                "height": trained.size,
                "color": "gray",
                "layout": "NHWC",
                "dtype": "float32",
                "scale": trained.scale,
                "offset": trained.offset,
            },
            "labels": list(data.labels),
            "output": output,
            "temperature": temperature,
            "uncertain_below": below,
            "crop": described(weights.parent).get("crop", CROP) if crop is None else crop,
            "metrics": {
                "protocol": data.protocol,
                "split": data.split,
                "n": len(scores),
                **scores.facts(),
                "uncertain": certainty(scores, below),
                "parity": {"images": min(PARITY_IMAGES, len(data)), "max": difference},
                **int8,
            },
            "data": list(dict.fromkeys([*before.get("data", ()), *sources])),
            "training": training_facts(weights, "valid_accuracy"),
        }
        write_bundle(work, facts)
    return facts
