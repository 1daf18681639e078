"""bench.machine: what is read from the system."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import machine


def test_steal_is_the_eighth_field_and_guest_time_is_not_counted_twice() -> None:
    before = machine.parse_cpu_line("cpu  100 0 100 700 0 0 0 100 50 0")
    after = machine.parse_cpu_line("cpu  150 0 150 780 0 0 0 120 99 0")
    assert before == machine.CpuTimes(1000, 100, 700)
    assert machine.shares(before, after) == {"steal": 0.1, "idle": 0.4}


def test_unknown_times_have_unknown_shares() -> None:
    assert machine.shares(None, None) == {"steal": None, "idle": None}


def test_usage_counts_this_process_and_nothing_for_one_that_is_gone() -> None:
    assert machine.usage_of(os.getpid()).rss_bytes > 0
    assert machine.usage_of(2**22 + 1) == machine.NO_USAGE
    assert sum([machine.Usage(1.0, 2), machine.Usage(3.0, 4)], machine.NO_USAGE) == machine.Usage(4.0, 6)


def test_children_belong_to_the_family() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        family = machine.family({"me": os.getpid(), "gone": 2**22 + 1})
        assert family["me"] == os.getpid()
        assert child.pid in family.values()
        child.communicate()


def test_facts_name_the_machine() -> None:
    facts = machine.facts()
    assert facts["cpu"]
    assert facts["cores"] == os.cpu_count()
    assert "protobuf" in facts["versions"]
