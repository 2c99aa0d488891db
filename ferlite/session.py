"""The only place that builds an onnxruntime.InferenceSession.

Sessions are quiet, name their providers, take their threads from one setting and do not spin while
idle: on a small computer the cores belong to the decoder and the detector between two batches.
`python benchmarks/session_settings.py` measures these settings. What gained nothing is left as it
is: IO binding with reused outputs (0 to 2 %), going without the arena (8 % slower), dynamic blocks
of work.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlite import arguments, graphs
from ferlite.errors import ModelError, ProviderError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

PROVIDERS = ("cpu", "openvino")

_CPU = "CPUExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_PLUGIN = "onnxruntime-ep-openvino"
_REMEDY = f"pip install {_PLUGIN} (x86-64 with an Intel processor), or provider 'cpu'"
# y = -x of one number, opset 17; tests/tiny_model.py `negation` writes these bytes.
_PROBE = bytes.fromhex(
    "08083a350a0b0a017812017922034e6567120474696e795a0f0a0178120a0a08080112040a020801620f0a01"
    "79120a0a08080112040a02080142040a001011"
)

_registered: set[str] = set()
_plugin_lock = threading.Lock()


class Session:
    """A loaded network with one input; `run` may be called from several threads at once.

    name: the file, for messages. provider: "cpu" or "openvino", the one that really runs.
    input_shape: integers, or a name (or None) where a dimension is free. metadata: of the ONNX.
    """

    def __init__(self, session: onnxruntime.InferenceSession, name: str, provider: str) -> None:
        try:
            inputs, outputs = session.get_inputs(), session.get_outputs()
            names = [one.name for one in (*inputs, *outputs)]
            metadata = dict(session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError:
            raise ModelError(f"{name}: not a usable ONNX model: a text in it is no UTF-8") from None
        if len(inputs) != 1:
            raise ModelError(f"{name}: has {len(inputs)} inputs, one is needed")
        self._session = session
        self.name = name
        self.provider = provider
        self.input_name: str = names[0]
        self.input_shape: tuple[int | str | None, ...] = tuple(inputs[0].shape)
        self.input_type: str = inputs[0].type
        self.output_names: tuple[str, ...] = tuple(names[1:])
        self.output_shape: tuple[int | str | None, ...] = tuple(outputs[0].shape)
        self.metadata: dict[str, str] = metadata

    @property
    def options(self) -> onnxruntime.SessionOptions:
        """The options in force, as ONNX Runtime reports them."""
        return self._session.get_session_options()

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """All outputs for one input batch; ModelError when the network cannot take it."""
        try:
            return list(self._session.run(None, {self.input_name: batch}))
        # ONNX Runtime's exceptions share no base but Exception.
        except Exception as error:
            raise ModelError(
                f"{self.name}: cannot run on {batch.dtype} {batch.shape}: {_line(error)}"
            ) from error


def create(
    model: str | Path | bytes,
    *,
    provider: str = "cpu",
    threads: int = 0,
    name: str = "",
    digest: str = "",
) -> Session:
    """Load a network.

    model: a path, or the bytes of an ONNX file (then `name` stands for it in messages).
    provider: "cpu", or "openvino", an error where it does not work.
    threads: for one run, at most 256; 0 for `default_threads()`.
    digest: SHA-256 of the model, to keep it optimised on disk for the next time where that pays
        (see `ferlite.graphs`); empty not to.
    Raises ModelError, ProviderError, UsageError.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"unknown provider {provider!r}; use one of {', '.join(PROVIDERS)}")
    threads = arguments.threads(threads)
    if isinstance(model, bytes):
        data, name = model, name or "model"
    else:
        from ferlite.bundles import read_model

        data, name = read_model(Path(model)), name or str(model)
    threads = threads or default_threads()
    if provider == "openvino":
        return _create_openvino(data, threads, name)
    return Session(_create_cpu(data, threads, name, digest), name, "cpu")


def installed() -> dict[str, str]:
    """Version of each provider that is installed, best known first; it may still not work."""
    import onnxruntime

    found = {"cpu": onnxruntime.__version__}
    if package := _openvino_package():
        found["openvino"] = (
            metadata.version(_PLUGIN) if package == "plugin" else onnxruntime.__version__
        )
    return found


def default_threads() -> int:
    """Physical cores this process may use, at most 4.

    Counts neither the second hyperthread of a core, nor cores outside the process's affinity, nor
    more than a container's CPU quota. Beyond 4 threads a network this small runs slower. On two
    fast cores the second makes a run of the packaged networks up to 1.5 times as fast in fp32 and
    1.1 times in INT8, and a whole video, whose stages keep both busy, neither faster nor slower.
    """
    cores = _physical_cores(os.sched_getaffinity(0))
    return max(1, int(min(4, cores, _cpu_quota())))


def providers() -> list[tuple[str, bool, str]]:
    """(name, works, remedy) of each provider, found out by running a network of one operation."""
    import numpy as np

    found = []
    for name in PROVIDERS:
        try:
            answer = create(_PROBE, provider=name, threads=1).run(np.ones(1, np.float32))
            works = answer[0].tolist() == [-1.0]
            remedy = "" if works else "gives wrong results; use another provider"
        except (ProviderError, ModelError) as error:
            works, remedy = False, str(error)
        found.append((name, works, remedy))
    return found


def _options(threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Errors come as exceptions with the same words; nothing is written to stderr as well.
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of the memory for each shape of input, kept: of the emotion network with batches of 1
    # to 64 it took 8 MB (INT8) and 28 MB (fp32), and saved at most 1 % of the time.
    options.enable_mem_pattern = False
    # Threads that wait by spinning shorten a run by 20 to 45 % on idle cores, and then burn 16 to
    # 27 ms of processor time for each frame of a camera, where a run takes 1 to 4: a whole video
    # took a third longer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _build(
    data: bytes, options: onnxruntime.SessionOptions, wanted: list[Any] | None, name: str
) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(data, options, providers=wanted)
    except Exception as error:
        raise ModelError(f"{name}: not a usable ONNX model: {_line(error)}") from error


def _create_cpu(data: bytes, threads: int, name: str, digest: str) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = _options(threads)
    file = None
    if digest:
        if (optimised := graphs.load(digest)) is not None:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            # Where this runtime cannot take it after all, it is made anew.
            try:
                return _build(optimised, options, [_CPU], name)
            except ModelError:
                graphs.discard(digest)
            options = _options(threads)
        file = graphs.begin(digest, len(data))
    if file is None:
        return _build(data, options, [_CPU], name)
    try:
        options.optimized_model_filepath = str(file)
        built = _build(data, options, [_CPU], name)
        graphs.keep(digest, file)
        return built
    except ModelError:
        # The disk may be full.
        return _build(data, _options(threads), [_CPU], name)
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _openvino_package() -> str | None:
    """How OpenVINO is installed: "monolithic", "plugin", or None."""
    import onnxruntime

    # Once registered, by us or by others, a plugin is listed among the available providers, too.
    if _OPENVINO in _registered or _plugin_devices():
        return "plugin"
    if _OPENVINO in onnxruntime.get_available_providers():
        return "monolithic"
    return "plugin" if find_spec("onnxruntime_ep_openvino") else None


def _plugin_devices() -> list[Any]:
    """What the registered plugin offers; nothing where none is registered."""
    import onnxruntime

    known = getattr(onnxruntime, "get_ep_devices", list)  # none before ONNX Runtime 1.22
    return [one for one in known() if one.ep_name == _OPENVINO]


def _create_openvino(data: bytes, threads: int, name: str) -> Session:
    package = _openvino_package()
    if package is None:
        raise ProviderError(f"provider openvino is not installed; {_REMEDY}")
    # OpenVINO computes in bfloat16 where the processor can, and results drift.
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    settings = {"load_config": json.dumps({"CPU": config})}
    options = _options(threads)
    wanted: list[Any] | None = None
    if package == "monolithic":
        wanted = [(_OPENVINO, settings | {"device_type": "CPU"}), _CPU]
    else:
        options.add_provider_for_devices([_plugin_device()], settings)
    try:
        built = _build(data, options, wanted, name)
    except ModelError as error:
        # A model that no provider takes stays a ModelError.
        _build(data, _options(threads), [_CPU], name)
        raise ProviderError(f"provider openvino cannot take {error}; use provider 'cpu'") from error
    # ONNX Runtime carries on without a provider that failed to start.
    if _OPENVINO not in built.get_providers():
        raise ProviderError(f"provider openvino is installed but did not start; {_REMEDY}")
    return Session(built, name, "openvino")


def _plugin_device() -> Any:
    import onnxruntime

    try:
        plugin = import_module("onnxruntime_ep_openvino")
        with _plugin_lock:
            # Once for the process, or ONNX Runtime raises.
            if _OPENVINO not in _registered and not _plugin_devices():
                onnxruntime.register_execution_provider_library(
                    _OPENVINO, plugin.get_library_path()
                )
                _registered.add(_OPENVINO)
        devices = _plugin_devices()
    except Exception as error:
        raise ProviderError(
            f"provider openvino cannot be loaded: {_line(error)}; {_REMEDY}"
        ) from error
    for device in devices:
        if device.ep_metadata.get("ov_device") == "CPU":
            return device
    raise ProviderError(
        "provider openvino finds no device it supports (its plugin wants an Intel processor);"
        " use provider 'cpu'"
    )


def _physical_cores(cpus: Iterable[int], topology: Path = Path("/sys/devices/system/cpu")) -> int:
    cores = set()
    for cpu in cpus:
        folder = topology / f"cpu{cpu}" / "topology"
        try:
            package = (folder / "physical_package_id").read_text()
            cores.add((package.strip(), (folder / "core_id").read_text().strip()))
        except OSError:
            # No topology (some virtual machines): each logical processor counts.
            cores.add(("", str(cpu)))
    return max(1, len(cores))


def _cpu_quota(
    root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")
) -> float:
    """CPUs' worth of time that the control group grants; infinite without a limit.

    Version 2 keeps "quota period" in cpu.max of the group and each of its parents; version 1 two
    files of the cpu controller.
    """
    quota = float("inf")
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            quota = min(quota, _quota_of(folder))
    return quota


def _quota_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else float("inf")
    # No such file (the root group, another version) or "max".
    except (OSError, ValueError):
        return float("inf")


def _line(error: Exception) -> str:
    """An exception's words on one line, without the path of ONNX Runtime's own sources."""
    return " ".join(str(error).split())[:300]
