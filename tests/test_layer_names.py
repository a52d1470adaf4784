from __future__ import annotations

from edgeprune.layer_names import by_kind, layer_names


def test_parts_of_blocks_what_is_beside_them_and_what_is_outside() -> None:
    paths = [
        "patch_embed.proj",
        "",
        "blocks.0.norm1",
        None,
        "blocks.0.attn",
        "blocks.0.attn.proj",
        "blocks.0",
        "blocks.1.mlp.fc1",
        "norm",
        "",
        "head",
    ]
    assert layer_names(paths) == [
        "embedding",
        "embedding",
        "blocks.0",
        None,
        "blocks.0.attn",
        "blocks.0.attn",
        "blocks.0",
        "blocks.1.mlp",
        "head",
        "head",
        "head",
    ]


def test_stages_names_with_numbers_and_no_blocks_at_all() -> None:
    paths = ["layers.0.blocks.1.attn.qkv", "layers.0.downsample.norm", "", "layers.1.blocks.0"]
    assert layer_names(paths) == [
        "layers.0.blocks.1.attn",
        "layers.0.downsample",
        None,
        "layers.1.blocks.0",
    ]
    vision = "encoder.layers.encoder_layer_3"
    assert layer_names([f"{vision}.self_attention.out_proj", f"{vision}.mlp.0"]) == [
        f"{vision}.self_attention",
        f"{vision}.mlp.0",
    ]
    assert layer_names(["stem.conv", "", None, "fc"]) == ["stem", None, None, "fc"]
    assert layer_names([]) == []


def test_the_same_layer_of_all_blocks() -> None:
    times = [("embedding", 1.0), ("blocks.0.attn", 2.0), ("blocks.0", 0.5), ("blocks.11.attn", 3.0)]
    assert by_kind(times) == {"embedding": 1.0, "blocks.*.attn": 5.0, "blocks.*": 0.5}
