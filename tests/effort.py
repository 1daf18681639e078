"""How many examples the property tests try: few in `make test`, many in the long run.

The long run of all of them:

    LANECAST_TEST_EFFORT=50 .venv/bin/pytest tests/unit --timeout 0

A failure prints the steps that lead to it, and is tried first in the next run.
"""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("LANECAST_TEST_EFFORT", "1"))


def effort(examples: int) -> int:
    """Return a number of examples for this run."""
    return max(1, int(examples * FACTOR))
