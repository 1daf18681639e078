"""bench.machine: what is read from the system."""

from __future__ import annotations

import os

from bench import machine


def test_steal_is_the_eighth_field_and_guest_time_is_not_counted_twice() -> None:
    before = machine.parse_cpu_line("cpu  100 0 100 700 0 0 0 100 50 0")
    after = machine.parse_cpu_line("cpu  150 0 150 780 0 0 0 120 99 0")
    assert before == machine.CpuTimes(1000, 100, 700)
    assert machine.shares(before, after) == {"steal": 0.1, "idle": 0.4}


def test_unknown_times_have_unknown_shares() -> None:
    assert machine.shares(None, None) == {"steal": None, "idle": None}


def test_usage_counts_this_process_and_nothing_for_one_that_is_gone() -> None:
    mine = machine.usage([os.getpid()])
    assert mine.rss_bytes > 0
    assert machine.usage([2**22 + 1]) == machine.Usage(0.0, 0)


def test_facts_name_the_machine() -> None:
    facts = machine.facts()
    assert facts["cpu"]
    assert facts["cores"] == os.cpu_count()
    assert "protobuf" in facts["versions"]
