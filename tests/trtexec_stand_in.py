#!/usr/bin/env python3
"""A stand-in for trtexec: answers --help and builds as version 8.5, 8.6, 10.3 or 11.1 prints it.

It takes its version from its file name, such as ``trtexec-10.3``; a graph whose file name has
``det`` in it is refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COMMON = (
    "--onnx --saveEngine --minShapes --optShapes --maxShapes --memPoolSize --timingCacheFile"
    " --profilingVerbosity --exportLayerInfo --noTF32 --skipInference"
)
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


sys.exit(main())
