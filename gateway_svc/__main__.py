"""`python -m gateway_svc`: run one gateway process."""

from __future__ import annotations

import sys

from gateway_svc.app import Gateway
from gateway_svc.config import SECTION, GatewayConfig
from lanecast.runtime import config, lifecycle


def main() -> int:
    """Run until told to stop; return the exit code."""
    return lifecycle.run("gateway", lambda: Gateway(config.load(GatewayConfig, SECTION)), urgent=True)


if __name__ == "__main__":
    sys.exit(main())
