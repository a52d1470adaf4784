from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_files import write_mlp

from edgeprune.benchmarking.operators import (
    ATTENTION,
    KINDS,
    LINEAR,
    OTHER,
    OUTSIDE,
    Breakdown,
    break_down,
    losses_ms,
    read_profile,
)


def _run(ts: int, dur: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def _node(op: str, ts: int, dur: int, *shapes: list[int]) -> dict[str, Any]:
    arguments = {"op_name": op, "input_type_shape": [{"float": list(s)} for s in shapes]}
    return {"cat": "Node", "name": f"{op}_kernel_time", "ts": ts, "dur": dur, "args": arguments}


def test_a_small_file_is_run_and_its_time_divided(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "mlp.onnx", width=512, depth=3, size=16)
    found = break_down(path, threads=1, seconds=0.2)
    assert list(found.operators_ms) == list(KINDS)
    assert found.operators_ms[LINEAR] > 0.5 * sum(found.operators_ms.values())
    assert found.operators_ms["softmax"] == 0
    # Flatten is of no kind
    assert 0 < found.operators_ms[OTHER] < found.operators_ms[LINEAR]
    assert found.call_ms < found.profiled_ms
    total = sum(found.ms(kind) for kind in (*KINDS, OUTSIDE))
    assert total == pytest.approx(found.call_ms)


def test_the_slower_half_and_the_first_calls_do_not_count() -> None:
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 9, "args": {}},
        _node("Gemm", 110, 1, [4, 8], [8]),
        _run(100, 5),  # the fastest, but the first
    ]
    for start, gemm, whole in ((200, 99, 120), (400, 9, 30), (500, 199, 300), (900, 19, 40)):
        events += [
            _run(start, whole),
            _node("Gemm", start + 1, gemm, [4, 8], [8]),
            _node("MatMul", start + 2, 3, [1, 2, 4, 4], [1, 2, 4, 8]),
            _node("MatMul", start + 3, 1, [1, 4, 8], [8, 8]),
        ]
    operators_ms, call_ms = read_profile(events, skip=1)
    assert call_ms == pytest.approx(0.035)
    # of the calls of 30 and 40 microseconds: the mean of 9.5 + 1.5 and 19.5 + 1.5
    assert operators_ms[LINEAR] == pytest.approx(0.016)
    assert operators_ms[ATTENTION] == pytest.approx(0.0035)
    with pytest.raises(ValueError, match="5 calls"):
        read_profile(events, skip=5)


def test_losses_add_up_to_the_difference() -> None:
    none = dict.fromkeys(KINDS, 0.0)
    dense = Breakdown({**none, LINEAR: 80.0, "softmax": 10.0}, call_ms=100.0, profiled_ms=110.0)
    pruned = Breakdown({**none, LINEAR: 20.0, "softmax": 6.0}, call_ms=30.0, profiled_ms=33.0)
    found = losses_ms(dense, pruned, macs_ratio=4.0)
    assert found[LINEAR] == 0
    assert found["softmax"] == 3.5
    assert found[OUTSIDE] == pytest.approx(1.5)
    assert sum(found.values()) == pytest.approx(30.0 - 100.0 / 4)
    assert losses_ms(dense.scaled(200.0), pruned.scaled(60.0), 4.0)["softmax"] == 7.0
