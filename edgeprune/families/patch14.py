"""A small DeiT and a small BEiT with patches of 14 pixels, which timm has no names for.

They are built of timm's classes, registered with timm, and shaped so that they can start from
the weights of DINOv2 ViT-S/14: its patches and widths, and the class token as the feature. Like
timm's DINOv2 they have no classifier unless they are given one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers.norm import LayerNorm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer

# The timm source module whose models each is like.
LIKE = {"deit_small_patch14": "deit", "beit_small_patch14": "beit"}

# Read by register_model. Mean and std are ImageNet's, resizing bicubic: timm's own defaults.
default_cfgs = generate_default_cfgs(
    {
        name: {
            "num_classes": 0,
            "input_size": (3, 518, 518),
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
        for name in LIKE
    }
)
SHAPE: dict[str, Any] = {"patch_size": 14, "embed_dim": 384, "depth": 12, "num_heads": 6}


@register_model
def deit_small_patch14(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """DeiT-S (Touvron et al., 2021), not distilled: a class token, no LayerScale.

    Its weights scale the residual stream by 5, so the epsilon of its norms, which is added to a
    variance, is 25 times DINOv2's.
    """
    shape = {**SHAPE, "norm_layer": partial(LayerNorm, eps=25e-6)}
    return build_model_with_cfg(
        VisionTransformer, "deit_small_patch14", pretrained, **{**shape, **kwargs}
    )


@register_model
def beit_small_patch14(pretrained: bool = False, **kwargs: Any) -> Beit:
    """BEiT (Bao et al., 2021) of small size, with an absolute position embedding besides.

    Unlike timm's other BEiTs it classifies the class token, as DINOv2 does, not the mean of the
    patches; so its last norm is ``norm``, before the pooling, and ``fc_norm`` is none. A new
    classifier is drawn as in timm's ViT; theirs begins at a thousandth, and learns later.
    """
    shape = {
        **SHAPE,
        "init_values": 0.1,
        "use_abs_pos_emb": True,
        "use_rel_pos_bias": True,
        "global_pool": "token",
        "head_init_scale": 1.0,
    }
    return build_model_with_cfg(Beit, "beit_small_patch14", pretrained, **{**shape, **kwargs})
