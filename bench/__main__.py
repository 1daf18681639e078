"""`python -m bench`: the same commands as `lanecast bench`."""

from __future__ import annotations

import sys

from lanecast.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
