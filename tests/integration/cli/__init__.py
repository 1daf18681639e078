"""The command line from outside, with real processes."""
