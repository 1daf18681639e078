"""What each lane promises: limits, objectives and loss budgets, and how operators write them.

Owns the defaults, their checks and the sentences that refuse others. Built by `app` from the configuration; read by the
SLO counts, the alert rules and the grade.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from lanecast.errors import ConfigError

PERIOD_SECONDS = 30 * 24 * 3600
"""The time over which an objective is to be kept."""
MIN_LIMIT_SECONDS, MAX_LIMIT_SECONDS = 0.00001, 60.0
MIN_OBJECTIVE, MAX_OBJECTIVE = 0.95, 0.99999
"""Below 95 %, a burn rate of 14.4 would need more than 72 % of bad events, so that a page would come too late."""
MIN_LOSS, MAX_LOSS = 0.000001, 0.05

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)", re.ASCII)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class SecondLimit:
    """A wider limit that more deliveries have to keep."""

    seconds: float
    objective: float


@dataclass(frozen=True, slots=True)
class Objective:
    """What one lane promises."""

    lane: Priority
    limit_seconds: float
    """A delivery within it is good."""
    objective: float
    """Share of live deliveries that must be good over `PERIOD_SECONDS`."""
    loss_budget: float
    """Share of them that may be lost."""
    second: SecondLimit | None = None


Objectives = Mapping[Priority, Objective]

DEFAULTS: Objectives = {
    Priority.CRITICAL: Objective(
        Priority.CRITICAL, BUDGET_SECONDS[Priority.CRITICAL], 0.99, 0.0001, SecondLimit(0.005, 0.999)
    ),
    Priority.HIGH: Objective(Priority.HIGH, BUDGET_SECONDS[Priority.HIGH], 0.995, 0.0005),
    Priority.NORMAL: Objective(Priority.NORMAL, BUDGET_SECONDS[Priority.NORMAL], 0.995, 0.001),
    Priority.LOW: Objective(Priority.LOW, BUDGET_SECONDS[Priority.LOW], 0.99, 0.005),
}


def read(
    limits: Sequence[str] = (),
    objectives: Sequence[str] = (),
    second_limits: Sequence[str] = (),
    loss_budgets: Sequence[str] = (),
) -> Objectives:
    """Return the defaults with what is written changed, each as `LANE=value`.

    Raises:
        ConfigError: an entry is malformed or out of range; says how to write it.
    """
    found = dict(DEFAULTS)
    for lane, text in _entries("slo_limits", limits, "CRITICAL=1ms"):
        found[lane] = replace(found[lane], limit_seconds=_limit("slo_limits", text))
    for lane, text in _entries("slo_objectives", objectives, "CRITICAL=99%"):
        found[lane] = replace(found[lane], objective=_objective("slo_objectives", text))
    for lane, text in _entries("slo_loss_budgets", loss_budgets, "CRITICAL=0.01%"):
        share = _percent("slo_loss_budgets", text, MIN_LOSS, MAX_LOSS)
        found[lane] = replace(found[lane], loss_budget=share)
    for lane, text in _entries("slo_second_limits", second_limits, "CRITICAL=5ms@99.9%"):
        found[lane] = replace(found[lane], second=_second(text))
    for objective in found.values():
        _check_second(objective)
    return {lane: found[lane] for lane in LANES}


def _entries(option: str, entries: Sequence[str], example: str) -> Iterator[tuple[Priority, str]]:
    seen: set[Priority] = set()
    for entry in entries:
        name, separator, value = entry.partition("=")
        if not separator:
            raise ConfigError(f"{option} has {entry!r:.60}: write it as {example}")
        try:
            lane = Priority.parse(name)
        except ValueError as error:
            raise ConfigError(f"{option}: {error}") from error
        if lane in seen:
            raise ConfigError(f"{option} names {lane.name} twice: leave one out")
        seen.add(lane)
        yield lane, value.strip()


def _limit(option: str, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{option} has the limit {text!r:.60}: write it as 1ms, 250us or 0.5s")
    seconds = float(match[1]) * _UNITS[match[2]]
    if not MIN_LIMIT_SECONDS <= seconds <= MAX_LIMIT_SECONDS:
        raise ConfigError(f"{option} has the limit {text}: use 0.01ms to 60s")
    return seconds


def _objective(option: str, text: str) -> float:
    return _percent(option, text, MIN_OBJECTIVE, MAX_OBJECTIVE)


def _percent(option: str, text: str, low: float, high: float) -> float:
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise ConfigError(f"{option} has {text!r:.60}: write it in percent, such as 99.5%")
    share = round(float(match[1]) / 100, 12)
    if not low <= share <= high:
        raise ConfigError(f"{option} has {text}: use {_readable(low)} to {_readable(high)}")
    return share


def _second(text: str) -> SecondLimit | None:
    if text.lower() == "none":
        return None
    limit, separator, objective = text.partition("@")
    if not separator:
        raise ConfigError(f"slo_second_limits has {text!r:.60}: write it as 5ms@99.9%, or none")
    return SecondLimit(_limit("slo_second_limits", limit.strip()), _objective("slo_second_limits", objective.strip()))


def _check_second(objective: Objective) -> None:
    second, name = objective.second, objective.lane.name
    if second is None:
        return
    if second.seconds <= objective.limit_seconds:
        raise ConfigError(f"the second limit of {name} is not above its limit: raise it, or write {name}=none")
    if second.objective <= objective.objective:
        raise ConfigError(
            f"the second limit of {name} asks for no more than its limit does: raise its share above"
            f" {_readable(objective.objective)}, or write {name}=none"
        )


def _readable(share: float) -> str:
    return f"{share * 100:.6g}%"
