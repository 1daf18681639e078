"""The `lanecast` command."""
