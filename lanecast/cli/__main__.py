"""`python -m lanecast.cli`: the same as the `lanecast` command."""

from __future__ import annotations

import sys

from lanecast.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
