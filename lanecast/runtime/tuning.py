"""Settings of the process that must stand before gRPC is first imported.

Each service package imports this module before anything else. The SDK does not: a program that uses it may have gRPC
calls of its own, and decides for itself.
"""

import os
from importlib.metadata import version

_MEASURED_WITH = "1.85."
"""Releases of grpcio that know these names; others would complain of an unknown experiment at every start."""

if version("grpcio").startswith(_MEASURED_WITH):
    # gRPC's event engine hands each read from one thread to another before Python hears of it. Without it the polling
    # thread reads by itself: a quarter less processor time for a message received, measured (docs/performance.md).
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

# The services fork only to become another program at once; gRPC would warn, each time, that it cannot prepare for it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
