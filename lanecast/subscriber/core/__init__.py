"""Decisions of the subscribing SDK without sockets, clocks or event loops: continuity, buffering, credit, cursors."""
