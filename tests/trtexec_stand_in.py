#!/usr/bin/env python3
"""A stand-in for trtexec: answers --help, builds and measures as version 8.5 to 11.1 prints it.

It takes its version from its file name, such as ``trtexec-10.3``; a graph whose file name has
``det`` in it is refused. An engine holds what becomes of it: ``ms`` per image (else 1.5), and
``does``: ``fails``, ``dies``, ``hangs``, ``babbles`` (no log that can be read), ``lies`` (no times
that can be true), ``forgets`` (no times) or ``takes its time`` (as long as it says). Files that
it ``writes`` are there while it runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMON = (
    "--onnx --saveEngine --minShapes --optShapes --maxShapes --memPoolSize --timingCacheFile"
    " --profilingVerbosity --exportLayerInfo --noTF32 --skipInference"
)
MEASURING = (
    "--loadEngine --shapes --iterations --noDataTransfers --useSpinWait --exportTimes --duration"
    " --warmUp"
)
COMMON += f" {MEASURING}"
OPTIONS = {
    "8.5": f"{COMMON} --fp16 --int8 --best --buildOnly",
    "8.6": f"{COMMON} --fp16 --int8 --best",
    "10.3": f"{COMMON} --fp16 --int8 --best --stronglyTyped",
    "11.1": COMMON,
}
BANNERS = {"8.5": "8502", "8.6": "8602", "10.3": "100300", "11.1": "110100"}
REFUSED = """\
[11/25/2026-02:00:00] [E] [TRT] ModelImporter.cpp:771: While parsing node number 38 [Det -> "y"]:
[11/25/2026-02:00:00] [E] [TRT] ModelImporter.cpp:772: --- Begin node ---
[11/25/2026-02:00:00] [E] [TRT] ModelImporter.cpp:773: input: "x"
output: "y"
name: "head/Det_38"
op_type: "Det"

[11/25/2026-02:00:00] [E] [TRT] ModelImporter.cpp:774: --- End node ---
[11/25/2026-02:00:00] [E] [TRT] ModelImporter.cpp:777: ERROR: onnx2trt.cpp:1 In function parseNode:
[8] No importer registered for op: Det
[11/25/2026-02:00:00] [E] Failed to parse onnx file
"""


def main() -> int:
    name = Path(sys.argv[0]).name.rpartition("-")[2]
    known = OPTIONS[name].split()
    banner = f"TensorRT.trtexec [TensorRT v{BANNERS[name]}] # {' '.join(sys.argv)}"
    print(f"&&&& RUNNING {banner}")
    if "--help" in sys.argv:
        print("=== Model Options ===")
        print("\n".join(f"  {option}=value   Explained" for option in known))
        return 0
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    unknown = [word for word in given if word not in known]
    if unknown:
        print(f"[11/25/2026-02:00:00] [E] Unknown option: {unknown[0]}")
        print(f"&&&& FAILED {banner}")
        return 1
    print("[11/25/2026-02:00:00] [I] Compute Capability: 8.7")
    if "--loadEngine" in given:
        return measure(given, banner, name)
    if "det" in Path(given["--onnx"]).name:
        print(REFUSED + f"&&&& FAILED {banner}")
        return 1
    if "disk" in Path(given["--onnx"]).name:
        print("[11/25/2026-02:00:00] [E] Saving engine to file failed.")
        print(f"&&&& FAILED {banner}")
        return 1
    Path(given["--saveEngine"]).write_text(json.dumps(sys.argv[1:]))
    Path(given["--exportLayerInfo"]).write_text(json.dumps({"Layers": ["fc1", "fc2"]}))
    print(f"&&&& PASSED {banner}")
    return 0


SUMMARY = """\
[I] Throughput: 600 qps
[I] GPU Compute Time: min = {ms} ms, max = {ms} ms, mean = {ms} ms, median = {ms} ms
[W] * Throughput may be bound by Enqueue Time rather than GPU Compute
"""


def measure(given: dict[str, str], banner: str, version: str) -> int:
    """Run an engine."""
    engine = json.loads(Path(given["--loadEngine"]).read_text())
    does, batch = engine.get("does"), int(given.get("--shapes", ":1").split(":")[1].split("x")[0])
    warm_ms, ms = float(given["--warmUp"]), engine.get("ms", 1.5) * batch
    if does == "fails":
        print(f"[11/25/2026-02:00:01] [E] Error[1]: no kernel image\n&&&& FAILED {banner}")
        return 1
    print("[11/25/2026-02:00:00] [I] Starting inference", flush=True)
    if does == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "hangs":
        Path(engine["pids"]).write_text(f"{os.getpid()} {subprocess.Popen(['sleep', '600']).pid}")
        time.sleep(600)
    before = {path: Path(path).read_text() for path in engine.get("writes", {})}
    for path, text in engine.get("writes", {}).items():
        Path(path).write_text(text)
        time.sleep(0.2)
    if does == "takes its time":
        time.sleep(warm_ms / 1000 + float(given["--duration"]))
    warmups = [10.0 * index for index in range(int(warm_ms // 10))]
    starts = [*(warmups if version.startswith("8.") else []), *(warm_ms + i for i in range(40))]
    times = [{"startComputeMs": at, "computeMs": 9.0 if at < warm_ms else ms} for at in starts]
    if does == "lies":
        times[-1]["computeMs"] = -1.0
    for path, text in before.items():
        Path(path).write_text(text)
    if does != "forgets":
        Path(given["--exportTimes"]).write_text(json.dumps(times))
    if does == "babbles":
        print("\x00\x01 all is well")
        return 0
    print(f"[11/25/2026-02:00:04] [I] Warmup completed {len(warmups)} queries over {warm_ms:g} ms")
    print(SUMMARY.format(ms=ms) + f"&&&& PASSED {banner}")
    return 0


sys.exit(main())
