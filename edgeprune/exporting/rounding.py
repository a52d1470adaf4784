"""Widths that a device computes fast with: multiples of a number, as ``prune --round-to`` makes."""

from __future__ import annotations

from edgeprune.errors import ModelError
from edgeprune.schema import ArtifactRecord


def check_rounding(record: ArtifactRecord, multiple: int) -> None:
    """Check that every width is a multiple of ``multiple``; heads are counted, not rounded.

    Raises:
        ModelError: naming the first that is not.
    """
    odd = [width for width in record.widths if width.dim != "heads" and width.width % multiple]
    if odd:
        first = odd[0]
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise ModelError(
            f"{first.dim} of {first.name!r} is {first.width} wide{more};"
            f" multiples of {multiple} were asked for",
            hint=f"prune with --round-to {multiple}",
        )
