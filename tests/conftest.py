"""Hypothesis without deadlines: a slow machine is no failure. Also puts `effort` where every test finds it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("lanecast", deadline=None)
settings.load_profile("lanecast")
