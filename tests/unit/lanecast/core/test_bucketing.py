"""Buckets are pure, evenly filled and monotone; controls are concurrent and as large as candidates."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.bucketing import BUCKETS, PARTS, Arm, arm_of, bucket, control_floor, part
from lanecast.v1 import event_pb2

EXPOSURES = (0, 1, 1_000, 2_500, 5_000, 7_500, 9_999, 10_000)


def test_buckets_of_known_channels_never_change() -> None:
    # Computed with another implementation of murmur3_32: publishers of all versions must agree.
    assert [bucket("s", name) for name in ("agent:42", "bots:handoffs", "é")] == [
        _m3("s:agent:42"),
        _m3("s:bots:handoffs"),
        _m3("s:é"),
    ]


def _m3(text: str) -> int:
    data, mask = text.encode(), 0xFFFFFFFF
    h = 0
    whole = len(data) // 4 * 4

    def mix(k: int) -> int:
        k = k * 0xCC9E2D51 & mask
        return ((k << 15 | k >> 17) & mask) * 0x1B873593 & mask

    for at in range(0, whole, 4):
        h ^= mix(int.from_bytes(data[at : at + 4], "little"))
        h = ((h << 13 | h >> 19) & mask) * 5 + 0xE6546B64 & mask
    if data[whole:]:
        h ^= mix(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & mask
    h = (h ^ h >> 13) * 0xC2B2AE35 & mask
    return (h ^ h >> 16) % BUCKETS


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(EXPOSURES), st.sampled_from(EXPOSURES))
def test_a_candidate_stays_one_when_exposure_grows(salt: str, channel: str, one: int, other: int) -> None:
    number = bucket(salt, channel)
    assert 0 <= number < BUCKETS
    low, high = sorted((one, other))
    if arm_of(number, low) is Arm.CANDIDATE:
        assert arm_of(number, high) is Arm.CANDIDATE


def test_the_control_is_as_large_as_the_candidate_and_then_what_is_left() -> None:
    for exposure in EXPOSURES:
        arms = Counter(arm_of(number, exposure) for number in range(BUCKETS))
        assert arms[Arm.CANDIDATE] == exposure
        if not exposure:
            assert arms[Arm.CONTROL] == BUCKETS
        else:
            assert arms[Arm.CONTROL] == min(exposure, BUCKETS - exposure)
        assert all(
            arm_of(number, exposure) is Arm.CONTROL for number in range(max(exposure, control_floor(exposure)), BUCKETS)
        )


def test_controls_are_kept_while_there_is_room() -> None:
    controls = [{n for n in range(BUCKETS) if arm_of(n, p) is Arm.CONTROL} for p in (1_000, 2_500, 5_000)]
    assert controls[0] < controls[1] < controls[2]


def test_a_pinned_channel_is_in_neither_arm() -> None:
    assert {arm_of(number, p, pinned=True) for number in (0, 9_999) for p in EXPOSURES} == {Arm.REST}


def test_channels_spread_evenly_over_buckets_and_parts_and_these_are_independent() -> None:
    names = [f"agent:{number}" for number in range(20_000)]
    tenths = Counter(bucket("r1", name) // 1_000 for name in names)
    assert all(1_800 < count < 2_200 for count in tenths.values())
    parts = Counter(part(name) for name in names)
    assert len(parts) == PARTS
    assert all(850 < count < 1_150 for count in parts.values())
    among_candidates = Counter(part(name) for name in names if bucket("r1", name) < 1_000)
    assert len(among_candidates) == PARTS
    assert max(among_candidates.values()) < 3 * min(among_candidates.values())


def test_another_salt_gives_another_first_tenth() -> None:
    names = [f"agent:{number}" for number in range(5_000)]
    first, second = ({name for name in names if bucket(salt, name) < 1_000} for salt in ("r1", "r2"))
    assert len(first & second) < 0.2 * len(first)


def test_arms_have_the_numbers_of_the_contract() -> None:
    assert (Arm.REST, Arm.CONTROL, Arm.CANDIDATE) == (
        event_pb2.ARM_UNSPECIFIED, event_pb2.ARM_BASELINE, event_pb2.ARM_CANDIDATE,
    )  # fmt: skip
