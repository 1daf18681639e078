"""Decisions of metrics_svc: synchronous, without sockets, clocks or event loops."""
