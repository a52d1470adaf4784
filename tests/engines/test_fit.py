"""Which engines a machine refuses, and the architectures that people name."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_stand_ins import record

from edgeprune.engines.architecture import jetsons, parse
from edgeprune.engines.files import Here, misfit, read_record, record_path
from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import EngineError, UsageError
from edgeprune.files import sha256

ORIN = Here({"tensorrt": "10.3.0.30"}, "8.7")


@pytest.mark.parametrize(
    ("built", "here", "why"),
    [
        ({}, ORIN, None),
        ({"tensorrt": "10.3.0.30"}, ORIN, None),
        # trtexec names three parts of a version
        ({"builder": "trtexec"}, ORIN, None),
        ({"sm": None}, ORIN, None),
        ({}, Here({"tensorrt": ""}, None), None),
        ({"tensorrt": "10.3.1"}, ORIN, "it is for TensorRT 10.3.1; this machine has TensorRT 10.3"),
        ({"tensorrt": "8.6.2"}, ORIN, "it is for TensorRT 8.6.2; this machine has TensorRT 10.3.0"),
        ({"sm": "7.2"}, ORIN, "it is for GPUs of architecture 72; this machine's is 87"),
        (
            {"flavour": "tensorrt_rtx", "tensorrt": "1.7.1.116"},
            ORIN,
            "it is for TensorRT-RTX 1.7.1.116; this machine has TensorRT 10.3.0.30",
        ),
        (
            {},
            Here({"tensorrt_rtx": "1.7.1.116"}, "8.7"),
            "it is for TensorRT 10.3.0; this machine has TensorRT-RTX 1.7.1.116",
        ),
        ({}, Here({}, None), "it is for TensorRT 10.3.0; this machine has no TensorRT"),
    ],
)
def test_engines_fit_their_own_version_flavour_and_gpu(
    built: dict[str, str], here: Here, why: str | None
) -> None:
    found = misfit(record(**built).built, here)
    if why is None:
        assert found is None
    else:
        assert str(found).startswith(why)


def test_a_record_belongs_to_one_file(tmp_path: Path) -> None:
    engine = tmp_path / "model.fp16.engine"
    with pytest.raises(EngineError, match="does not exist"):
        read_record(engine)
    engine.write_bytes(b"engine")
    with pytest.raises(EngineError, match=r"'model\.fp16\.engine\.json' is not beside"):
        read_record(engine)
    known = record().model_copy(update={"sha256": sha256(engine)})
    record_path(engine).write_text(known.to_json())
    assert read_record(engine) == known
    engine.write_bytes(b"another")
    with pytest.raises(EngineError, match="is not the engine that"):
        read_record(engine)
    record_path(engine).write_text('{"schema": "edgeprune/engine@2"}')
    with pytest.raises(EngineError, match="this version reads 'edgeprune/engine@1'"):
        read_record(engine)


@pytest.mark.parametrize("text", ["87", "8.7", "sm87", "SM_87"])
def test_architectures_are_compute_capabilities(text: str) -> None:
    assert parse(text) == "8.7"
    assert parse("120") == "12.0"
    assert any("Orin Nano" in title for title in jetsons(parse(text)))
    assert jetsons("8.6") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sm": "ampere"}, "architecture 'ampere' is not accepted"),
        ({"builder": "tensorrt-rx"}, "unknown builder 'tensorrt-rx'; accepted: tensorrt, trtexec"),
        ({"workspace_mb": 0.0}, "workspace 0 is not accepted; megabytes above 0"),
        ({"workspace_mb": float("nan")}, "workspace nan is not accepted"),
        ({"max_batch": 0}, "max-batch 0 is not accepted; 1 and more"),
        ({"opt_batch": 9}, r"opt-batch 9 is not accepted; 1 to max-batch \(8\) are"),
    ],
)
def test_settings_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EngineSettings(**options)  # type: ignore[arg-type]


def test_a_fixed_batch_is_the_whole_profile() -> None:
    assert EngineSettings().profile(3).model_dump() == {"min": 3, "opt": 3, "max": 3}
    assert EngineSettings(max_batch=16, opt_batch=4).profile(None).model_dump() == {
        "min": 1,
        "opt": 4,
        "max": 16,
    }
    with pytest.raises(UsageError, match="--batch 3 fixes the batch size"):
        EngineSettings(max_batch=16).profile(3)
