"""Rollouts of delivery policies: the shells around `metrics_svc.core.rollout`."""
