"""Selection metrics, one small file per idea; see :mod:`edgeprune.pruning.metrics.base`."""

from edgeprune.pruning.metrics.base import (
    Metric,
    Scores,
    Scoring,
    check_domains,
    get_metric,
    metric,
    metric_names,
    metrics_with,
    require_data,
)

__all__ = [
    "Metric",
    "Scores",
    "Scoring",
    "check_domains",
    "get_metric",
    "metric",
    "metric_names",
    "metrics_with",
    "require_data",
]
