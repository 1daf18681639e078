"""publisher_svc: see docs/architecture.md for what it owns."""
