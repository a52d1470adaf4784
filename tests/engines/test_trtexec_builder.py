"""trtexec as a builder, with a script that answers as it does in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_stand_ins import install_trtexec

from edgeprune.engines.builders import trtexec
from edgeprune.engines.builders.base import Request
from edgeprune.engines.choose import choose
from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import EngineError, UnavailableError, UsageError


def _request(folder: Path, name: str = "model.onnx", **changes: Any) -> Request:
    fields = {
        # nothing here goes through a shell
        "onnx": str(folder / f"$(touch pwned) {name}"),
        "engine": str(folder / "model.engine"),
        "input": "images",
        "shape": (None, 3, 8, 8),
        "batches": (1, 2, 8),
        "precision": "fp16",
    }
    return Request(**fields | changes)


@pytest.mark.parametrize(
    ("version", "full", "precision", "options", "typed"),
    [
        ("8.6", "8.6.2", "fp32", ["--noTF32"], False),
        ("8.6", "8.6.2", "fp16", ["--fp16"], False),
        ("8.6", "8.6.2", "int8", ["--int8"], False),
        ("10.3", "10.3.0", "fp16", ["--stronglyTyped"], True),
        ("10.3", "10.3.0", "fp32", ["--stronglyTyped", "--noTF32"], True),
        ("11.1", "11.1.0", "int8", [], True),
    ],
)
def test_only_options_that_the_version_knows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    full: str,
    precision: str,
    options: list[str],
    typed: bool,
) -> None:
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", version)))
    found = trtexec.find()
    assert found.version == full
    request = _request(tmp_path, precision=precision, workspace_mb=512.0, timing_cache="t.cache")
    built = trtexec.build(found, request)
    said = json.loads(Path(request.engine).read_text())
    assert said[:-2] == [
        f"--onnx={request.onnx}",
        f"--saveEngine={request.engine}",
        "--skipInference",
        *options,
        "--minShapes=images:1x3x8x8",
        "--optShapes=images:2x3x8x8",
        "--maxShapes=images:8x3x8x8",
        "--memPoolSize=workspace:488.28",
        "--timingCacheFile=t.cache",
    ]
    assert built.version == full
    assert built.sm == "8.7"
    assert built.layers == ["fc1", "fc2"]
    assert built.strongly_typed is typed
    assert bool(built.warnings) == (not typed and precision != "fp32")
    assert not Path("pwned").exists()


def test_what_is_refused_reads_as_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", "10.3")))
    found = trtexec.find()
    with pytest.raises(EngineError) as caught:
        trtexec.build(found, _request(tmp_path, "det.onnx"))
    assert str(caught.value) == (
        "TensorRT 10.3.0 refuses operator 'Det' (node 'head/Det_38') of '$(touch pwned) det.onnx':"
        " onnx2trt.cpp:1 In function parseNode: [8] No importer registered for op: Det"
    )
    with pytest.raises(
        EngineError, match=r"trtexec 10\.3\.0 builds no engine of .*: Saving engine"
    ):
        trtexec.build(found, _request(tmp_path, "disk.onnx"))


def test_it_is_found_by_variable_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRTEXEC", raising=False)
    monkeypatch.setattr(trtexec, "PLACES", ())
    assert "there is no trtexec on the PATH" in trtexec.find().missing
    program = install_trtexec(tmp_path / "bin", "8.6")
    link = program.with_name("trtexec")
    link.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
    link.chmod(0o755)
    monkeypatch.setenv("PATH", str(link.parent), prepend=":")
    assert trtexec.find().program == str(link)
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "gone"))
    assert trtexec.find().missing.endswith("gone' is no program")
    monkeypatch.setenv("TRTEXEC", "/bin/true")
    assert trtexec.find().missing == "'/bin/true' does not answer as trtexec does"
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", "8.5")))
    assert trtexec.find().missing.startswith("TensorRT 8.5.2 is too old for transformers")
    monkeypatch.setattr(trtexec, "PLACES", (str(program),))
    monkeypatch.delenv("TRTEXEC")
    link.unlink()
    assert trtexec.find().program == str(program)


def test_a_builder_is_asked_for_or_the_first_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none"
    monkeypatch.setenv("TRTEXEC", str(missing))
    with pytest.raises(
        UnavailableError, match="'trtexec' is not available here: TRTEXEC="
    ) as error:
        choose(EngineSettings(builder="trtexec"))
    assert "set TRTEXEC" in str(error.value.hint)
    assert error.value.exit_code == 3
    monkeypatch.setattr("edgeprune.engines.child.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(
        "edgeprune.engines.builders.tensorrt_rtx.platform.machine", lambda: "x86_64"
    )
    with pytest.raises(UnavailableError) as error:
        choose(EngineSettings())
    for part in ("tensorrt: the Python module 'tensorrt' is", "trtexec: TRTEXEC", "tensorrt-rtx: "):
        assert part in str(error.value)
    assert error.value.hint == "pip install 'edgeprune[tensorrt]'"
    # where that cannot be installed, as on a Jetson, the hint is about what can
    monkeypatch.setattr("edgeprune.engines.builders.tensorrt_rtx.platform.machine", lambda: "arm64")
    with pytest.raises(UnavailableError) as error:
        choose(EngineSettings())
    assert "TRTEXEC" in str(error.value.hint)
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", "10.3")))
    found = choose(EngineSettings())
    assert found.builder.NAME == "trtexec"
    assert found.why.startswith("the first that works here; tensorrt: the Python module")


def test_a_gpu_that_is_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", "10.3")))
    monkeypatch.setattr("edgeprune.engines.architecture.local", lambda: "8.7")
    assert choose(EngineSettings(builder="trtexec")).sm == "8.7"
    assert choose(EngineSettings(builder="trtexec", sm="87")).sm == "8.7"
    with pytest.raises(UsageError, match="of architecture 87; --sm 86 was asked for"):
        choose(EngineSettings(builder="trtexec", sm="86"))
    monkeypatch.setattr("edgeprune.engines.architecture.local", lambda: None)
    assert choose(EngineSettings(builder="trtexec")).sm is None
    with pytest.raises(UsageError, match="--sm 87 cannot be promised"):
        choose(EngineSettings(builder="trtexec", sm="87"))
