"""Decisions of publisher_svc: synchronous, without sockets, clocks or event loops."""
