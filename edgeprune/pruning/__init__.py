"""Scoring, budgets and cutting."""

from edgeprune.pruning.calibration import Calibration, calibrate, reconstruction_samples
from edgeprune.pruning.metrics import metric_names
from edgeprune.pruning.plan_file import read_plan, save_plan, widths_of
from edgeprune.pruning.prune import Pruned, prune
from edgeprune.pruning.recovery import Recovery, recovery
from edgeprune.pruning.settings import PruneSettings

__all__ = [
    "Calibration",
    "PruneSettings",
    "Pruned",
    "Recovery",
    "calibrate",
    "metric_names",
    "prune",
    "read_plan",
    "reconstruction_samples",
    "recovery",
    "save_plan",
    "widths_of",
]
