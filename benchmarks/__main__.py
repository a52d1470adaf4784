"""Run benchmarks and write ``benchmarks/results/NAME.json`` and ``.md``."""

from __future__ import annotations

import importlib
import sys

from benchmarks.record import markdown, write

NAMES = (
    "help_time",
    "training_step",
    "scoring_cost",
    "scoring_memory",
    "hessian_speed",
    "harness_agreement",
    "harness_overhead",
    "vit_base_speed",
    "speedup_breakdown",
    "round_to",
    "family_costs",
    "int8_speed",
    "export_cost",
    "reconstruction",
    "gate_detector",
    "gate_live",
    "sweep_overhead",
    "estimate_jetson",
    "estimate_cpu",
)

for name in sys.argv[1:] or NAMES:
    if name not in NAMES:
        sys.exit(f"error: unknown benchmark {name!r}; accepted: {', '.join(NAMES)}")
    result = importlib.import_module(f"benchmarks.{name}").run()
    write(result, name)
    print(markdown(result))
