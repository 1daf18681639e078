"""Runs publisher_svc: `python -m publisher_svc`, configured by environment (`LANECAST_…`) or a TOML file."""

from __future__ import annotations

import sys

from lanecast.runtime.config import load
from lanecast.runtime.lifecycle import run
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig


def build() -> PublisherApp:
    """Build the service from its configuration."""
    return PublisherApp(load(PublisherConfig, "publisher"))


if __name__ == "__main__":
    sys.exit(run("publisher", build, urgent=True))
