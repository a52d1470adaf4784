"""Where and how training computes: device, precision, and repeatable arithmetic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.errors import UnavailableError
from edgeprune.progress import Progress

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The fused kernels whose backward pass adds up in the same order every time.
_REPEATABLE_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def open_device(device: str, precision: str) -> torch.device:
    """Return the device, after checking that it is there and can train in ``precision``.

    Raises:
        UnavailableError: if it is not, or cannot.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "device 'cuda' was asked for, but torch finds no CUDA GPU here",
            hint="edgeprune doctor says what is missing; --device cpu needs no GPU",
        )
    if device == "cpu" and precision == "fp16":
        raise UnavailableError(
            "precision 'fp16' cannot be trained in on the CPU", hint="use --precision bf16 or fp32"
        )
    if device == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise UnavailableError(
            "precision 'bf16' is not supported by this GPU", hint="use --precision fp16 or fp32"
        )
    return torch.device(device)


def warn_of_slow_precision(device: str, precision: str, progress: Progress) -> None:
    """Say if this CPU only imitates ``precision``, which costs far more than fp32 does."""
    if device != "cpu" or precision != "bf16":
        return
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # torch has no public way to ask
        progress.say(
            "warning: this CPU has no fast bf16 (on x86: AVX-512), and fp32 takes a fraction of"
            " the time: set precision to fp32"
        )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a forward pass runs in ``precision``."""
    return torch.autocast(
        device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST
    )


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Make the same operations give the same bits, and leave torch's random state alone."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    if devices:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=devices), sdpa_kernel(_REPEATABLE_ATTENTION):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fill
