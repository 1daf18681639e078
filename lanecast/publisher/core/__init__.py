"""Decisions of the publishing SDK without sockets, clocks or event loops: encoding, buffering, acknowledgement."""
