"""What a person may choose about pruning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeprune.environment import available_cores
from edgeprune.errors import UsageError, one_of
from edgeprune.families.base import DIMS
from edgeprune.pruning.freed import COSTS
from edgeprune.pruning.metrics import get_metric, metrics_with
from edgeprune.pruning.plan import BUDGETS, SCOPES
from edgeprune.pruning.units import BLOCKS

PRUNABLE = (*DIMS, BLOCKS)


@dataclass(frozen=True)
class PruneSettings:
    """What to remove; raises UsageError for a value outside its range.

    Attributes:
        ratio: share to remove, above 0 and below 1, of what ``budget`` names.
        budget: ``channels``, ``params``, ``macs`` or ``latency``.
        metric: name of the selection metric.
        dg_lambda: weight of the standard deviation over domains in ``dg_mean_std``, 0 or more;
            None means 1 there, and is all that other metrics take.
        scope: ``global``, ``isomorphic`` or ``local``.
        cost: what a unit's score is weighed by in a global ranking: ``macs``, ``params`` or
            ``none``; None means the budget's own quantity, and MACs where it has none.
        dims: dimensions to prune: ``embed``, ``heads``, ``head_dim``, ``mlp``, ``blocks``.
        round_to: widths become multiples of it (head dims per head).
        max_ratio: largest share removed from one dimension of one layer.
        steps: rounds, each of which scores anew.
        recover_steps: training steps after every round but the last.
        reconstruct: repair in closed form what the cut breaks (needs calibration images).
        profile: device that a latency budget is measured on; None means this machine's CPU.
        threads: compute threads while a latency budget is measured.
        planned: the widths come from a plan; ``ratio`` is what that was made with.
        seed: for metrics that draw lots, and for recovery.
    """

    ratio: float = 0.5
    budget: str = "channels"
    metric: str = "l1"
    dg_lambda: float | None = None
    scope: str = "global"
    cost: str | None = None
    dims: tuple[str, ...] = ("embed", "heads", "mlp")
    round_to: int = 8
    max_ratio: float = 1.0
    steps: int = 1
    recover_steps: int = 0
    reconstruct: bool = False
    profile: str | None = None
    threads: int = 1
    planned: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError(f"ratio {self.ratio:g} is not accepted; above 0 and below 1 is")
        if not 0 < self.max_ratio <= 1:
            raise UsageError(f"max ratio {self.max_ratio:g} is not accepted; above 0, up to 1 is")
        self._check_metric()
        one_of(self.budget, "budget", BUDGETS)
        one_of(self.scope, "scope", SCOPES)
        if self.cost is not None:
            one_of(self.cost, "cost", COSTS)
        for dim in self.dims:
            one_of(dim, "dimension", PRUNABLE)
        if not self.dims:
            raise UsageError(f"no dimension to prune; accepted: {', '.join(PRUNABLE)}")
        for name in ("round_to", "steps", "threads"):
            if getattr(self, name) < 1:
                shown = name.replace("_", "-")
                raise UsageError(f"{shown} {getattr(self, name)} is not accepted; 1 or more is")
        self._check_recovery()
        cores = available_cores()
        if self.budget == "latency" and self.threads > cores:
            raise UsageError(
                f"threads {self.threads} is not accepted; up to {cores}, the cores available here"
            )
        if self.profile is not None and self.budget != "latency":
            raise UsageError(f"profile {self.profile!r} is for a latency budget: --budget latency")

    def _check_metric(self) -> None:
        chosen, weight = get_metric(self.metric), self.dg_lambda
        if weight is None:
            return
        if not 0 <= weight < math.inf:
            raise UsageError(f"dg-lambda {weight:g} is not accepted; a number of 0 or more is")
        if "dg_lambda" not in chosen.settings:
            users = ", ".join(metrics_with("dg_lambda"))
            raise UsageError(
                f"dg-lambda {weight:g} is for metric {users}; metric {self.metric!r} has no use"
                " for it"
            )

    def _check_recovery(self) -> None:
        if self.recover_steps < 0:
            raise UsageError(f"recover-steps {self.recover_steps} is not accepted; 0 or more is")
        if self.recover_steps and self.steps == 1:
            raise UsageError(
                f"recover-steps {self.recover_steps} trains between rounds, and there is one round",
                hint="--steps N prunes in N rounds",
            )

    @property
    def quantity(self) -> str:
        """What a unit's score is weighed by: ``macs``, ``params`` or ``none``."""
        return self.cost or ("params" if self.budget == "params" else "macs")
