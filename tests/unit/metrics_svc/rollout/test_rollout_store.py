"""The history is appended to and nothing else, by one process at a time."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from lanecast.core.policy import DEFAULT, Policy
from lanecast.errors import StartError
from metrics_svc.core.rollout.history import CREATED, NOTED, Entry, fold, plan_data
from metrics_svc.core.rollout.model import Plan
from metrics_svc.rollout.store import FILE, FencedError, RolloutStore, StoredPolicy

CREATION = Entry("r1", CREATED, 1, {"plan": plan_data(Plan("legacy-500ms", "default"))}, "ann", "why", "request-1")


def test_what_was_written_comes_back_from_another_process(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    store.append([CREATION, Entry("r1", NOTED, 2), Entry("r2", CREATED, 3, CREATION.data)])
    store.close()
    again = RolloutStore(tmp_path)
    entries = [numbered.entry for numbered in again.history("r1")]
    assert entries[0] == CREATION
    assert fold(entries).plan == Plan("legacy-500ms", "default")
    assert [numbered.number for numbered in again.history(after=1, limit=1)] == [2]
    assert again.find_request("request-1") == CREATION
    assert again.find_request("request-2") is None
    again.close()


def test_nothing_can_be_changed_or_removed(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    store.append([CREATION])
    store.add_policy(StoredPolicy(Policy("mine", dict(DEFAULT.lanes)), "mine", 5))
    store.close()
    with apsw.Connection(str(tmp_path / FILE)) as db:
        for statement in (
            "UPDATE history SET actor = 'eve'",
            "DELETE FROM history",
            "UPDATE policies SET settings = ''",
        ):
            with pytest.raises(apsw.ConstraintError):
                db.execute(statement)


def test_a_request_is_written_once(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    store.append([CREATION])
    with pytest.raises(apsw.ConstraintError):
        store.append([Entry("r2", NOTED, 2), Entry("r3", CREATED, 2, CREATION.data, request_id="request-1")])
    assert len(store.history()) == 1
    store.close()


def test_the_older_of_two_controllers_writes_no_more(tmp_path: Path) -> None:
    older = RolloutStore(tmp_path)
    older.append([CREATION])
    newer = RolloutStore(tmp_path)
    with pytest.raises(FencedError):
        older.append([Entry("r1", NOTED, 2)])
    newer.append([Entry("r1", NOTED, 3)])
    assert [numbered.entry.time_ns for numbered in older.history()] == [1, 3]
    older.close()
    newer.close()


def test_policies_come_back_with_the_built_in_ones(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    mine = StoredPolicy(Policy("mine", dict(DEFAULT.lanes)), "a try", 5)
    store.add_policy(mine)
    store.close()
    again = RolloutStore(tmp_path)
    assert list(again.policies()) == ["default", "legacy-500ms", "mine"]
    assert again.policies()["mine"] == mine
    assert again.policies()["mine"].policy.digest == DEFAULT.digest
    again.close()


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    RolloutStore(tmp_path).close()
    with apsw.Connection(str(tmp_path / FILE)) as db:
        db.pragma("user_version", 99)
    with pytest.raises(StartError, match="newer Lanecast"):
        RolloutStore(tmp_path)
