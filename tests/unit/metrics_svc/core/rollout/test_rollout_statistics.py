"""Intervals hold what they promise, and rules need what they say they need."""

from __future__ import annotations

import numpy as np
import pytest

from lanecast.core.bucketing import PARTS, Arm, arm_of, bucket
from lanecast.core.priority import Priority
from lanecast.core.sketch import BUCKETS, Sketch
from metrics_svc.core.rollout import needs, statistics
from metrics_svc.core.rollout.model import Plan, Verdict
from metrics_svc.core.rollout.results import RuleResult, conclude
from metrics_svc.core.rollout.rules import Case, judge
from metrics_svc.core.rollout.samples import Counts, Samples

HIGH = Priority.HIGH


def counts_of(milliseconds: list[list[float]]) -> Counts:
    """Return counts whose parts have these latencies."""
    found = np.zeros((PARTS, BUCKETS), np.int64)
    for number, values in enumerate(milliseconds):
        sketch = Sketch()
        for value in values:
            sketch.record_ns(int(value * 1e6))
        found[number] = sketch.counts
    return found


def log_normal(seed: int, size: int, scale: float = 1.0) -> Counts:
    random = np.random.default_rng(seed)
    return counts_of([list(2 * scale * np.exp(random.normal(0, 0.4, size))) for _ in range(PARTS)])


def case(candidate: Counts, control: Counts, **changes: object) -> Case:
    samples = Samples(2)
    samples.add_block(HIGH, Arm.CANDIDATE, candidate)
    samples.add_block(HIGH, Arm.CONTROL, control)
    fields: dict[str, object] = {
        "plan": Plan("a", "b"), "exposure": 1_000, "stage": 0, "lanes": (HIGH,), "limits": {HIGH: 0.02},
        "samples": samples, "channels": {(HIGH, Arm.CANDIDATE): 60, (HIGH, Arm.CONTROL): 60},
    }  # fmt: skip
    return Case(**{**fields, **changes})  # type: ignore[arg-type]


def verdicts(one: Case) -> dict[str, Verdict]:
    return {result.rule: result.verdict for result in judge(one)}


def test_wilson_agrees_with_the_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263 at 95 % gives 0.2553 to 0.3662.
    found = statistics.wilson(81, 263, 0.95)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_the_order_statistic_interval_of_a_median_is_that_of_the_tables() -> None:
    # 100 values, 95 %: the 40th and the 61st.
    found = statistics.quantile(counts_of([[float(n) for n in range(1, 101)]]), 0.5, 0.95)
    assert found.low * 1e3 == pytest.approx(40, rel=0.012)
    assert found.high * 1e3 == pytest.approx(61, rel=0.012)


def test_welch_agrees_with_a_worked_example() -> None:
    one, other = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0]
    # Standard error 1.777, 7.05 degrees of freedom, t = 2.362.
    found = statistics.difference(one, other, 0.95)
    assert found.value == pytest.approx(-2.5, abs=0.001)
    assert (round(found.low, 2), round(found.high, 2)) == (-6.7, 1.7)


def test_parts_that_differ_more_than_by_chance_count_for_less() -> None:
    even = counts_of([[1.0] * 95 + [9.0] * 5] * PARTS)
    uneven = counts_of([[1.0] * 100] * (PARTS - 1) + [[9.0] * 100])
    narrow, wide = (statistics.share_within(each, 0.005) for each in (even, uneven))
    assert (narrow.value, wide.value) == (pytest.approx(0.95), pytest.approx(0.95))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_quantile_within_a_bucket_is_told_apart() -> None:
    fast, slow = (statistics.log_quantiles(log_normal(1, 2_000, scale), 0.99) for scale in (1.0, 1.3))
    assert statistics.ratio(slow, fast).value == pytest.approx(1.3, rel=0.02)


def test_equal_arms_pass_and_slower_ones_fail() -> None:
    equal = verdicts(case(log_normal(1, 2_000), log_normal(2, 2_000)))
    assert equal["ratio/HIGH/p99"] is equal["ratio/HIGH/p95"] is equal["slo/HIGH"] is Verdict.PASS
    slower = verdicts(case(log_normal(1, 2_000, 1.5), log_normal(2, 2_000)))
    assert slower["ratio/HIGH/p99"] is Verdict.FAIL


def test_harm_that_stalls_of_the_host_hide_is_found_look_by_look() -> None:
    one = case(log_normal(0, 0), log_normal(0, 0))
    for number in range(10):  # the candidate is slower by 30 % where the host is not: most of the tail is the host's
        stall, harm = (3.0, 1.0) if number % 3 == 0 else (1.0, 1.3)
        one.samples.add_block(HIGH, Arm.CONTROL, log_normal(2 * number, 300, stall))
        one.samples.add_block(HIGH, Arm.CANDIDATE, log_normal(2 * number + 1, 300, stall * harm))
        one.samples.pass_time(5.0)
    found = {result.rule: result for result in judge(one)}
    assert found["ratio/HIGH/p95"].verdict is found["ratio/HIGH/p99"].verdict is Verdict.PASS
    assert found["levelled/HIGH/p95"].verdict is Verdict.FAIL
    assert "HIGH: look by look, p95 of the candidate is" in found["levelled/HIGH/p95"].text
    assert conclude(found.values(), {"levelled/HIGH/p95": 1}).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": {(HIGH, Arm.CANDIDATE): 19, (HIGH, Arm.CONTROL): 60}}, "19 channels of 20"),
        ({"channels": {(HIGH, Arm.CANDIDATE): 60}}, "control has 0 channels"),
    ],
)
def test_too_few_channels_are_no_data(changes: dict[str, object], words: str) -> None:
    results = {result.rule: result for result in judge(case(log_normal(1, 500), log_normal(2, 500), **changes))}
    assert results["ratio/HIGH/p99"].verdict is Verdict.NO_DATA
    assert words in results["ratio/HIGH/p99"].text


def test_too_few_samples_and_too_few_parts_are_no_data() -> None:
    few = verdicts(case(log_normal(1, 99), log_normal(2, 500)))
    assert few["ratio/HIGH/p99"] is Verdict.NO_DATA
    crowded = np.zeros((PARTS, BUCKETS), np.int64)
    crowded[:7] = log_normal(1, 2_000)[:7]
    assert verdicts(case(crowded, log_normal(2, 500)))["ratio/HIGH/p99"] is Verdict.NO_DATA


def test_a_limit_that_both_arms_miss_is_not_the_candidates_doing() -> None:
    both = verdicts(case(log_normal(1, 2_000), log_normal(2, 2_000), limits={HIGH: 0.003}))
    assert both["slo/HIGH"] is Verdict.INCONCLUSIVE
    alone = verdicts(case(log_normal(1, 2_000, 3.0), log_normal(2, 2_000), limits={HIGH: 0.008}))
    assert alone["slo/HIGH"] is Verdict.FAIL


def test_a_benefit_must_be_proved_before_half() -> None:
    plan = Plan("a", "b", benefit_ratio=0.5)
    late = verdicts(case(log_normal(1, 2_000, 0.3), log_normal(2, 2_000), plan=plan, stage=0))
    assert "benefit/HIGH/p95" not in late  # a later stage below one half will ask
    for scale, expected in ((0.3, Verdict.PASS), (0.8, Verdict.INCONCLUSIVE)):
        one = case(log_normal(1, 2_000, scale), log_normal(2, 2_000), plan=plan, stage=1, exposure=2_500)
        assert verdicts(one)["benefit/HIGH/p95"] is expected


def test_without_control_the_candidate_is_judged_by_its_limits_and_what_was() -> None:
    fine = verdicts(case(log_normal(1, 2_000), log_normal(2, 0), exposure=10_000, stage=4))
    assert set(fine) == {
        "invariant/lost",
        "invariant/duplicate",
        "invariant/out_of_order",
        "slo/HIGH",
        "limit/HIGH/p99.5",
    }
    assert fine["slo/HIGH"] is Verdict.PASS
    reference = {HIGH: log_normal(3, 2_000)}
    limits = {HIGH: 0.003}
    known = case(log_normal(1, 2_000), log_normal(2, 0), exposure=10_000, stage=4, limits=limits, reference=reference)
    assert verdicts(known)["slo/HIGH"] is Verdict.INCONCLUSIVE
    unknown = case(log_normal(1, 2_000), log_normal(2, 0), exposure=10_000, stage=4, limits=limits)
    assert verdicts(unknown)["slo/HIGH"] is Verdict.FAIL


def test_a_failure_counts_in_a_row_only() -> None:
    bad, good = (RuleResult("ratio/HIGH/p99", verdict, "") for verdict in (Verdict.FAIL, Verdict.PASS))
    first = conclude([bad], {})
    assert first.verdict is Verdict.INCONCLUSIVE
    assert conclude([bad], first.streaks).verdict is Verdict.FAIL
    between = conclude([good], first.streaks)
    assert conclude([bad], between.streaks).verdict is Verdict.INCONCLUSIVE


def test_nothing_to_judge_is_no_data() -> None:
    assert conclude([], {}).verdict is Verdict.NO_DATA


def test_a_report_taken_back_leaves_nothing() -> None:
    samples = Samples(1)
    for _ in range(2):
        samples.add(HIGH, Arm.CONTROL, 3, [10, 11], [5, 6])
    samples.take_back(HIGH, Arm.CONTROL, 3, [10, 11], [5, 6])
    assert samples.of(HIGH, Arm.CONTROL).sum() == 11
    samples.restart()
    samples.take_back(HIGH, Arm.CONTROL, 3, [10, 11], [5, 6])
    assert samples.of(HIGH, Arm.CONTROL).sum() == 0


def test_needs_are_what_the_rules_ask_for() -> None:
    plan = Plan("a", "b")
    found = needs.needs(plan, {HIGH: needs.Traffic(600, 300.0)})
    assert [(need.percent, need.channels_needed) for need in found] == [
        (10, 200),
        (25, 80),
        (50, 40),
        (75, 80),
        (100, 20),
    ]
    assert found[0].samples_needed == 4_000
    assert found[0].seconds == pytest.approx(4_000 / 30)
    assert needs.explain(plan, {HIGH: needs.Traffic(600, 300.0)}) == []
    assert "no lane has the channels" in needs.explain(plan, {HIGH: needs.Traffic(199, 300.0)})[0]
    assert needs.judged_lanes(plan, {HIGH: 200, Priority.LOW: 199}) == (HIGH,)


@pytest.mark.parametrize(
    "plan",
    [Plan("a", "a"), Plan("a", "b", stages=()), Plan("a", "b", max_latency_ratio=1.0), Plan("a", "b", look_seconds=0)],
)
def test_a_plan_that_cannot_work_says_why(plan: Plan) -> None:
    assert plan.problems()


def test_as_many_channels_are_asked_for_as_make_both_arms_large_enough_by_chance() -> None:
    plan = Plan("a", "b")
    wanted = needs.channels_wanted(1_000)
    for number, told in ((200, True), (wanted - 1, True), (wanted, False)):
        found = needs.explain(plan, {HIGH: needs.Traffic(number, 300.0)})
        assert bool(found) is told
        assert not found or f"{wanted} active channels make it 99%" in found[0]
    short = 0
    for run in range(200):
        arms = [arm_of(bucket(f"r-{run}", f"house:{number}"), 1_000) for number in range(wanted)]
        short += min(arms.count(Arm.CONTROL), arms.count(Arm.CANDIDATE)) < needs.MIN_CHANNELS
    assert short <= 6  # a hundredth of 200 is 2
    assert needs.chance_of_channels(200, 1_000) < 0.3
    assert needs.chance_of_channels(20, 10_000) == 1
    assert needs.chance_of_channels(19, 10_000) == 0


def test_samples_of_a_lane_that_has_fallen_silent_pass_nothing() -> None:
    one = case(log_normal(1, 400), log_normal(2, 400))
    one.samples.pass_time(5.0)
    assert "validity/HIGH" not in verdicts(one)
    for _ in range(3):
        one.samples.pass_time(5.0)
    assert verdicts(one)["validity/HIGH"] is Verdict.NO_DATA
    assert conclude(judge(one), {}).verdict is Verdict.NO_DATA
    one.samples.add(HIGH, Arm.CONTROL, 0, [5], [1])
    one.samples.pass_time(5.0)
    stale = {result.rule: result for result in judge(one)}["validity/HIGH"]
    assert stale.verdict is Verdict.NO_DATA
    assert "nothing of the candidate has come for 20 s" in stale.text
    one.samples.add(HIGH, Arm.CANDIDATE, 0, [5], [1])
    one.samples.pass_time(5.0)
    assert "validity/HIGH" not in verdicts(one)


def test_without_control_only_the_candidate_need_be_heard() -> None:
    one = case(log_normal(1, 400), log_normal(2, 0), exposure=10_000, stage=4)
    for _ in range(4):
        one.samples.add(HIGH, Arm.CANDIDATE, 0, [5], [1])
        one.samples.pass_time(5.0)
    assert "validity/HIGH" not in verdicts(one)
