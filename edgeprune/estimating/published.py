"""Latencies that others published for Jetson boards: ``published.csv``, each with its source."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from edgeprune.schema import Facts

TABLE = Path(__file__).parent / "published.csv"


class Published(Facts):
    """One published latency.

    Attributes:
        device: name of the profile that the board's name stands for.
        model: the network as the source names it.
        network: what it is rebuilt from, ``timm:NAME`` or ``torchvision:NAME``; empty if it is not.
        input: height x width of the image.
        latency: ``compute`` (on the GPU alone) or ``host`` (with transfers).
        note: why it does not calibrate; empty if it does.
    """

    device: str
    model: str
    network: str
    precision: str
    batch: int
    input: str
    latency: str
    latency_ms: float
    runtime: str
    source: str
    note: str

    @property
    def calibrates(self) -> bool:
        """Whether the coefficients were fitted to it."""
        return not self.note

    @property
    def img_size(self) -> int:
        """Height of the image, which is square where the network can be rebuilt."""
        return int(self.input.partition("x")[0])


@cache
def published() -> tuple[Published, ...]:
    """Return the whole table."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(Published.model_validate(row) for row in csv.DictReader(stream))
