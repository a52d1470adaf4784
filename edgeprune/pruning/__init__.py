"""Scoring, budgets and cutting."""

from edgeprune.pruning.calibration import Calibration, calibrate
from edgeprune.pruning.metrics import metric_names
from edgeprune.pruning.prune import Pruned, PruneSettings, prune

__all__ = ["Calibration", "PruneSettings", "Pruned", "calibrate", "metric_names", "prune"]
