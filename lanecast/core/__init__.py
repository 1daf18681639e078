"""Decisions shared by all parts of Lanecast: plain synchronous code without sockets, clocks or event loops."""
