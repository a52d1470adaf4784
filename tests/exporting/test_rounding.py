from __future__ import annotations

from pathlib import Path

import pytest
from small_exports import small_model

from edgeprune.errors import ModelError, UsageError
from edgeprune.exporting import ExportSettings, export
from edgeprune.exporting.rounding import check_rounding
from edgeprune.pruning import PruneSettings, prune


def test_widths_that_are_not_rounded_are_named(tmp_path: Path) -> None:
    model = prune(small_model(), PruneSettings(ratio=0.4, round_to=4)).model
    check_rounding(model.record, 4)
    with pytest.raises(ModelError, match="multiples of 128 were asked for"):
        export(model, tmp_path / "out", ExportSettings(round_to=128))
    assert list(tmp_path.iterdir()) == []


def test_heads_are_counted_not_rounded() -> None:
    record = small_model().record
    assert any(width.dim == "heads" and width.width % 64 for width in record.widths)
    check_rounding(record, 64)


def test_a_multiple_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="round-to 0"):
        ExportSettings(round_to=0)
