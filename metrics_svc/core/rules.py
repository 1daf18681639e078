"""The alert rules: what they look at, from which values on they hold, and what they say.

Owns the table of burn-rate rules and all other conditions. Reads counts of windows (`slo`), telemetry and the state of
the history; returns readings for `alerts`. Called by `watch` once a second.

A burn rate of 1 spends the error budget of 30 days in 30 days; 14.4 spends 2 % of it in an hour. The long window says
that it matters, the short one that it still goes on. Both ask for enough events, so that one late event on a quiet
night wakes nobody up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lanecast.core import instruments as names
from lanecast.core.priority import LANES, Priority
from metrics_svc.core.alerts import Reading, Severity
from metrics_svc.core.objectives import PERIOD_SECONDS, Objectives
from metrics_svc.core.slo import Counts, Ledger, Target, targets
from metrics_svc.core.telemetry import NANOS, Telemetry

MINUTE, HOUR, DAY = 60, 3600, 86_400

WINDOWS: dict[str, int] = {
    "5m": 5 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR, "2h": 2 * HOUR, "6h": 6 * HOUR, "1d": DAY, "3d": 3 * DAY,
    "30d": PERIOD_SECONDS,
}  # fmt: skip
"""All windows that are looked at, by name, in seconds."""

MIN_BAD, MIN_TOTAL = 10, 200
"""Events below which no burn rate is believed."""
STAY = 0.8
"""An alert goes on until its burn rates are below this part of what began it."""
BLOCKED_SHARE = 0.05
"""Share of deliveries that wait for the peer's own buffer above which somebody should know."""
SILENT_SECONDS = 15.0
REFUND = 0.05
"""Share of the budget that must be back before a spent one counts as such no longer."""


@dataclass(frozen=True, slots=True)
class BurnRule:
    """One row of the table."""

    factor: float
    long: str
    short: str
    severity: Severity
    pending_seconds: float
    clear_seconds: float


BURN_RULES = (
    BurnRule(14.4, "1h", "5m", Severity.PAGE, 30, 2 * MINUTE),
    BurnRule(6.0, "6h", "30m", Severity.PAGE, 60, 5 * MINUTE),
    BurnRule(3.0, "1d", "2h", Severity.TICKET, 5 * MINUTE, 15 * MINUTE),
    BurnRule(1.0, "3d", "6h", Severity.TICKET, 10 * MINUTE, 30 * MINUTE),
)
"""Most urgent first."""


@dataclass(frozen=True, slots=True)
class Health:
    """What `watch` knows of the service itself."""

    started_ns: int
    history_problem: str = ""
    """Why the history cannot be written; empty where it can."""


Blame = Callable[[Priority, int], str]
"""Returns a sentence about the hop that costs a lane the most in a window of so many seconds; empty: unknown."""
WindowCounts = Mapping[str, Mapping[Priority, Counts]]
"""Counts by the name of the window and the lane."""


class Rules:
    """Reads all rules."""

    def __init__(self, telemetry: Telemetry, objectives: Objectives, *, scale: float, blame: Blame) -> None:
        self._telemetry = telemetry
        self._objectives = objectives
        self._targets = {lane: targets(objective) for lane, objective in objectives.items()}
        self._scale = scale
        self._blame = blame
        self._ledger = Ledger(telemetry)

    def seconds(self, window: str) -> int:
        """Return the length of a window after scaling."""
        return max(1, round(WINDOWS[window] * self._scale))

    def counts(self, now_ns: int) -> WindowCounts:
        """Return the counts of all lanes in all windows up to now."""
        now = now_ns // NANOS
        found = {}
        for name in WINDOWS:
            span = self._telemetry.span(now - self.seconds(name), now + 1, now_ns)
            found[name] = {lane: self._ledger.counts(span, lane) for lane in LANES}
        return found

    def read(self, counts: WindowCounts, health: Health, now_ns: int) -> list[Reading]:
        """Return what every rule says now."""
        found: list[Reading] = []
        for lane in LANES:
            found += self._of_lane(lane, counts)
            if now_ns - health.started_ns >= self.seconds("5m") * NANOS:  # before, we were the ones who were away
                found.append(self._absent(lane, counts))
        found += self._silent(health, now_ns)
        found.append(self._dropped(now_ns))
        found.append(self._unwritable(health))
        return found

    def burn_rate(self, lane: Priority, counts: WindowCounts, window: str) -> float:
        """Return the highest burn rate of all that a lane promises."""
        return max(target.burn(counts[window][lane]) for target in self._targets[lane])

    def budget_remaining(self, lane: Priority, counts: WindowCounts) -> float:
        """Return the lowest share of a budget that is left of the period; negative: overspent."""
        return min(target.remaining(counts["30d"][lane]) for target in self._targets[lane])

    def _of_lane(self, lane: Priority, counts: WindowCounts) -> Iterator[Reading]:
        for target in self._targets[lane]:
            for rank, rule in enumerate(BURN_RULES):
                yield self._burning(lane, target, rule, rank, counts)
            yield self._spent(lane, target, counts)
        yield self._blocked(lane, counts)

    def _burning(self, lane: Priority, target: Target, rule: BurnRule, rank: int, counts: WindowCounts) -> Reading:
        long, short = counts[rule.long][lane], counts[rule.short][lane]
        slower = min(target.burn(long), target.burn(short))
        enough = target.bad(long) >= MIN_BAD and long.total >= MIN_TOTAL
        holds, stays = enough and slower >= rule.factor, slower >= rule.factor * STAY
        summary = self._burn_text(lane, target, rule, counts) if holds or stays else ""
        return Reading(
            rule=f"slo-burn-rate-{_subject(lane, target)}-{rule.long}",
            severity=rule.severity,
            holds=holds,
            stays=stays,
            summary=summary,
            lane=lane,
            pending_seconds=rule.pending_seconds * self._scale,
            clear_seconds=rule.clear_seconds * self._scale,
            group=f"slo-{_subject(lane, target)}",
            rank=rank,
        )

    def _burn_text(self, lane: Priority, target: Target, rule: BurnRule, counts: WindowCounts) -> str:
        long = counts[rule.long][lane]
        left = target.remaining(counts["30d"][lane])
        budget = f"{left:.0%} of it is left" if left > 0 else "nothing of it is left"
        text = (
            f"{lane.name}: {target.bad(long):,} of {long.total:,} deliveries ({target.bad(long) / long.total:.2%}) in"
            f" {rule.long} were {target.text}, allowed are {_percent(target.allowed)}. That spends the error budget of"
            f" 30 days {target.burn(long):.1f} times too fast; {budget}."
        )
        return " ".join(filter(None, (text, self._blame(lane, self.seconds(rule.short)))))

    def _spent(self, lane: Priority, target: Target, counts: WindowCounts) -> Reading:
        period = counts["30d"][lane]
        left = target.remaining(period)
        enough = target.bad(period) >= MIN_BAD and period.total >= MIN_TOTAL
        return Reading(
            rule=f"slo-budget-spent-{_subject(lane, target)}",
            severity=Severity.TICKET,
            holds=enough and left <= 0,
            stays=left < REFUND,
            summary=f"{lane.name}: the error budget of 30 days is spent: {target.bad(period):,} of {period.total:,}"
            f" deliveries were {target.text}, allowed are {_percent(target.allowed)}. Put changes that are no repairs"
            " off until it has recovered.",
            lane=lane,
            clear_seconds=5 * MINUTE * self._scale,
            group=f"slo-{_subject(lane, target)}",
            rank=len(BURN_RULES),
        )

    def _blocked(self, lane: Priority, counts: WindowCounts) -> Reading:
        long, short = counts["1h"][lane], counts["5m"][lane]
        share = min(_blocked_share(long), _blocked_share(short))
        enough = long.blocked >= MIN_BAD and long.blocked + long.total >= MIN_TOTAL
        return Reading(
            rule=f"blocked-by-peer-{lane.name.lower()}",
            severity=Severity.TICKET,
            holds=enough and share >= BLOCKED_SHARE,
            stays=share >= BLOCKED_SHARE * STAY,
            summary=f"{lane.name}: {_blocked_share(short):.1%} of the deliveries waited because the receiver's own"
            " buffer was full. They are outside the objective; look for browsers or networks that do not keep up.",
            lane=lane,
            pending_seconds=MINUTE * self._scale,
            clear_seconds=5 * MINUTE * self._scale,
        )

    def _absent(self, lane: Priority, counts: WindowCounts) -> Reading:
        quiet = counts["5m"][lane].total + counts["5m"][lane].blocked == 0
        usual = counts["1h"][lane].total
        return Reading(
            rule=f"lane-absent-{lane.name.lower()}",
            severity=Severity.TICKET,
            holds=quiet and usual >= MIN_TOTAL,
            stays=quiet and counts["1d"][lane].total > 0,
            summary=f"{lane.name}: nothing was delivered for 5 min, after {usual:,} deliveries within the hour. Check"
            " that its AI services publish, that a gateway runs, and that somebody subscribes.",
            lane=lane,
            pending_seconds=MINUTE * self._scale,
            clear_seconds=MINUTE * self._scale,
        )

    def _silent(self, health: Health, now_ns: int) -> Iterator[Reading]:
        limit = max(2.0, SILENT_SECONDS * self._scale)
        for process, last in self._telemetry.processes(now_ns - self.seconds("1h") * NANOS):
            quiet = (now_ns - max(last, health.started_ns)) / NANOS
            yield Reading(
                rule=f"telemetry-silent-{process.name}",
                severity=Severity.TICKET,
                holds=quiet >= limit,
                stays=quiet >= limit,
                summary=f"{process.name} has not reported for {quiet:.0f} s: nothing is known of what passes there."
                " Check that it runs; where it was stopped for good, this ends by itself within an hour.",
                clear_seconds=10 * self._scale,
            )

    def _dropped(self, now_ns: int) -> Reading:
        now = now_ns // NANOS
        span = self._telemetry.span(now - self.seconds("5m"), now + 1, now_ns)
        dropped = span.total(self._telemetry.series(names.TELEMETRY_DROPPED))
        return Reading(
            rule="telemetry-dropped",
            severity=Severity.TICKET,
            holds=dropped > 0,
            stays=dropped > 0,
            summary=f"{dropped:,.0f} items of telemetry were dropped within 5 min: figures are incomplete. The logs of"
            " the services say why.",
            clear_seconds=MINUTE * self._scale,
        )

    def _unwritable(self, health: Health) -> Reading:
        failed = bool(health.history_problem)
        return Reading(
            rule="history-unwritable",
            severity=Severity.PAGE,
            holds=failed,
            stays=failed,
            summary=f"The history of metrics cannot be written: {health.history_problem}. Figures and alerts go on in"
            " memory and are lost with the process: make room on the disk of the data directory.",
            clear_seconds=10 * self._scale,
        )


def _subject(lane: Priority, target: Target) -> str:
    return lane.name.lower() if target.name == "latency" else f"{lane.name.lower()}-{target.name}"


def _blocked_share(counts: Counts) -> float:
    whole = counts.total + counts.blocked
    return counts.blocked / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
