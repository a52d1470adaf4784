"""The process that builds: what it says when a library is missing, broken, or takes it down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprune.engines import child
from edgeprune.errors import UnavailableError


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os.abort()", r"the process that used trt_here died \(killed by SIGABRT\)"),
        ("import sys; sys.exit(3)", r"died \(exit code 3\)"),
        ("raise ImportError('libnvinfer.so:\\n no such file')", "does not load: libnvinfer.so: no"),
        ("__version__ = '8.5.2'", "too old"),
    ],
)
def test_a_library_that_fails(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trt_here.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UnavailableError, match=message):
        child.probe("trt_here")


def test_a_library_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trt_here.py").write_text("import time; time.sleep(600)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(child, "PROBE_TIMEOUT_S", 2)
    with pytest.raises(UnavailableError, match="trt_here did not answer within 2 s"):
        child.probe("trt_here")


def test_a_library_that_is_not_there() -> None:
    with pytest.raises(UnavailableError, match="'trt_nowhere' is not installed"):
        child.probe("trt_nowhere")
