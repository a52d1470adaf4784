"""What every test may use."""

from __future__ import annotations

import os

# Tests run two at a time on small machines; libraries must not each take every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
