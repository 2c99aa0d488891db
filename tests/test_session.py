from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_model
from command import PACKAGE_ROOT

from ferlite import session
from ferlite.errors import ModelError, ProviderError, UsageError

NETWORK = tiny_model.network(metadata={"colour": "blue"})


def faces(n: int) -> np.ndarray:
    return np.random.default_rng(1).random((n, 16, 16, 1), np.float32)


def test_options_in_force() -> None:
    options = session.create(NETWORK, provider="cpu", threads=3).options
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.log_severity_level == 4
    assert options.optimized_model_filepath == ""
    assert options.enable_cpu_mem_arena and not options.enable_mem_pattern
    for kind in ("intra", "inter"):
        assert options.get_session_config_entry(f"session.{kind}_op.allow_spinning") == "0"
    default = session.create(NETWORK, provider="cpu").options
    assert default.intra_op_num_threads == session.default_threads()


def test_what_a_session_knows(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(NETWORK)
    opened = session.create(path, provider="cpu")
    assert (opened.name, opened.provider) == (str(path), "cpu")
    assert (opened.input_name, opened.input_type) == ("face", "tensor(float)")
    assert opened.input_shape == ("n", 16, 16, 1)
    assert (opened.output_names, opened.output_shape) == (("logits",), ("n", 8))
    assert opened.metadata == {"colour": "blue"}


def test_run_agrees_with_numpy() -> None:
    """The tiny network, computed by hand."""
    import onnx
    from onnx import numpy_helper

    weights = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load_from_string(NETWORK).graph.initializer
    }
    batch = faces(3)
    windows = np.lib.stride_tricks.sliding_window_view(batch[..., 0], (3, 3), axis=(1, 2))
    edges = np.einsum("nijab,kab->nkij", windows[:, ::2, ::2], weights["kernel"][:, 0])
    expected = np.maximum(edges, 0).mean(axis=(2, 3)) @ weights["dense"]
    (answer,) = session.create(NETWORK, provider="cpu").run(batch)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_errors_are_raised_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    opened = session.create(NETWORK, provider="cpu", name="tiny.onnx")
    with pytest.raises(ModelError, match=r"tiny.onnx: cannot run on float32 \(2, 8, 8, 1\)"):
        opened.run(np.zeros((2, 8, 8, 1), np.float32))
    with pytest.raises(ModelError, match="cannot run on float64"):
        opened.run(np.zeros((2, 16, 16, 1)))
    for junk in (b"junk", NETWORK[:400]):
        with pytest.raises(ModelError, match=r"bad.onnx: not a usable ONNX model") as caught:
            session.create(junk, provider="cpu", name="bad.onnx")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="unknown provider 'cuda'; use one of cpu, openvino"):
        session.create(NETWORK, provider="cuda")
    with pytest.raises(UsageError, match="threads is -1"):
        session.create(NETWORK, threads=-1)
    with pytest.raises(UsageError, match=r"threads is 1\.5; use 0 for the default, or a whole"):
        session.create(NETWORK, threads=1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"threads is 100000; .* up to 256"):
        session.create(NETWORK, threads=100_000)
    with pytest.raises(ModelError, match="no such model file"):
        session.create("/no/such.onnx", provider="cpu")


def test_one_session_in_many_threads() -> None:
    opened = session.create(NETWORK, provider="cpu", threads=2)
    batch = faces(5)
    expected = opened.run(batch)[0]
    wrong: list[float] = []

    def work() -> None:
        for _ in range(50):
            worst = float(np.abs(opened.run(batch)[0] - expected).max())
            if worst > 1e-6:
                wrong.append(worst)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_probe_is_the_network_it_claims_to_be() -> None:
    assert tiny_model.negation() == session._PROBE


def test_providers_are_really_tried() -> None:
    found = {name: (works, remedy) for name, works, remedy in session.providers()}
    assert found["cpu"] == (True, "")
    works, remedy = found["openvino"]
    assert works or "; " in remedy


def test_openvino_by_name_works_or_says_what_to_install() -> None:
    if dict(one[:2] for one in session.providers())["openvino"]:
        opened = session.create(NETWORK, provider="openvino", threads=1)
        assert opened.provider == "openvino"
        reference = session.create(NETWORK, provider="cpu").run(faces(4))[0]
        np.testing.assert_allclose(opened.run(faces(4))[0], reference, atol=1e-4)
    else:
        with pytest.raises(ProviderError, match=r"openvino.*pip install onnxruntime-ep-openvino "):
            session.create(NETWORK, provider="openvino")


def test_a_plugin_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if its package were there but could not be imported.
    monkeypatch.setattr(session, "_openvino_package", lambda: "plugin")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
    with pytest.raises(
        ProviderError, match=r"openvino cannot be loaded.*pip install onnxruntime-ep-openvino "
    ):
        session.create(NETWORK, provider="openvino")


@pytest.mark.parametrize("registered_by", ["others", "us"])
def test_a_registered_plugin_is_no_monolithic_package(
    monkeypatch: pytest.MonkeyPatch, registered_by: str
) -> None:
    """Once registered it is among the available providers, as the other package always is."""
    device = SimpleNamespace(ep_name="OpenVINOExecutionProvider", ep_metadata={"ov_device": "CPU"})
    listed = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: listed)
    monkeypatch.setattr("onnxruntime.get_ep_devices", list, raising=False)
    monkeypatch.setattr(session, "_registered", set())
    assert session._openvino_package() == "monolithic"
    if registered_by == "us":  # on a processor that it does not support, it offers nothing
        session._registered.add("OpenVINOExecutionProvider")
    else:
        monkeypatch.setattr("onnxruntime.get_ep_devices", lambda: [device])
    assert session._openvino_package() == "plugin"


def test_installed_providers_have_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    assert session.installed()["cpu"] == onnxruntime.__version__
    monkeypatch.setattr(session, "_openvino_package", lambda: None)
    assert list(session.installed()) == ["cpu"]
    monkeypatch.setattr(session, "_openvino_package", lambda: "plugin")
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"3 of {name}")
    assert session.installed()["openvino"] == "3 of onnxruntime-ep-openvino"


def test_two_inputs_are_refused() -> None:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "abc"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])], "sum", values[:2], values[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match=r"sum.onnx: has 2 inputs"):
        session.create(model.SerializeToString(), provider="cpu", name="sum.onnx")


def lay_out(folder: Path, cores: dict[int, tuple[int, int]]) -> Path:
    for cpu, (package, core) in cores.items():
        topology = folder / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{package}\n")
        (topology / "core_id").write_text(f"{core}\n")
    return folder


def test_physical_cores(tmp_path: Path) -> None:
    # Two packages of two cores with two hyperthreads; core numbers repeat between packages.
    threads = {cpu: (cpu // 4, cpu // 2 % 2) for cpu in range(8)}
    folder = lay_out(tmp_path, threads)
    assert session._physical_cores(range(8), folder) == 4
    assert session._physical_cores({0, 1}, folder) == 1
    assert session._physical_cores({0, 2, 4}, folder) == 3
    assert session._physical_cores({100, 101}, folder) == 2  # unknown: each counts


@pytest.mark.parametrize(
    ("content", "quota"),
    [("max 100000\n", float("inf")), ("150000 100000\n", 1.5), ("50000 100000\n", 0.5), ("", None)],
)
def test_cpu_quota_version_2(tmp_path: Path, content: str, quota: float | None) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("0::/outer/inner\n")
    inner = tmp_path / "fs" / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text(content)
    (inner.parent / "cpu.max").write_text("300000 100000\n")
    assert session._cpu_quota(tmp_path / "fs", groups) == min(quota or 9, 3.0)


def test_cpu_quota_version_1_and_none(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("5:memory:/a\n4:cpu,cpuacct:/a\n")
    group = tmp_path / "fs" / "cpu" / "a"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("250000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert session._cpu_quota(tmp_path / "fs", groups) == 2.5
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert session._cpu_quota(tmp_path / "fs", groups) == float("inf")
    assert session._cpu_quota(tmp_path / "fs", tmp_path / "missing") == float("inf")


@pytest.mark.parametrize(
    ("cores", "quota", "threads"), [(1, 9, 1), (3, 9, 3), (64, 99, 4), (8, 2.5, 2), (8, 0.3, 1)]
)
def test_default_threads(
    monkeypatch: pytest.MonkeyPatch, cores: int, quota: float, threads: int
) -> None:
    monkeypatch.setattr(session, "_physical_cores", lambda cpus: cores)
    monkeypatch.setattr(session, "_cpu_quota", lambda: quota)
    assert session.default_threads() == threads


def test_nothing_is_reported_to_the_maker_of_the_runtime(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(NETWORK)
    code = "import sys, ferlite.session as s; s.create(sys.argv[1])"
    environment = {name: text for name, text in os.environ.items() if "TELEMETRY" not in name}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME"), str(tmp_path))
    environment["PYTHONPATH"] = str(PACKAGE_ROOT)
    subprocess.run([sys.executable, "-c", code, model], env=environment, check=True, cwd=tmp_path)
    # Where it reports, it keeps the number of this device and what is still to be sent.
    assert not list(tmp_path.rglob("*deviceid*")) and not list(tmp_path.rglob("Microsoft"))


def test_texts_in_a_model_that_are_no_text(tmp_path: Path) -> None:
    for damaged in (
        NETWORK.replace(b"logits", b"log\xffts"),
        tiny_model.network(metadata={"note": "text"}).replace(b"text", b"t\xffxt"),
    ):
        with pytest.raises(ModelError, match="m: not a usable ONNX model"):
            session.create(damaged, name="m")
