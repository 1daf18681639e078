"""A rollout over real processes: crashes at any time never expose more, and every event comes once and in order."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from bench import rollout_system as harness
from lanecast.v1 import rollout_pb2 as pb
from lanecast.v1.event_pb2 import ARM_CANDIDATE

CHANNELS, RATE = 200, 600.0


@pytest.mark.timeout(120)
async def test_crashes_never_expose_more_and_the_way_back_is_whole(tmp_path: Path) -> None:
    async with harness.running(tmp_path, "default", CHANNELS, RATE) as (system, operator, checker, _traffic):
        plan = harness.plan("default", "quick", (10, 100), look=0.6, least=60)
        name = await operator.create(plan, harness.quick("quick"))
        checker.salt = name
        started = await operator.ask("start", name, reason="trying")
        await system.kill("metrics")
        await system.start("metrics")
        assert (await operator.until(name, {"STARTING"})).exposure_basis_points == 0
        await operator.until(name, {"SETTLING", "ANALYSING"})

        await system.kill("metrics")
        await system.start("metrics")
        again = await operator.until(name, {"SETTLING", "ANALYSING"})
        assert again.exposure_basis_points == 1_000
        assert again.version > started.version

        await system.kill("publisher")
        await system.start("publisher")
        await operator.until(name, {"ANALYSING"})

        await system.kill("metrics")
        await system.kill("publisher")
        await system.start("publisher")
        await system.start("metrics")
        await operator.until(name, {"ANALYSING"})
        assert (await operator.get(name)).exposure_basis_points == 1_000

        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await operator.ask("approve", name)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "pause, advance, rollback" in str(refusal.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as stale:
            await operator.ask("rollback", name, expected_version=started.version)
        assert stale.value.code() is grpc.StatusCode.ABORTED

        first = await operator.ask("rollback", name, reason="enough", request_id="once")
        again = await operator.ask("rollback", name, request_id="once")  # the controller may have gone on meanwhile
        assert again.version >= first.version
        assert again.state != first.state or again.version == first.version
        back = await operator.until(name, {"ROLLED_BACK"})
        assert harness.state_of(back) == "ROLLED_BACK"
        answer = await operator.call("ListRolloutHistory", pb.ListRolloutHistoryRequest(id=name))
        report = await operator.call("GetRolloutReport", pb.GetRolloutReportRequest(id=name))
    assert checker.problems == []
    assert 0 <= max(checker.highest_candidate.values()) < 1_000
    assert not any(arm == ARM_CANDIDATE for generation, arm in checker.arms if generation == back.generation)
    kinds = [entry.kind for entry in answer.entries]
    assert kinds[0] == "created"
    assert [entry.number for entry in answer.entries] == sorted(entry.number for entry in answer.entries)
    assert sum("restarted" in entry.reason for entry in answer.entries) == 3
    assert "from decision to last candidate event" in report.markdown
    assert report.html.startswith("<!doctype html>")
