"""DINOv2's weights in the shape of a DeiT and of a BEiT.

Both then compute DINOv2's features exactly, and differ from it in what can be trained and pruned.
They stand in for those families where their own weights cannot be had; they were never trained
as DeiT or BEiT are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.pretrained import dinov2_small

if TYPE_CHECKING:
    import torch

DEIT = "deit_small_patch14"
BEIT = "beit_small_patch14"

# The factors of LayerScale in the first blocks are about 0.2. Weights that took them up would be
# that much smaller, and a step of Adam, which is the same for small weights, as much larger for
# them: fine-tuning at 1e-4 then destroys the features. Times this they keep their size.
STREAM_SCALE = 5.0


def read_deit(img_size: int) -> dict[str, torch.Tensor]:
    """Read a state dict without LayerScale, which DeiT has not.

    Its factor per channel becomes one of the layer before it: ``g (W x + b) = (g W) x + g b``.
    All that writes to the residual stream is then scaled by ``STREAM_SCALE``, which every norm
    divides out again (their epsilon is scaled too, in the model).

    Raises:
        UnavailableError, ModelError: as :func:`dinov2_small.read`.
    """
    state = dinov2_small.read(img_size)
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        state[name] *= STREAM_SCALE
    for index in range(dinov2_small.BLOCKS):
        for scale, layer in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma = STREAM_SCALE * state.pop(f"blocks.{index}.{scale}.gamma")
            state[f"blocks.{index}.{layer}.weight"] *= gamma[:, None]
            state[f"blocks.{index}.{layer}.bias"] *= gamma
    return state


def read_beit(img_size: int) -> dict[str, torch.Tensor]:
    """Read a state dict with BEiT's names, biases for q and v alone, and relative positions.

    A bias on k adds the same to all scores of a query, which softmax does not see. The tables
    of relative position biases start at zero: the positions are in DINOv2's own embedding.

    Raises:
        UnavailableError, ModelError: as :func:`dinov2_small.read`.
    """
    import torch

    state = dinov2_small.read(img_size)
    grid = img_size // dinov2_small.PATCH_SIZE
    # Every offset in two directions, and three for the class token: to, from and with itself.
    distances = (2 * grid - 1) ** 2 + 3
    for index in range(dinov2_small.BLOCKS):
        block = f"blocks.{index}"
        q_bias, _, v_bias = state.pop(f"{block}.attn.qkv.bias").chunk(3)
        state[f"{block}.attn.q_bias"] = q_bias.clone()
        state[f"{block}.attn.v_bias"] = v_bias.clone()
        table = torch.zeros(distances, dinov2_small.HEADS)
        state[f"{block}.attn.relative_position_bias_table"] = table
        for part in ("1", "2"):
            state[f"{block}.gamma_{part}"] = state.pop(f"{block}.ls{part}.gamma")
    return state
