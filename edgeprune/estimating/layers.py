"""What a network does in one call: its kernels, with shapes, found on the meta device.

The network itself is traced, not an exported file: any model that edgeprune can load has one, the
trace takes a second where an export takes fifteen, and the networks whose latencies are published
(none of them exported by edgeprune) are traced the same way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

PRODUCT, CONVOLUTION, ATTENTION, GROUPED = "product", "convolution", "attention", "grouped"
SOFTMAX, NORMALISATION, ACTIVATION = "softmax", "normalisation", "activation"
CLIPPING, ADDING, MOVING, POOLING = "clipping", "adding", "moving", "pooling"
PRODUCTS = (PRODUCT, CONVOLUTION, ATTENTION, GROUPED)
KINDS = (
    *(PRODUCT, CONVOLUTION, ATTENTION, GROUPED, SOFTMAX),
    *(NORMALISATION, ACTIVATION, CLIPPING, ADDING, MOVING, POOLING),
)

_KIND_OF = {
    **dict.fromkeys(("_softmax", "_safe_softmax"), SOFTMAX),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), NORMALISATION),
    **dict.fromkeys(
        (
            *("gelu", "silu", "silu_", "sigmoid", "sigmoid_", "hardswish", "hardswish_"),
            *("hardsigmoid", "hardsigmoid_", "tanh", "elu", "exp", "erf", "sin", "cos"),
        ),
        ACTIVATION,
    ),
    **dict.fromkeys(("relu", "relu_", "hardtanh", "hardtanh_", "clamp"), CLIPPING),
    **dict.fromkeys(
        (
            *("add", "add_", "sub", "mul", "mul_", "div", "div_", "neg", "rsqrt", "pow"),
            *("_native_batch_norm_legit_no_training", "native_batch_norm", "reciprocal"),
        ),
        ADDING,
    ),
    **dict.fromkeys(
        (
            *("clone", "copy_", "cat", "_to_copy", "index", "roll", "constant_pad_nd", "stack"),
            *("gather", "index_select", "upsample_nearest2d", "upsample_bilinear2d", "repeat"),
            *("_unsafe_view", "masked_fill", "where", "upsample_bicubic2d"),
        ),
        MOVING,
    ),
    **dict.fromkeys(
        (
            *("max_pool2d_with_indices", "avg_pool2d", "mean", "_adaptive_avg_pool2d", "sum"),
            *("amax", "linalg_vector_norm"),
        ),
        POOLING,
    ),
}
_POINTWISE = (CLIPPING, ADDING)
_BATCH_NORM = ("_native_batch_norm_legit_no_training", "native_batch_norm")
# An output that is as large as its input and only read anew costs nothing.
_FREE = ("_unsafe_view",)


@dataclass(frozen=True)
class Kernel:
    """One operation of one call.

    A product multiplies ``count`` pairs of (m, k) and (k, n) matrices; a convolution is one, with
    a row per output pixel and ``k`` inputs per output. For other kinds ``m`` is the number of
    output elements, and n = k = 1.

    Attributes:
        layer: path of the module that it belongs to.
        kind: one of KINDS.
        reads: elements of activations that are read.
        weights: elements of weights that are read.
        writes: elements that are written.
        fused: a pointwise operation on what the kernel before it has just computed; compilers
            do both in one go.
    """

    layer: str
    kind: str
    count: int
    m: int
    n: int
    k: int
    reads: int
    weights: int
    writes: int
    fused: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a product, 0 for other kinds."""
        return self.count * self.m * self.n * self.k if self.kind in PRODUCTS else 0


def trace(module: nn.Module, img_size: int, batch: int = 1) -> list[Kernel]:
    """Return the kernels of one call on images ``(batch, 3, img_size, img_size)``, in order.

    Nothing is computed: the pass runs on the meta device, and the module stays as it is. One image
    is traced, and multiplied: for more, PyTorch copies what other runtimes do not.
    """
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    meta = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    images = torch.zeros(1, 3, img_size, img_size, device="meta")
    training = module.training
    module.eval()
    recorder = _Recorder(meta.values())
    try:
        with torch.no_grad(), recorder.tracker, recorder:
            torch.func.functional_call(module, meta, (images,))
    finally:
        module.train(training)
    return [_batched(kernel, batch) for kernel in recorder.kernels]


def _batched(kernel: Kernel, batch: int) -> Kernel:
    """Return a kernel for more images: more rows, or for attention more pairs of matrices."""
    rows = 1 if kernel.kind == ATTENTION else batch
    return dataclasses.replace(
        kernel,
        count=kernel.count * batch // rows,
        m=kernel.m * rows,
        reads=kernel.reads * batch,
        writes=kernel.writes * batch,
    )


class _Recorder(TorchDispatchMode):
    """Notes every ATen operation that takes time on a device."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []
        self.tracker = ModuleTracker()
        # Storages by address, held so that none is used again; which kernel wrote them.
        self._held: list[torch.Tensor] = list(weights)
        self._weights = {_storage(tensor) for tensor in self._held}
        self._writer: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        results = [t for t in _tensors([output]) if t.is_floating_point()]
        if results:
            self._note(name, args, results[0])
        return output

    def _note(self, name: str, args: tuple[Any, ...], output: torch.Tensor) -> None:
        inputs = _tensors(args)
        product = _product(name, inputs, args, output)
        kind = product[0] if product else _KIND_OF.get(name)
        if kind is None or (name in _FREE and output.numel() == inputs[0].numel()):
            return
        fused = kind in _POINTWISE and any(
            self.kernels[self._writer[key]].kind in (*PRODUCTS, ACTIVATION, *_POINTWISE)
            for key in map(_storage, inputs)
            if key in self._writer
        )
        if name in _BATCH_NORM and fused:  # part of the weights before it
            self._writer[_storage(output)] = self._writer[_storage(inputs[0])]
            self._held.append(output)
            return
        count, m, n, k = product[1:] if product else (1, output.numel(), 1, 1)
        constant = [_storage(tensor) in self._weights for tensor in inputs]
        own = sum(t.numel() for t, c in zip(inputs, constant, strict=True) if c)
        read = sum(t.numel() for t, c in zip(inputs, constant, strict=True) if not c)
        if inputs and all(constant):  # weights made ready: done once, before the first call
            self._weights.add(_storage(output))
            self._held.append(output)
            return
        layer = max(self.tracker.parents, key=len).partition(".")[2]
        self._held.append(output)
        self._writer[_storage(output)] = len(self.kernels)
        self.kernels.append(Kernel(layer, kind, count, m, n, k, read, own, output.numel(), fused))


def _product(
    name: str, inputs: list[torch.Tensor], args: tuple[Any, ...], output: torch.Tensor
) -> tuple[str, int, int, int, int] | None:
    """Return kind, count, m, n and k of a product; None for any other operation."""
    if name in ("mm", "addmm"):
        a, b = inputs[-2:]
        return PRODUCT, 1, a.shape[0], b.shape[1], a.shape[1]
    if name in ("bmm", "baddbmm"):
        a, b = inputs[-2:]
        return ATTENTION, a.shape[0], a.shape[1], b.shape[2], a.shape[2]
    if name == "convolution":
        groups, weight = int(args[8]), inputs[1]
        rows = output.numel() // output.shape[1]
        point = weight.shape[2:].numel() == 1
        kind = GROUPED if groups > 1 else PRODUCT if point else CONVOLUTION
        return kind, groups, rows, output.shape[1] // groups, math.prod(weight.shape[1:])
    return None


def _tensors(values: Any) -> list[torch.Tensor]:
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
