"""Small ONNX files for the tests of the bench."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_mlp(
    path: Path,
    *,
    width: int = 64,
    depth: int = 2,
    size: int = 8,
    batch: int | str = "batch",
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a stack of matrix products on flattened images."""
    generator = np.random.default_rng(0)
    wide = 3 * size * size
    nodes = [helper.make_node("Flatten", ["images"], ["x0"], axis=1)]
    weights = []
    for index in range(depth):
        value = generator.standard_normal((wide, width)).astype(np.float32) / wide**0.5
        weights.append(numpy_helper.from_array(value, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
        wide = width
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info(f"x{depth}", TensorProto.FLOAT, [batch, width])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path
