"""`python -m metrics_svc`: runs the service, configured by the environment or the file named by LANECAST_CONFIG."""

from __future__ import annotations

import sys

from lanecast.runtime.config import load
from lanecast.runtime.lifecycle import run
from metrics_svc.app import MetricsService
from metrics_svc.config import SECTION, MetricsConfig


def main() -> int:
    """Run until told to stop; return the exit code."""
    return run("metrics", lambda: MetricsService(load(MetricsConfig, SECTION)))


if __name__ == "__main__":
    sys.exit(main())
