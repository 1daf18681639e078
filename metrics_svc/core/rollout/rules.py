"""The rules that judge a candidate.

Owns which rules there are at an exposure and what each needs, says and weighs. Reads `samples`; its results go to
`results.conclude`. Every rule that has too little to go by says NO_DATA, and nothing that says NO_DATA passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from lanecast.core.bucketing import BUCKETS, Arm
from lanecast.core.priority import Priority
from metrics_svc.core.rollout import statistics
from metrics_svc.core.rollout.model import Plan, Verdict
from metrics_svc.core.rollout.needs import MIN_CHANNELS, MIN_LOOKS, MIN_PARTS, MIN_TAIL, objective_of
from metrics_svc.core.rollout.results import RuleResult
from metrics_svc.core.rollout.samples import FAULTS, Counts, Samples
from metrics_svc.core.rollout.statistics import Interval

_LEAST_RATE_RATIO = 0.8
"""A candidate channel that gets less than this share of what control channels get is starved."""
_BENEFIT_QUANTILE = TIMELINE_QUANTILE = 0.95
_STALE_LOOKS, _STALE_SECONDS = 3, 5.0
"""A lane in which nothing of an arm has come for that many looks, and that many seconds, passes no more."""
_HARM_CONFIDENCE = 0.90
"""That the control is slower than before. Lower than that it is not: going back costs less than going on."""
_LEVELLED_CONFIDENCE = 0.95
"""The same of the comparison look by look, which host noise does not reach."""
_GUARD_CONFIDENCE = 0.999
"""Of rules that look at a short window again and again."""

Channels = Mapping[tuple[Priority, Arm], int]
"""Active channels of each arm."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that the rules look at."""

    plan: Plan
    exposure: int
    stage: int
    lanes: tuple[Priority, ...]
    """Lanes that are judged."""
    limits: Mapping[Priority, float]
    """Seconds that the candidate policy promises."""
    samples: Samples
    channels: Channels
    before: Mapping[Priority, Sequence[float]] = field(default_factory=dict)
    """Logarithm of the control's p95 in each look before any exposure; see `timeline`."""
    reference: Mapping[Priority, Counts] = field(default_factory=dict)
    """The control that was seen last: what there is to compare with when no control is left."""

    @property
    def controlled(self) -> bool:
        """Whether channels are left to compare with."""
        return self.exposure < BUCKETS


def timeline(samples: Samples, lane: Priority) -> list[float]:
    """Return the logarithm of the control's p95 in each look that has the samples for one."""
    looks = [look for look in samples.control_looks(lane) if look.sum() * (1 - TIMELINE_QUANTILE) >= 1]
    return statistics.log_quantiles(np.stack(looks), TIMELINE_QUANTILE) if looks else []


def judge(case: Case) -> tuple[RuleResult, ...]:
    """Return what every rule says; one that cannot be computed says ERROR, and does not stop the others."""
    results: list[RuleResult] = []
    for name, rule in _rules(case):
        try:
            results += rule()
        except (ArithmeticError, ValueError, IndexError) as error:
            results.append(RuleResult(name, Verdict.ERROR, f"{name} cannot be computed: {error}"))
    return tuple(results)


def _rules(case: Case) -> Iterator[tuple[str, Callable[[], list[RuleResult]]]]:
    yield "faults", lambda: list(_faults(case))
    for lane in case.lanes:
        yield f"validity/{lane.name}", lambda lane=lane: _fresh(case, lane)  # type: ignore[misc]
        yield f"limit/{lane.name}", lambda lane=lane: _absolute(case, lane)  # type: ignore[misc]
        if case.controlled:
            for q in case.plan.quantiles:
                yield f"ratio/{lane.name}", lambda lane=lane, q=q: _relative(case, lane, q)  # type: ignore[misc]
            yield f"rate/{lane.name}", lambda lane=lane: _rate(case, lane)  # type: ignore[misc]
            yield f"interference/{lane.name}", lambda lane=lane: _interference(case, lane)  # type: ignore[misc]
        if case.controlled and case.plan.benefit_ratio and _last_below_half(case):
            yield f"benefit/{lane.name}", lambda lane=lane: [_benefit(case, lane)]  # type: ignore[misc]


def _faults(case: Case) -> Iterator[RuleResult]:
    for kind in FAULTS:
        number = case.samples.faults(Arm.CANDIDATE, kind)
        words = kind.replace("_", " ")
        verdict = Verdict.FAIL if number else Verdict.PASS
        text = f"{number} candidate events {words}" if number else f"no candidate event {words}"
        yield RuleResult(f"invariant/{kind}", verdict, text, critical=True, value=float(number), limit=0.0)


def _fresh(case: Case, lane: Priority) -> list[RuleResult]:
    """What was seen is seen still: samples of an arm that has fallen silent prove nothing about now."""
    arms = (Arm.CANDIDATE, Arm.CONTROL) if case.controlled else (Arm.CANDIDATE,)
    silence, arm = max((case.samples.silence(lane, arm), arm) for arm in arms)
    limit = max(_STALE_LOOKS * case.plan.look_seconds, _STALE_SECONDS)
    if silence < limit:
        return []
    word = arm.name.lower()
    text = f"{lane.name}: nothing of the {word} has come for {silence:.0f} s: what came before is too old to go by"
    name = f"validity/{lane.name}"
    return [RuleResult(name, Verdict.NO_DATA, text, lane=lane.name, value=silence, limit=limit)]


def _absolute(case: Case, lane: Priority) -> list[RuleResult]:
    """The candidate keeps what its policy promises: the share within the limit, and the quantile of that share."""
    objective, limit = objective_of(case.plan, lane), case.limits[lane]
    counts = case.samples.of(lane, Arm.CANDIDATE)
    lack = _lack(case, lane, counts, objective, Arm.CANDIDATE)
    name = lane.name
    if lack:
        return [RuleResult(f"slo/{name}", Verdict.NO_DATA, lack, lane=name)]
    share = statistics.share_within(counts, limit)
    point = statistics.quantile(counts, objective)
    number = int(counts.sum())
    verdict = _above(share, objective)
    text = f"{name}: {share.value:.2%} of the candidate within {_time(limit)} ({share.low:.2%} to {share.high:.2%})"
    if verdict is Verdict.FAIL and not _control_is_better(case, lane, counts, limit):
        verdict, text = Verdict.INCONCLUSIVE, f"{text}, and the control is no better"
    critical = lane is Priority.CRITICAL
    slo = RuleResult(
        f"slo/{name}", verdict, f"{text}, {objective:.4g} wanted", critical, name, share.value, share.low, share.high,
        objective, 0, number,
    )  # fmt: skip
    return [slo, _quantile_result(lane, objective, limit, point, slo)]


def _quantile_result(lane: Priority, q: float, limit: float, point: Interval, slo: RuleResult) -> RuleResult:
    # The share decides. This is the same question asked of the quantile, for people who think in milliseconds.
    text = (
        f"{lane.name}: p{q * 100:g} of the candidate {_time(point.value)} ({_time(point.low)} to {_time(point.high)})"
    )
    verdict = Verdict.PASS if point.high <= limit else Verdict.INCONCLUSIVE
    return RuleResult(
        f"limit/{lane.name}/p{q * 100:g}", verdict, text, False, lane.name, point.value, point.low, point.high, limit,
        0, slo.candidate, guard_only=True,
    )  # fmt: skip


def _control_is_better(case: Case, lane: Priority, candidate: Counts, limit: float) -> bool:
    control = case.samples.of(lane, Arm.CONTROL) if case.controlled else case.reference.get(lane)
    if control is None or not control.any():
        return True  # nothing speaks for the candidate
    ours, theirs = statistics.shares(candidate, limit), statistics.shares(control, limit)
    if len(ours) < 2 or len(theirs) < 2:
        return True
    return statistics.difference(ours, theirs, _GUARD_CONFIDENCE).high < 0


def _relative(case: Case, lane: Priority, q: float) -> list[RuleResult]:
    """The candidate is not slower than the control: pooled over the stage, and by two ways that only guard."""
    found = [_compare(case, lane, q, _POOLED)]
    if found[0].verdict is not Verdict.NO_DATA:
        guards = (_compare(case, lane, q, way) for way in (_LEVELLED, _RECENT))
        found += [guard for guard in guards if guard.verdict is Verdict.FAIL]
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    """How samples are put together for a comparison."""

    name: str
    words: str
    confidence: float
    counts: Callable[[Samples, Priority, Arm], Counts]


_POOLED = _Way("ratio", "", statistics.CONFIDENCE, Samples.of)
_LEVELLED = _Way("levelled", "look by look, ", _LEVELLED_CONFIDENCE, Samples.levelled)
_RECENT = _Way("recent", "lately ", _GUARD_CONFIDENCE, lambda samples, lane, arm: samples.of(lane, arm, recent=True))


def _compare(case: Case, lane: Priority, q: float, way: _Way) -> RuleResult:
    candidate, control = (way.counts(case.samples, lane, arm) for arm in (Arm.CANDIDATE, Arm.CONTROL))
    name, guard_only = f"{way.name}/{lane.name}/p{q * 100:g}", way is not _POOLED
    for arm, counts in ((Arm.CANDIDATE, candidate), (Arm.CONTROL, control)):
        lack = _lack(case, lane, counts, q, arm)
        if lack:
            return RuleResult(name, Verdict.NO_DATA, lack, lane=lane.name, guard_only=guard_only)
    logs = statistics.log_quantiles(candidate, q), statistics.log_quantiles(control, q)
    found, limit = statistics.ratio(*logs, way.confidence), case.plan.max_latency_ratio
    text = (
        f"{lane.name}: {way.words}p{q * 100:g} of the candidate is {found.value:.2f} times the control's"
        f" ({found.low:.2f} to {found.high:.2f}), {limit:g} tolerated"
    )
    return RuleResult(
        name, _below(found, limit), text, False, lane.name, found.value, found.low, found.high, limit,
        int(control.sum()), int(candidate.sum()), guard_only=guard_only,
    )  # fmt: skip


def _rate(case: Case, lane: Priority) -> list[RuleResult]:
    """Candidate channels get their events: what is never delivered has no latency."""
    sizes = [case.samples.of(lane, arm).sum(axis=1) for arm in (Arm.CANDIDATE, Arm.CONTROL)]
    channels = [case.channels.get((lane, arm), 0) for arm in (Arm.CANDIDATE, Arm.CONTROL)]
    name = f"rate/{lane.name}"
    if min(channels) < MIN_CHANNELS or sizes[1].sum() < 10 * channels[1]:
        return []
    if (sizes[1] > 0).sum() < MIN_PARTS:
        return []
    logs = [[log(number + 0.5) for number in size] for size in sizes]
    scale = channels[1] / channels[0]
    found = statistics.ratio(logs[0], logs[1], 0.95)
    low, value, high = found.low * scale, found.value * scale, found.high * scale
    verdict = Verdict.FAIL if high < _LEAST_RATE_RATIO else Verdict.PASS
    text = (
        f"{lane.name}: a candidate channel gets {value:.2f} times the events of a control channel (at most {high:.2f})"
    )
    return [
        RuleResult(
            name, verdict, text, False, lane.name, value, low, high, _LEAST_RATE_RATIO, int(sizes[1].sum()),
            int(sizes[0].sum()), guard_only=True,
        )
    ]  # fmt: skip


def _interference(case: Case, lane: Priority) -> list[RuleResult]:
    """The control is as it was: a candidate that slows everybody looks no worse than its control.

    Hosts are slow at times, and then for all channels at once. So it is looks that are compared, not channels.
    """
    before = case.before.get(lane)
    if before is None:
        return []
    name = f"interference/{lane.name}/p{TIMELINE_QUANTILE * 100:g}"
    now = timeline(case.samples, lane)
    if min(len(now), len(before)) < MIN_LOOKS:
        text = f"{lane.name}: {len(now)} looks at the control, and {len(before)} before, of {MIN_LOOKS}"
        return [RuleResult(name, Verdict.NO_DATA, text, lane=lane.name)]
    found = statistics.ratio(now, list(before), _HARM_CONFIDENCE)
    limit = case.plan.max_interference_ratio
    text = (
        f"{lane.name}: p95 of the control is {found.value:.2f} times what it was before"
        f" ({found.low:.2f} to {found.high:.2f}), {limit:g} tolerated"
    )
    return [
        RuleResult(
            name, _below(found, limit), text, False, lane.name, found.value, found.low, found.high, limit,
            int(case.samples.of(lane, Arm.CONTROL).sum()),
        )
    ]  # fmt: skip


def _benefit(case: Case, lane: Priority) -> RuleResult:
    """The candidate is as much better as was claimed. Not being so is no harm: it holds, and does not go back."""
    compared = _compare(case, lane, _BENEFIT_QUANTILE, _POOLED)
    name, wanted = f"benefit/{lane.name}/p{_BENEFIT_QUANTILE * 100:g}", case.plan.benefit_ratio
    if compared.verdict is Verdict.NO_DATA or compared.high is None or compared.value is None:
        return RuleResult(name, Verdict.NO_DATA, compared.text, lane=lane.name)
    proved = compared.high <= wanted
    found = f"p95 is {compared.value:.3f} times the control's (at most {compared.high:.3f})"
    text = f"{lane.name}: {found}, {wanted:g} claimed"
    return RuleResult(
        name, Verdict.PASS if proved else Verdict.INCONCLUSIVE, text, False, lane.name, compared.value, compared.low,
        compared.high, wanted, compared.control, compared.candidate,
    )  # fmt: skip


def _last_below_half(case: Case) -> bool:
    stages = case.plan.stages
    following = stages[case.stage + 1 : case.stage + 2]
    return stages[case.stage].percent < 50 and (not following or following[0].percent >= 50)


def _lack(case: Case, lane: Priority, counts: Counts, q: float, arm: Arm) -> str:
    """Return what is missing of a quantile of an arm, or nothing."""
    word = arm.name.lower()
    channels = case.channels.get((lane, arm), 0)
    if channels < MIN_CHANNELS:
        return f"{lane.name}: the {word} has {channels} channels of {MIN_CHANNELS}"
    needed, number = round(MIN_TAIL / (1 - q)), int(counts.sum())
    if number < needed:
        return f"{lane.name}: the {word} has {number:,} samples of {needed:,} for p{q * 100:g}"
    parts = len(statistics.log_quantiles(counts, min(q, max(case.plan.quantiles))))
    if parts < MIN_PARTS:
        return f"{lane.name}: the {word} has samples in {parts} parts of {MIN_PARTS}"
    return ""


def _below(found: Interval, limit: float) -> Verdict:
    if found.low > limit:
        return Verdict.FAIL
    return Verdict.PASS if found.high < limit else Verdict.INCONCLUSIVE


def _above(found: Interval, limit: float) -> Verdict:
    if found.high < limit:
        return Verdict.FAIL
    return Verdict.PASS if found.low >= limit else Verdict.INCONCLUSIVE


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
