"""The fault suite: real services under load, faults from a seed, and one checker that judges what came through."""

from __future__ import annotations

import os

# The harness starts processes while gRPC runs. It never forks to go on in Python, which is what this support is for.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
