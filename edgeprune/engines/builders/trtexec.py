"""trtexec, TensorRT's own program: builds for the GPU at hand; JetPack and NVIDIA's images have it.

It is run with a list of arguments, never through a shell. Which options it knows is read from its
``--help``: they have changed between 8.6, 10 and 11.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgeprune.engines import api
from edgeprune.engines.architecture import is_jetson, only_this_gpu
from edgeprune.engines.build import TOO_LOOSE, refused
from edgeprune.engines.builders.base import Built, Found, Request
from edgeprune.errors import EngineError, ResultError, UnavailableError
from edgeprune.schema import Flavour

NAME = "trtexec"
FLAVOUR: Flavour = "tensorrt"
ORDER = 2

VARIABLE = "TRTEXEC"
# Where JetPack and the Debian packages, and where NVIDIA's container images put it.
PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
HELP_TIMEOUT_S = 60

PARSING = re.compile(r"While parsing node number (\d+) \[(\w+) -> ")
NODE_NAME = re.compile(r'name: "([^"]*)"')


def find() -> Found:
    """Look for the program and read its help."""
    fix = "set TRTEXEC to its path; JetPack and NVIDIA's TensorRT images have it"
    if is_jetson():
        fix = "sudo apt-get install libnvinfer-bin, or set TRTEXEC to its path"
    named = os.environ.get(VARIABLE)
    program = shutil.which(named or "trtexec")
    if program is None and not named:
        program = next((place for place in PLACES if os.access(place, os.X_OK)), None)
    if program is None:
        where = f"{VARIABLE}={named!r} is no program" if named else _nowhere()
        return Found(None, missing=where, fix=fix)
    try:
        shown = _run([program, "--help"], HELP_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Found(None, missing=f"{program!r} does not answer: {error}", fix=fix)
    options = frozenset(re.findall(r"--\w+", shown.stdout))
    if shown.returncode != 0 or "--saveEngine" not in options:
        return Found(None, missing=f"{program!r} does not answer as trtexec does", fix=fix)
    version = _version(shown.stdout)
    if version is not None and api.is_too_old(version):
        return Found(None, missing=api.TOO_OLD.format(version=version), fix=fix)
    return Found(version=version or "unknown", program=program, options=options)


def target(found: Found, sm: str | None, here: str | None) -> str | None:
    """Return this machine's architecture. Raises UsageError if another was asked for."""
    return only_this_gpu(NAME, sm, here)


def build(found: Found, request: Request) -> Built:
    """Run trtexec.

    Raises:
        EngineError: if it refuses the graph, or writes no engine.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-trtexec-") as scratch:
        layers = Path(scratch) / "layers.json"
        ran = _run(command(found, request, layers), None)
        engine = Path(request.engine)
        if ran.returncode != 0 or not engine.is_file() or engine.stat().st_size == 0:
            raise _failure(ran, request, found)
        inspected = api.layers_of(layers.read_text()) if layers.is_file() else None
    log = _facts(ran.stdout)
    version = log[0] or str(found.version)
    strongly_typed = _is_strongly_typed(found)
    loose = not strongly_typed and request.precision != "fp32"
    return Built(
        version=version,
        strongly_typed=strongly_typed,
        layers=inspected,
        sm=log[1],
        warnings=[TOO_LOOSE.format(version=version)] if loose else [],
    )


def command(found: Found, request: Request, layers: Path) -> list[str]:
    """Return the command that builds; ``layers`` is where it describes them."""
    assert found.program is not None
    words = [found.program, f"--onnx={request.onnx}", f"--saveEngine={request.engine}"]
    # 8.6 has both names, older ones the second only.
    words.append("--skipInference" if "--skipInference" in found.options else "--buildOnly")
    if "--stronglyTyped" in found.options:
        words.append("--stronglyTyped")
    else:  # 11 knows no such options: what is in the graph counts
        words += [
            option
            for option in (f"--{flag.lower()}" for flag in api.FLAGS[request.precision])
            if option in found.options
        ]
    if request.precision == "fp32" and "--noTF32" in found.options:
        words.append("--noTF32")
    if request.shape[0] is None:
        for kind, shape in zip(("min", "opt", "max"), request.shapes(), strict=True):
            words.append(f"--{kind}Shapes={request.input}:{'x'.join(map(str, shape))}")
    if request.workspace_mb is not None:
        words.append(f"--memPoolSize=workspace:{request.workspace_mb * 1e6 / 2**20:.2f}")  # MiB
    if request.timing_cache is not None:
        words.append(f"--timingCacheFile={request.timing_cache}")
    return [*words, "--profilingVerbosity=detailed", f"--exportLayerInfo={layers}"]


def _is_strongly_typed(found: Found) -> bool:
    return "--stronglyTyped" in found.options or not {"--fp16", "--int8"} & found.options


def _run(words: list[str], timeout: float | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
    )


def _nowhere() -> str:
    return f"there is no trtexec on the PATH, nor {' nor '.join(PLACES)}"


def _version(text: str) -> str | None:
    from edgeprune.benchmarking.trtexec import version

    found = re.search(r"\[TensorRT v(\d+)\]", text)
    return version(found[1]) if found else None


def _facts(text: str) -> tuple[str | None, str | None]:
    """Return the version and architecture that a log names."""
    from edgeprune.benchmarking.trtexec import parse

    try:
        run = parse(text, timed=False)
    except ResultError:
        return None, None
    return run.version, run.sm


def _failure(
    ran: subprocess.CompletedProcess[str], request: Request, found: Found
) -> EngineError | UnavailableError:
    text, name = ran.stdout, Path(request.onnx).name
    version = _version(text) or str(found.version)
    node = PARSING.search(text)
    if node is not None:
        after = text[node.end() :]
        named = NODE_NAME.search(after)
        return refused(name, version, [(node[2], named[1] if named else node[1], _reason(after))])
    if ran.returncode < 0:
        return UnavailableError(
            f"trtexec died with signal {-ran.returncode} while it built {name!r}",
            hint="the machine may be out of memory" if ran.returncode == -9 else None,
        )
    lines = re.findall(r"\[E\] (.+)", text) or text.strip().splitlines()[-1:] or ["it says nothing"]
    return EngineError(
        f"trtexec {version} builds no engine of {name!r} (exit code {ran.returncode}):"
        f" {lines[0].strip()[:300]}"
    )


def _reason(text: str) -> str:
    """Return what follows ``ERROR:``, up to two lines, without the dates before them."""
    _, found, rest = text.partition("ERROR: ")
    lines = (rest if found else text).splitlines()[:2]
    return " ".join(re.sub(r"^\[[^\]]*\] \[\w\] (\[\w+\] )?", "", line).strip() for line in lines)
