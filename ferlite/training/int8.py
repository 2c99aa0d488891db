"""Static INT8 (QDQ) of an exported network: the engines, and the search that keeps the score.

The engines leave the first convolution in float32: its input is the picture itself, which fills
all 8 bits, and on x86 processors without VNNI 18 % of its sums in ferlite-s saturated, against
0.001 % in all others. Of a grey network `ferlite.training.stem` quantizes it so that none does.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from numpy.typing import NDArray

from ferlite.errors import ModelError, UsageError
from ferlite.training.stem import quantize_stem

_SMALLER = 0.75  # of the bytes of fp32; INT8 has about a quarter
ENGINES = ("auto", "neural-compressor", "onnxruntime")
Batch = NDArray[Any]


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    images: of the training split, that set the ranges of activations. max_drop: what may be lost,
    in points (per cent) of accuracy, or of average precision as 0..1. trials: configurations that
    accuracy-aware tuning may try.
    """

    images: int = 512
    max_drop: float = 0.3
    trials: int = 20
    seed: int = 1
    engine: str = "auto"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"engine {self.engine!r} is none of {', '.join(ENGINES)}")
        if self.images < 1 or self.trials < 1 or not 0 <= self.max_drop < math.inf:
            raise UsageError("images and trials must be at least 1, the drop 0 or more")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} must be 0 or more")

    def facts(self, images: int) -> dict[str, Any]:
        """What a bundle says of its INT8 network's making; `images` were there to calibrate."""
        return {
            "engine": engine_here(self.engine),
            "calibration_images": images,
            "calibration_seed": self.seed,
            "max_drop": self.max_drop,
        }


@dataclass(frozen=True)
class Search:
    """What is to be quantized, and how much of its score may be lost.

    source: fp32 file. batches: inputs that set the ranges. score: of an onnx.ModelProto, larger is
    better. before: score of `source`. drop: how much less is allowed.
    in_float: sets of nodes (convolutions by name) that stay in float32, besides the first
    convolution, in the order in which they are tried.
    """

    source: Path
    batches: Sequence[Batch]
    score: Callable[[Any], float]
    before: float
    drop: float
    in_float: Sequence[Sequence[str]] = ((),)

    def finished(self, model: Any) -> Any:
        """An engine's onnx.ModelProto with its first convolution quantized, where it is grey."""
        copy = type(model)()
        copy.CopyFrom(model)
        quantize_stem(copy, *self._ends)
        return copy

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Least and largest value of the batches."""
        return (
            min(float(batch.min()) for batch in self.batches),
            max(float(batch.max()) for batch in self.batches),
        )


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


def write_int8(search: Search, target: Path, options: QuantizeOptions) -> None:
    """Write `target`; the folder that it is in is used for scratch files.

    Raises ModelError when Neural Compressor finds no network that keeps the score;
    onnxruntime's last try is written even then, for the caller to judge.
    """
    neural = engine_here(options.engine) == "neural-compressor"
    for i, names in enumerate(search.in_float):
        last = i + 1 == len(search.in_float)
        try:
            run = _neural_compressor if neural else _onnxruntime
            if run(search, target, list(names), options):
                return
        except ModelError:
            if last:
                raise


class _Loader:
    """Batches as Neural Compressor wants them: (input, label) and a batch size."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches, self.batch_size = batches, len(batches[0])

    def __iter__(self) -> Iterator[tuple[Batch, None]]:
        return ((batch, None) for batch in self.batches)


def _neural_compressor(
    search: Search, target: Path, in_float: list[str], options: QuantizeOptions
) -> bool:
    import onnx
    from neural_compressor import PostTrainingQuantConfig, quantization, set_workspace
    from neural_compressor.config import AccuracyCriterion, TuningCriterion

    logging.getLogger("neural_compressor").setLevel(logging.ERROR)
    set_workspace(str(target.parent))  # else it writes into the working folder
    kept = {"activation": {"dtype": ["fp32"]}, "weight": {"dtype": ["fp32"]}}
    config = PostTrainingQuantConfig(
        approach="static",
        quant_format="QDQ",
        calibration_sampling_size=[sum(map(len, search.batches))],
        op_name_dict=dict.fromkeys(in_float, kept) or None,
        recipes={"first_conv_or_matmul_quantization": False},
        accuracy_criterion=AccuracyCriterion(criterion="absolute", tolerable_loss=search.drop),
        tuning_criterion=TuningCriterion(max_trials=options.trials),
    )
    with _stops() as stops:

        def score(model: Any) -> float:
            try:
                return search.score(search.finished(model))
            except BaseException as error:
                stops.append(error)
                raise

        best = quantization.fit(
            str(search.source),
            config,
            calib_dataloader=_Loader(search.batches),
            eval_func=score,
        )
    if stops:
        raise stops[0]
    if best is None:
        raise ModelError(
            f"none of {options.trials} INT8 configurations stays within --max-drop "
            f"{options.max_drop}; nothing was written"
        )
    onnx.save(search.finished(best.model), str(target))
    # To lose less it leaves layer after layer in float32, in the end all.
    if target.stat().st_size > _SMALLER * search.source.stat().st_size:
        raise ModelError(
            f"what stays within --max-drop {options.max_drop} is hardly smaller than the fp32 "
            "network; allow more, or take other pictures (--images, --seed); nothing was written"
        )
    return True


@contextmanager
def _stops() -> Iterator[list[BaseException]]:
    """What Ctrl-C and SIGTERM raised meanwhile: Neural Compressor drops it, and any other error."""
    stops: list[BaseException] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handler(signum: int, frame: FrameType | None) -> None:
        try:
            before[signum](signum, frame)
        except BaseException as error:
            stops.append(error)
            raise

    for one in (signal.SIGINT, signal.SIGTERM):
        was = signal.getsignal(one)
        if callable(was):
            with suppress(ValueError):  # on another thread than the main one no signal arrives
                signal.signal(one, handler)
                before[one] = was
    try:
        yield stops
    finally:
        for signum, was in before.items():
            signal.signal(signum, was)


def _onnxruntime(
    search: Search, target: Path, in_float: list[str], options: QuantizeOptions
) -> bool:
    """Tries ways to find ranges until one keeps the score; False when the last does not."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(str(search.source), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(str(prepared)).graph
    name = graph.input[0].name
    stem = [node.name for node in graph.node if node.op_type == "Conv"][:1]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self._batches = iter(search.batches)

        def get_next(self) -> dict[str, Batch] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    methods = [quantization.CalibrationMethod.MinMax]
    if len({batch.shape[1:] for batch in search.batches}) == 1:  # percentiles take one size only
        methods.append(quantization.CalibrationMethod.Percentile)
    for method in methods:
        quantization.quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=[*stem, *in_float],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=method,
        )
        finished = search.finished(onnx.load(str(target)))
        onnx.save(finished, str(target))
        if search.score(finished) >= search.before - search.drop:
            return True
    return False
