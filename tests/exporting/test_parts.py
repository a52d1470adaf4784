from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxscript import ir

from edgeprune.exporting import parts
from edgeprune.exporting.onnx import metadata, trace
from edgeprune.model import DenseOptions, create


@pytest.mark.parametrize("batch", [None, 2])
def test_what_is_written_in_parts_is_the_whole(tmp_path: Path, batch: int | None) -> None:
    options = DenseOptions(num_classes=3, img_size=32, pretrained=False)
    model = create("vit_tiny_patch16_224", options)
    found = trace(model, batch=batch)
    found.metadata_props.update(metadata(model))
    whole = ir.to_proto(found)
    parts.write_in_parts(found, tmp_path / "net.onnx")
    read = onnx.load(str(tmp_path / "net.onnx"))
    onnx.checker.check_model(read, full_check=True)
    assert len(whole.graph.initializer) > 50
    assert list(read.graph.initializer) == list(whole.graph.initializer)
    # a weight brings its type along and needs no second line for it
    weights = {tensor.name for tensor in whole.graph.initializer}
    others = [info for info in whole.graph.value_info if info.name not in weights]
    del whole.graph.value_info[:]
    whole.graph.value_info.extend(others)
    for proto in (read, whole):
        del proto.graph.initializer[:]
    assert read == whole
    assert ir.to_proto(found).graph.initializer[0].name in weights  # the model itself is as before


@given(st.integers(0, 2**31))
def test_lengths_are_written_as_protobuf_reads_them(number: int) -> None:
    """The version of the intermediate representation is field 1, a varint."""
    written = bytes([1 << 3]) + parts._varint(number)
    assert onnx.ModelProto.FromString(written).ir_version == number
