"""What is changed in a traced program before it is written as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim, ExportedProgram

from edgeprune.exporting.narrowing import leave_out_unread
from edgeprune.exporting.rows import flatten_rows

BATCH, TOKENS, WIDTH = 3, 5, 8
aten: Any = torch.ops.aten


class Network(nn.Module):
    """One attention and one MLP, and what ``read`` takes of the tokens."""

    def __init__(self, read: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.read = read
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)
        self.scale = nn.Parameter(torch.rand(WIDTH))
        self.place = nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.bias = nn.Parameter(torch.randn(1, 2, TOKENS, TOKENS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (x.shape[0], TOKENS, 2, WIDTH // 2)
        x = x + x.mean(1, keepdim=True)
        q, k, v = (f(self.norm(x)).view(shape).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        x = x + self.scale * mixed.transpose(1, 2).reshape(x.shape[0], TOKENS, WIDTH)
        x = x + self.down(F.gelu(self.up(self.norm(x)))) + self.place
        return self.read(self.norm(x))


def _traced(read: Callable[[torch.Tensor], torch.Tensor]) -> tuple[nn.Module, ExportedProgram]:
    torch.manual_seed(0)
    network = Network(read).eval()
    x = torch.randn(2, TOKENS, WIDTH)
    shapes = {"x": {0: Dim("batch", min=1)}}
    return network, torch.export.export(network, (x,), dynamic_shapes=shapes, strict=False)


def _check_results(network: nn.Module, program: ExportedProgram) -> None:
    module = program.module()
    for count in (1, BATCH):
        x = torch.randn(count, TOKENS, WIDTH)
        with torch.no_grad():
            assert torch.allclose(module(x), network(x), atol=1e-6)


def _tokens(program: ExportedProgram) -> list[int]:
    """Return for how many tokens each linear layer is computed: q, k, v, and both of the MLP."""
    linear = [n for n in program.graph.nodes if n.target is aten.linear.default]
    return [node.meta["val"].shape[1] for node in linear]


READS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], int]] = {
    "first": (lambda x: x[:, 0], 1),
    "second": (lambda x: x[:, 1], 2),
    "both": (lambda x: x[:, 0] + x[:, 1], 2),
    "last": (lambda x: x[:, TOKENS - 1], TOKENS),
    "from the end": (lambda x: x[:, -1], TOKENS),
    "mean": (lambda x: x.mean(1), TOKENS),
    "first and mean": (lambda x: x[:, 0] + x.mean(1), TOKENS),
    "a channel": (lambda x: x[:, :, 0], TOKENS),
    "a channel and the first": (lambda x: x[:, :, 0].sum(1, keepdim=True) + x[:, 0], TOKENS),
}


@pytest.mark.parametrize(("read", "count"), READS.values(), ids=READS)
def test_only_tokens_that_are_read_are_computed(
    read: Callable[[torch.Tensor], torch.Tensor], count: int
) -> None:
    network, program = _traced(read)
    leave_out_unread(program)
    assert _tokens(program) == [count, TOKENS, TOKENS, count, count]
    _check_results(network, program)


@pytest.mark.parametrize("narrowed", [False, True])
def test_linear_layers_work_on_rows(narrowed: bool) -> None:
    network, program = _traced(lambda x: x[:, 0])
    if narrowed:
        leave_out_unread(program)
    flatten_rows(program)
    ranks = {
        node.meta["val"].dim()
        for node in program.graph.nodes
        if node.target in (aten.linear.default, aten.gelu.default)
    }
    assert ranks == {2}
    _check_results(network, program)


def test_attention_of_a_tensor_to_itself_is_computed_whole() -> None:
    class Itself(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x)[:, :, 0]

    x = torch.randn(2, 1, TOKENS, WIDTH)
    program = torch.export.export(Itself(), (x,), strict=False)
    leave_out_unread(program)
    assert torch.allclose(program.module()(x), Itself()(x), atol=1e-6)
