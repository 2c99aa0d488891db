"""Static INT8 (QDQ) of an exported network, with as little accuracy lost as it takes.

The first convolution stays in float32. Its input is the picture itself, which fills all 8 bits:
x86 processors without VNNI add two 8-bit products in 16 bits, and in ferlite-s 18 % of that
layer's sums saturated there, against 0.001 % in all others. It is also no slower.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferlite import session
from ferlite.errors import ModelError, UsageError
from ferlite.training.bundle import FP32, INT8, read_facts, write_bundle
from ferlite.training.classifier import Classifier, aligned, open_classifier
from ferlite.training.data import EmotionData
from ferlite.training.export import measure

ENGINES = ("auto", "neural-compressor", "onnxruntime")
Batch = NDArray[np.float32]


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    images: of the training split, that set the ranges of activations. max_drop: points of accuracy
    (per cent) that may be lost. trials: configurations that accuracy-aware tuning may try.
    """

    images: int = 512
    max_drop: float = 0.3
    trials: int = 20
    seed: int = 1
    engine: str = "auto"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"engine {self.engine!r} is none of {', '.join(ENGINES)}")
        if self.images < 1 or self.trials < 1 or self.max_drop < 0:
            raise UsageError("images and trials must be at least 1, the drop not negative")


@dataclass(frozen=True)
class Figures:
    """One network before or after: size in bytes, accuracy in 0..1, milliseconds a face."""

    name: str
    size: int
    accuracy: float
    macro_f1: float
    batch1_ms: float
    batch16_ms: float


def engine_here(wanted: str = "auto") -> str:
    """The engine that "auto" stands for: Neural Compressor where it is installed."""
    present = importlib.util.find_spec("neural_compressor") is not None
    if wanted == "neural-compressor" and not present:
        raise UsageError(
            "neural-compressor is not installed: pip install 'ferlite[train,quantize]' "
            "(Python 3.11 or 3.12), or --engine onnxruntime"
        )
    if wanted != "auto":
        return wanted
    return "neural-compressor" if present else "onnxruntime"


def quantize(
    folder: Path, train: EmotionData, valid: EmotionData, options: QuantizeOptions
) -> tuple[Figures, Figures]:
    """Add model.int8.onnx to a bundle folder; returns figures of fp32 and INT8.

    Raises ModelError, and writes nothing, when the accuracy over the judged `valid` pictures falls
    by more than `options.max_drop` points.
    """
    facts = read_facts(folder)
    engine = engine_here(options.engine)
    fp32 = open_classifier(folder / FP32, threads=1)
    train, valid = aligned(train, fp32), aligned(valid, fp32)
    before = measure(fp32, valid, fp32.temperature)
    least = before.accuracy - options.max_drop / 100

    rng = np.random.default_rng(options.seed)
    count = min(options.images, len(train))
    chosen = train.images[np.sort(rng.choice(len(train), count, replace=False))]
    batches = [fp32.input(chosen[i : i + 32]) for i in range(0, len(chosen), 32)]

    judged = valid.only_judged()
    inputs, truth = fp32.input(judged.images), judged.classes

    def accuracy(model: Any) -> float:
        """Of an onnx.ModelProto, as the tuner hands it over."""
        opened = session.create(model.SerializeToString(), provider="cpu", name="INT8 candidate")
        scores = [opened.run(inputs[i : i + 128])[0] for i in range(0, len(inputs), 128)]
        return float((np.concatenate(scores).argmax(axis=1) == truth).mean())

    with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize-") as work:
        target = Path(work) / INT8
        run = _neural_compressor if engine == "neural-compressor" else _onnxruntime
        run(folder / FP32, target, batches, accuracy, least, options)
        int8 = open_classifier(target, threads=1)
        after = measure(int8, valid, fp32.temperature)
        if after.accuracy < least:
            raise ModelError(
                f"INT8 loses {100 * (before.accuracy - after.accuracy):.2f} points of accuracy "
                f"({before.accuracy:.4f} to {after.accuracy:.4f}), more than --max-drop "
                f"{options.max_drop}; nothing was written"
            )
        figures = (
            _figures("fp32", fp32, before.accuracy, before.macro("f1"), judged),
            _figures("INT8", int8, after.accuracy, after.macro("f1"), judged),
        )
        target.replace(folder / INT8)
    facts["metrics"]["int8"] = {**after.facts(), "engine": engine, "calibration_images": count}
    write_bundle(folder, facts)
    return figures


def _figures(
    name: str, classifier: Classifier, accuracy: float, macro_f1: float, data: EmotionData
) -> Figures:
    return Figures(
        name,
        classifier.path.stat().st_size,
        accuracy,
        macro_f1,
        classifier.milliseconds(data.images[0], 1),
        classifier.milliseconds(data.images[0], 16),
    )


class _Loader:
    """Batches as Neural Compressor wants them: (input, label) and a batch size."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.batch_size = batches, len(batches[0])

    def __iter__(self) -> Iterator[tuple[Batch, None]]:
        return ((batch, None) for batch in self.batches)


def _neural_compressor(
    source: Path,
    target: Path,
    batches: list[Batch],
    accuracy: Callable[[Any], float],
    least: float,
    options: QuantizeOptions,
) -> None:
    from neural_compressor import PostTrainingQuantConfig, quantization, set_workspace
    from neural_compressor.config import AccuracyCriterion, TuningCriterion

    logging.getLogger("neural_compressor").setLevel(logging.ERROR)
    set_workspace(str(target.parent))  # else it writes into the working folder
    config = PostTrainingQuantConfig(
        approach="static",
        quant_format="QDQ",
        calibration_sampling_size=[sum(map(len, batches))],
        recipes={"first_conv_or_matmul_quantization": False},
        accuracy_criterion=AccuracyCriterion(
            criterion="absolute", tolerable_loss=options.max_drop / 100
        ),
        tuning_criterion=TuningCriterion(max_trials=options.trials),
    )
    best = quantization.fit(
        str(source), config, calib_dataloader=_Loader(batches), eval_func=accuracy
    )
    if best is None:
        raise ModelError(
            f"none of {options.trials} INT8 configurations stays within --max-drop "
            f"{options.max_drop} points; nothing was written"
        )
    best.save(str(target))


def _onnxruntime(
    source: Path,
    target: Path,
    batches: list[Batch],
    accuracy: Callable[[Any], float],
    least: float,
    options: QuantizeOptions,
) -> None:
    """Tries ways to find ranges until one keeps the accuracy; the caller judges the last."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, Batch] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"faces": batch}

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    nodes = onnx.load(str(prepared)).graph.node
    stem = [node.name for node in nodes if node.op_type == "Conv"][:1]
    methods = (quantization.CalibrationMethod.MinMax, quantization.CalibrationMethod.Percentile)
    for method in methods:
        quantization.quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=stem,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=method,
        )
        if accuracy(onnx.load(str(target))) >= least:
            return
