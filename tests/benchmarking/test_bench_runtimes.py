"""Providers and compilers that are not here: what refuses, and a recorded ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
import torch
from onnx_files import write_mlp
from torch import nn

from edgeprune.benchmarking import bench, candidates, runtimes
from edgeprune.benchmarking.runtimes import onnxruntime_tensorrt
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.runtimes.onnxruntime import start
from edgeprune.benchmarking.runtimes.torch import TorchSession
from edgeprune.benchmarking.runtimes.torch_compile import compile_session
from edgeprune.benchmarking.workers import SubprocessWorker
from edgeprune.errors import ModelError, UnavailableError, UsageError

TENSORRT_EP = "onnxruntime-tensorrt"
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
DENSE = {"num_classes": 4, "img_size": 32, "pretrained": False, "weights": None, "seed": 0}


def job(source: str = "net.onnx", **changes: Any) -> Job:
    fields = {"name": "net", "runtime": "onnxruntime", "device": "cuda", "batch": 2, "threads": 1}
    return Job(**{**fields, "source": source, "seed": 0, **changes})


class RecordedSession:
    """A session of a model that takes images; writes down what is asked of it."""

    def __init__(self, providers: list[str], log: list[Any], failure: str | None) -> None:
        self._providers, self._log, self._failure = providers, log, failure

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="images", type="tensor(float)", shape=["batch", 3, 8, 8])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="logits")]

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map={})

    def io_binding(self) -> Any:
        return SimpleNamespace(
            bind_ortvalue_input=lambda name, value: self._log.append(("input", name, *value.place)),
            bind_output=lambda name, device: self._log.append(("output", name, device)),
            copy_outputs_to_cpu=lambda: self._log.append("copy back"),
            synchronize_outputs=lambda: self._log.append("wait"),
        )

    def run_with_iobinding(self, binding: Any) -> None:
        if self._failure:
            raise RuntimeError(self._failure)
        self._log.append("run")


class RecordedRuntime:
    """ONNX Runtime as it answers: the providers of the build, and those that a session gets."""

    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)

    def __init__(
        self,
        build: list[str],
        session: list[str] | None = None,
        refusal: str | None = None,
        failure: str | None = None,
    ) -> None:
        self._build, self._session = build, session or build
        self._refusal, self._failure = refusal, failure
        self.log: list[Any] = []
        self.config: dict[str, str] = {}
        self.asked: Any = None
        self.OrtValue = SimpleNamespace(
            ortvalue_from_numpy=lambda images, device, index: SimpleNamespace(
                place=(images.shape, device, index),
                update_inplace=lambda again: self.log.append(("copy", again.shape)),
            )
        )

    def set_default_logger_severity(self, level: int) -> None:
        pass

    def get_available_providers(self) -> list[str]:
        return self._build

    def SessionOptions(self) -> Any:  # noqa: N802  (its name there)
        return SimpleNamespace(add_session_config_entry=self.config.__setitem__)

    def InferenceSession(  # noqa: N802
        self, source: str, options: Any, providers: Any, enable_fallback: bool = True
    ) -> Any:
        self.asked = providers, enable_fallback
        if self._refusal:
            raise RuntimeError(self._refusal)
        return RecordedSession(self._session, self.log, self._failure)


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_on_a_gpu_data_stays_there_and_no_node_may_leave(provider: str) -> None:
    runtime = RecordedRuntime([provider, "CPUExecutionProvider"])
    session = start(runtime, job(), provider, {"device_id": "0"})
    assert runtime.asked == ([(provider, {"device_id": "0"})], False)
    assert runtime.config == {"session.disable_cpu_ep_fallback": "1"}
    bound = [("input", "images", (2, 3, 8, 8), "cuda", 0), ("output", "logits", "cuda")]
    assert runtime.log == [*bound, "run", "wait"]
    session.run()
    assert runtime.log[4:] == ["run", "wait"]
    copies = session.transfers()
    assert copies is not None
    for copy in copies:
        copy()
    assert runtime.log[6:] == [("copy", (2, 3, 8, 8)), "copy back"]


def test_a_provider_that_was_replaced_by_the_cpu_is_noticed() -> None:
    runtime = RecordedRuntime([TENSORRT, CUDA], session=["CPUExecutionProvider"])
    with pytest.raises(UnavailableError, match=r"could not start Tensorrt.* has CPUExecutionProv"):
        start(runtime, job(), TENSORRT, {})
    assert runtime.log == []


def test_a_build_without_the_provider_says_which_it_has() -> None:
    with pytest.raises(
        UnavailableError, match=r"no CUDAExecutionProvider here; .* Azure"
    ) as caught:
        start(RecordedRuntime(["AzureExecutionProvider"]), job(), CUDA, {})
    assert caught.value.hint == "pip install onnxruntime-gpu"


@pytest.mark.parametrize(("runtime", "missing"), [("onnxruntime", CUDA), (TENSORRT_EP, TENSORRT)])
def test_nothing_is_exported_for_a_device_that_is_not_there(
    runtime: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider"])
    exported: list[str] = []
    monkeypatch.setattr(candidates, "_export", lambda source, *_: exported.append(source.label))
    with pytest.raises(UnavailableError, match=f"has no {missing} here"):
        bench(["vit_tiny_patch16_224"], runtime=runtime, device="cuda")
    assert exported == []


def test_nodes_that_only_the_cpu_can_run_are_an_error() -> None:
    runtime = RecordedRuntime([CUDA], refusal="fallback to CPU EP has been explicitly disabled")
    with pytest.raises(UnavailableError, match=r"whole of 'net' with CUDA.*: fallback to CPU EP"):
        start(runtime, job(), CUDA, {})


def test_a_call_that_fails_is_the_model_s() -> None:
    runtime = RecordedRuntime([CUDA], failure="out of memory")
    with pytest.raises(ModelError, match="fails in ONNX Runtime with batch 2: out of memory"):
        start(runtime, job(), CUDA, {})


def test_runtimes_are_found_by_their_files() -> None:
    names = runtimes.names()
    assert {"onnxruntime", "onnxruntime-tensorrt", "torch", "torch-compile"} <= {*names}
    for name in names:
        module = runtimes.get(name)
        assert module.FORMAT in ("onnx", "model", "engine")
        assert module.PACKAGES or name == "trtexec"  # which is no Python package


def test_tensorrt_in_onnxruntime_is_not_replaced_by_anything(tmp_path: Path) -> None:
    import onnxruntime

    with pytest.raises(UsageError, match="does not run on 'cpu'; accepted: cuda"):
        onnxruntime_tensorrt.load(job(device="cpu"))
    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this build may have TensorRT")
    path = write_mlp(tmp_path / "net.onnx")
    with (
        SubprocessWorker(job(str(path), runtime="onnxruntime-tensorrt")) as worker,
        pytest.raises(UnavailableError, match="no TensorrtExecutionProvider here"),
    ):
        worker.load()


class Branching(nn.Module):
    """Looks at its numbers, which no graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if bool(x.sum() > 0) else x - 1


def session_of(module: nn.Module) -> TorchSession:
    return TorchSession(module.eval(), torch.ones(2, 3, 4, 4), Loaded(img_size=4, precision="fp32"))


@pytest.mark.slow
def test_torch_compile_computes_what_eager_mode_does() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.GELU())
    session = session_of(net)
    compile_session(session, "net")
    images = torch.randn(2, 3, 4, 4)
    with torch.inference_mode():
        torch.testing.assert_close(session.module(images), net(images), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_one_graph_is_refused() -> None:
    with pytest.raises(UnavailableError, match=r"cannot compile 'net' here: .*data-dependent"):
        compile_session(session_of(Branching()), "net")


def test_torch_compile_that_is_switched_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    wanted = job("vit_tiny_patch16_224", runtime="torch-compile", device="cpu", dense=DENSE)
    with (
        SubprocessWorker(wanted) as worker,
        pytest.raises(UnavailableError, match="without compiling it; is it switched off"),
    ):
        worker.load()
