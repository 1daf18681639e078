"""Exit codes of every Lanecast command and service; `lanecast --help` lists them.

Owns the numbers. Imports nothing.
"""

OK = 0
"""Done, or drained after SIGTERM."""
FAILED = 1
"""The work was tried and not all of it succeeded, for example an event was not acknowledged."""
USAGE = 2
"""An option, variable, file or input is wrong; nothing was tried."""
UNAVAILABLE = 3
"""A service that is needed cannot be reached."""
CANNOT_START = 4
"""A service cannot start: port in use, data directory unusable or of a newer format."""
INTERRUPTED = 130
"""Ended by Ctrl-C before the work was done."""
