"""publisher_svc: see docs/architecture.md for what it owns."""

import lanecast.runtime.tuning  # noqa: F401 - before gRPC is imported
