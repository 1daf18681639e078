"""What rules say, and what their sentences come to.

Owns the result of one rule and how results become the verdict of a look. Used by the rules, which need statistics, and
by the machine, which does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metrics_svc.core.rollout.model import Verdict

STREAK = 2
"""Failures in a row after which a rule that is not critical acts."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule found."""

    rule: str
    """Its name: kind, lane and quantile, as in `ratio/HIGH/p99`."""
    verdict: Verdict
    text: str
    critical: bool = False
    """True: a failure acts at once; false: two in a row do."""
    lane: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    """Interval of the value."""
    limit: float | None = None
    control: int = 0
    """Samples of the control arm."""
    candidate: int = 0
    """Samples of the candidate arm."""
    guard_only: bool = False
    """True: it can fail, but is nothing that an advance waits for."""

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The verdict of a look."""

    verdict: Verdict
    reason: str
    streaks: dict[str, int]


def conclude(results: Iterable[RuleResult], streaks: Mapping[str, int]) -> Conclusion:
    """Put the results of one look together, given how often each rule has failed in a row before."""
    found = list(results)
    failed = [result for result in found if result.verdict is Verdict.FAIL]
    counts = {result.rule: streaks.get(result.rule, 0) + 1 for result in failed}
    acting = [result for result in failed if result.critical or counts[result.rule] >= STREAK]
    if acting:
        return Conclusion(Verdict.FAIL, "; ".join(result.text for result in acting), counts)
    if failed:
        reason = f"{failed[0].text}: the next look decides"
        return Conclusion(Verdict.INCONCLUSIVE, reason, counts)
    open_rules = [result for result in found if not result.guard_only and result.verdict is not Verdict.PASS]
    for verdict in (Verdict.ERROR, Verdict.NO_DATA, Verdict.INCONCLUSIVE):
        for result in open_rules:
            if result.verdict is verdict:
                return Conclusion(verdict, result.text, counts)
    deciding = [result for result in found if not result.guard_only]
    if not deciding:
        return Conclusion(Verdict.NO_DATA, "no rule had anything to judge", counts)
    return Conclusion(Verdict.PASS, f"all {len(deciding)} rules pass", counts)
