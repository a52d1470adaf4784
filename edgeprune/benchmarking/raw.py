"""The latencies of single calls beside their summary: compressed, and of bounded size."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence

import numpy as np

from edgeprune.benchmarking.stats import Samples
from edgeprune.schema import RawCalls

# About 80 kB of text. Of more calls every second, third, ... is kept: a median of thousands does
# not move by it.
MAX_CALLS = 16_384
# What is read back may come from anyone; rounds may round up, so it is a little more.
MAX_READ_CALLS = 4 * MAX_CALLS
MAX_READ_ROUNDS = 1000
DTYPE = np.dtype("<f4")


def pack(rounds: Sequence[Samples]) -> RawCalls:
    """Return the calls of ``rounds`` (ms), thinned evenly if they are too many."""
    every = max(1, -(-sum(map(len, rounds)) // MAX_CALLS))
    kept = [samples[::every] for samples in rounds]
    data = zlib.compress(np.concatenate(kept).astype(DTYPE).tobytes(), 9)
    return RawCalls(
        rounds=[len(samples) for samples in kept],
        every=every,
        data=base64.b64encode(data).decode("ascii"),
    )


def unpack(raw: RawCalls) -> list[Samples]:
    """Return the calls of each round in ms.

    Raises:
        ValueError: saying in what the data are damaged.
    """
    total = sum(raw.rounds)
    if raw.every < 1 or min(raw.rounds, default=0) < 1:
        raise ValueError("rounds of at least one call were expected")
    if total > MAX_READ_CALLS or len(raw.rounds) > MAX_READ_ROUNDS:
        raise ValueError(
            f"at most {MAX_READ_CALLS} calls in {MAX_READ_ROUNDS} rounds were expected,"
            f" not {total} in {len(raw.rounds)}"
        )
    size = total * DTYPE.itemsize
    try:
        # One byte more than is expected shows that there is more, without unpacking all of it.
        data = zlib.decompressobj().decompress(base64.b64decode(raw.data, validate=True), size + 1)
    except (binascii.Error, zlib.error, ValueError) as problem:
        raise ValueError(f"data is no base64 text of zlib data ({problem})") from None
    if len(data) != size:
        raise ValueError(f"data does not hold {total} calls")
    calls = np.frombuffer(data, DTYPE).astype(np.float64)
    if not np.all(np.isfinite(calls)) or calls.min() <= 0:
        raise ValueError("a latency is not finite or not above 0")
    return np.split(calls, np.cumsum(raw.rounds)[:-1])
