"""The version of all Lanecast parts; the build reads it from here."""

__version__ = "0.1.0"
