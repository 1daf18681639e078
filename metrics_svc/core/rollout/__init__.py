"""Rollouts of delivery policies: what decides, without a clock, a socket or a store."""
