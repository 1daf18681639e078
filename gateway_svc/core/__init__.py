"""Decisions of gateway_svc: synchronous, without sockets, clocks or event loops."""
