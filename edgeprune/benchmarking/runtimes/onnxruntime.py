"""ONNX Runtime. Runs in the measuring process, which must load nothing else: no torch, no onnx."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.benchmarking import memory
from edgeprune.benchmarking.ort_profile import read_operators
from edgeprune.benchmarking.runtimes.base import Job, Loaded, Profile, room_for_images
from edgeprune.errors import ModelError, UnavailableError, UsageError

FORMAT = "onnx"
PACKAGES = ("onnxruntime", "numpy")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# What exported files take: normalised images (NCHW), or pixels as they are decoded (NHWC).
NORMALISED = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
PIXELS = "tensor(uint8)"


class OnnxSession:
    """An ONNX Runtime session with input and output bound once, on the device."""

    def __init__(self, onnxruntime: Any, session: Any, job: Job) -> None:
        self.loaded = inspect(session, job)
        self._device = job.device
        self._transfers: tuple[Callable[[], object], Callable[[], object]] | None = None
        images = _images(session.get_inputs()[0].type, job, self.loaded.img_size)
        name = session.get_inputs()[0].name
        if job.device == "cpu":
            self._call: Callable[[], object] = partial(session.run, None, {name: images})
        else:
            binding = session.io_binding()
            value = onnxruntime.OrtValue.ortvalue_from_numpy(images, job.device, 0)
            self._call = _bound(session, binding, name, value, job.device)
            self._transfers = partial(value.update_inplace, images), binding.copy_outputs_to_cpu

    def run(self) -> None:
        """Run one batch."""
        self._call()

    def transfers(self) -> tuple[Callable[[], object], Callable[[], object]] | None:
        """Return what copies the images to the device, and the outputs of the last run back."""
        return self._transfers

    def device_peak_bytes(self) -> int | None:
        """Return what the process holds on the device: ONNX Runtime gives nothing back to it."""
        return None if self._device == "cpu" else memory.device_bytes()


class ProfiledOnnxSession(OnnxSession):
    """An ONNX Runtime session that notes what every operator takes."""

    def __init__(self, onnxruntime: Any, session: Any, job: Job) -> None:
        super().__init__(onnxruntime, session, job)
        self._session = session

    def read(self, skip: int) -> Profile:
        """End profiling, and return what was noted but for the first ``skip`` calls."""
        text = Path(self._session.end_profiling()).read_text(encoding="utf-8")
        return read_operators(json.loads(text), skip=skip)


def load(job: Job) -> OnnxSession:
    """Load an ONNX file with the provider of the job's device and run it once.

    Raises: as :func:`start`.
    """
    import onnxruntime

    return start(onnxruntime, job, PROVIDERS[job.device], {})


def check_device(device: str) -> None:
    """Refuse a device whose provider this build does not have. Raises UnavailableError."""
    import onnxruntime

    check_provider(onnxruntime, PROVIDERS[device], device)


def profiled(job: Job, scratch: Path) -> ProfiledOnnxSession:
    """Load an ONNX file on the CPU with ONNX Runtime's profiler on.

    Raises:
        ModelError, UsageError: if the file does not take such images.
    """
    import onnxruntime

    return ProfiledOnnxSession(onnxruntime, cpu_session(onnxruntime, job, scratch / "calls"), job)


def cpu_session(onnxruntime: Any, job: Job, profile: Path | None = None) -> Any:
    """Load an ONNX file on the CPU; with ``profile``, what files of its profile start with."""
    options = session_options(onnxruntime, job)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(job.source, options, providers=[PROVIDERS["cpu"]])


def start(
    onnxruntime: Any, job: Job, provider: str, provider_options: dict[str, str]
) -> OnnxSession:
    """Load an ONNX file with one provider, see that it is really used, and run it once.

    A provider that does not load is replaced by the CPU without an exception; so the session is
    asked for the one that it has, and may not give any node to the CPU.

    Args:
        onnxruntime: the library, or what stands in for it.
        job: what to load.
        provider: the execution provider.
        provider_options: of the provider.

    Raises:
        ModelError: if ONNX Runtime cannot read or run it, or it does not take images.
        UsageError: if its batch size is fixed and another one was asked for.
        UnavailableError: if the device is not there, or cannot run the whole model.
    """
    onnxruntime.set_default_logger_severity(4)
    check_provider(onnxruntime, provider, job.device)
    options = session_options(onnxruntime, job)
    try:
        session = onnxruntime.InferenceSession(
            job.source,
            options,
            providers=[(provider, provider_options)],
            # Otherwise it tries again with the CPU, and tells of that instead.
            enable_fallback=False,
        )
    except Exception as error:
        raise _load_error(job, provider, error) from error
    if session.get_providers()[0] != provider:
        raise UnavailableError(
            f"ONNX Runtime could not start {provider} on this machine: the session has"
            f" {', '.join(session.get_providers())}"
        )
    prepared = OnnxSession(onnxruntime, session, job)
    try:
        prepared.run()
    except Exception as error:
        raise ModelError(
            f"{job.name!r} fails in ONNX Runtime with batch {job.batch}: {_brief(error)}"
        ) from error
    return prepared


def check_provider(onnxruntime: Any, provider: str, device: str) -> None:
    """Refuse a provider that this build does not have. Raises UnavailableError."""
    offered = onnxruntime.get_available_providers()
    if provider not in offered:
        raise UnavailableError(
            f"device {device!r}: ONNX Runtime has no {provider} here; this build offers "
            + ", ".join(offered),
            hint="pip install onnxruntime-gpu" if device == "cuda" else None,
        )


def session_options(onnxruntime: Any, job: Job) -> Any:
    """Return the options with which every file of a job is loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if job.device != "cpu":
        # Otherwise what the device cannot do runs on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _bound(session: Any, binding: Any, name: str, images: Any, device: str) -> Callable[[], None]:
    """Return a call that runs on data which stays on the device, and waits for the end."""
    binding.bind_ortvalue_input(name, images)
    for output in session.get_outputs():
        binding.bind_output(output.name, device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _images(kind: str, job: Job, size: int) -> np.ndarray[Any, Any]:
    """Make a batch of random images of the type that a file takes.

    Raises:
        UsageError: if there is no memory for so many.
    """
    generator = np.random.default_rng(job.seed)
    with room_for_images(job, size):
        if kind == PIXELS:
            return generator.integers(0, 256, (job.batch, size, size, 3), dtype=np.uint8)
        images = generator.standard_normal((job.batch, 3, size, size), dtype=np.float32)
        return images.astype(NORMALISED[kind])


def inspect(session: Any, job: Job) -> Loaded:
    """Read the input's shape and edgeprune's metadata; check that images of the batch fit.

    Raises:
        ModelError: if there are several inputs, or one that does not take square images.
        UsageError: if the batch size is fixed and another one was asked for.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(f"{job.name!r} has {len(inputs)} inputs; one, of images, was expected")
    shape = inputs[0].shape
    if inputs[0].type == PIXELS and len(shape) == 4:
        shape = [shape[0], shape[3], *shape[1:3]]
    if inputs[0].type not in (*NORMALISED, PIXELS) or len(shape) != 4 or shape[1] != 3:
        raise ModelError(
            f"{job.name!r} takes {inputs[0].type} of shape {shape};"
            " tensor(float) of shape [batch, 3, size, size] was expected"
        )
    if isinstance(shape[0], int) and shape[0] != job.batch:
        raise UsageError(
            f"{job.name!r} has the fixed batch size {shape[0]}; --batch {job.batch} was asked for"
        )
    metadata = session.get_modelmeta().custom_metadata_map
    return Loaded(
        img_size=_img_size(shape, metadata, job.name),
        precision=metadata.get("edgeprune.precision", "fp32"),
        macs=_count(metadata, "edgeprune.macs"),
        params=_count(metadata, "edgeprune.params"),
        fingerprint=metadata.get("edgeprune.fingerprint") or None,
        preprocess=_preprocess(metadata, pixels=inputs[0].type == PIXELS),
    )


def _img_size(shape: list[Any], metadata: dict[str, str], name: str) -> int:
    if isinstance(shape[2], int) and shape[2] == shape[3]:
        return shape[2]
    if isinstance(shape[2], int) or isinstance(shape[3], int):
        raise ModelError(f"{name!r} takes images of {shape[2]}x{shape[3]}; square ones are needed")
    try:
        return int(json.loads(metadata["edgeprune.preprocess"])["img_size"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(
            f"{name!r} takes images of any size and its metadata name none",
            hint="export it with a fixed image size",
        ) from None


def _preprocess(metadata: dict[str, str], *, pixels: bool) -> dict[str, Any] | None:
    try:
        found = json.loads(metadata["edgeprune.preprocess"])
    except (KeyError, ValueError):
        return None
    return {**found, "pixels": pixels} if isinstance(found, dict) else None


def _count(metadata: dict[str, str], key: str) -> int | None:
    text = metadata.get(key, "")
    return int(text) if text.isdigit() else None


def _load_error(job: Job, provider: str, error: Exception) -> Exception:
    if job.device != "cpu":
        return UnavailableError(
            f"ONNX Runtime cannot run the whole of {job.name!r} with {provider}: {_brief(error)}"
        )
    return ModelError(f"ONNX Runtime cannot load {job.name!r}: {_brief(error)}")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
