"""Normalisation inside the graph, so that a file takes images as decoders give them."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from edgeprune.exporting.initializers import store
from edgeprune.images import Preprocess

LAYOUT = "NHWC"


def take_pixels(found: ir.Model, preprocess: Preprocess) -> None:
    """Change a model to take ``(batch, size, size, 3)``: RGB, 8 bits a channel, as decoded.

    The image must already have the model's size. Normalisation is done in fp32, whatever follows.
    """
    graph = found.graph
    images = graph.inputs[0]
    assert images.shape is not None
    batch, channels, height, width = images.shape
    pixels = ir.val(str(images.name), dtype=ir.DataType.UINT8)
    pixels.shape = ir.Shape([batch, height, width, channels])
    images.name = "images.normalised"
    wanted = images.dtype or ir.DataType.FLOAT

    def constant(name: str, values: tuple[float, ...]) -> ir.Value:
        return store(graph, name, np.array(values, np.float32) * np.float32(255))

    numbers = ir.node("Cast", [pixels], {"to": ir.DataType.FLOAT}, name="pixels_as_numbers")
    mean, std = constant("pixel_mean", preprocess.mean), constant("pixel_std", preprocess.std)
    centred = ir.node("Sub", [numbers.outputs[0], mean], name="pixels_centred")
    scaled = ir.node("Div", [centred.outputs[0], std], name="pixels_scaled")
    moved = ir.node("Transpose", [scaled.outputs[0]], {"perm": [0, 3, 1, 2]}, name="pixels_moved")
    nodes = [numbers, centred, scaled, moved]
    if wanted != ir.DataType.FLOAT:
        nodes.append(ir.node("Cast", [moved.outputs[0]], {"to": wanted}, name="pixels_cast"))
    last = nodes[-1].outputs[0]
    last.dtype, last.shape = wanted, images.shape
    ir.convenience.replace_all_uses_with(images, last)
    graph.inputs[0] = pixels
    graph.insert_before(graph[0], nodes)
