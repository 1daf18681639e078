"""`python -m metrics_svc`: runs the service, configured by the environment or the file named by LANECAST_CONFIG."""

from __future__ import annotations

import os
import sys

from lanecast.runtime.config import load
from lanecast.runtime.lifecycle import run
from metrics_svc.app import MetricsService
from metrics_svc.config import SECTION, MetricsConfig


def main() -> int:
    """Run until told to stop; return the exit code."""
    return run("metrics", _build)


def _build() -> MetricsService:
    config = load(MetricsConfig, SECTION)
    os.nice(config.niceness)
    return MetricsService(config)


if __name__ == "__main__":
    sys.exit(main())
