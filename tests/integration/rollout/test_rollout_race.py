"""Two operators act on the same version at the same time, one over gRPC and one over HTTP: one wins, one is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from rollout_agent import metrics_with_agent, started

from bench import rollout_system as harness
from lanecast.v1 import rollout_pb2 as pb

ROUNDS = 10


class HttpOperator:
    """Asks for verbs over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self._base = session, base

    async def ask(self, verb: str, name: str, version: int, actor: str = "") -> tuple[int, dict[str, Any]]:
        body = {"context": {"expectedVersion": str(version), **({"actor": actor} if actor else {})}}
        async with self._session.post(f"{self._base}/{name}/{verb}", json=body) as answer:
            found: dict[str, Any] = await answer.json()
            return answer.status, found


async def _over_grpc(operator: harness.Operator, verb: str, name: str, version: int) -> str:
    try:
        await operator.ask(verb, name, expected_version=version)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:
            raise
        return str(error.details())
    return ""


async def _over_http(operator: HttpOperator, verb: str, name: str, version: int) -> str:
    status, answer = await operator.ask(verb, name, version, "ann")
    if status == 200:
        return ""
    assert status == 409
    return json.dumps(answer)


async def test_of_two_operators_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    async with metrics_with_agent(tmp_path) as (system, operator, _agent), aiohttp.ClientSession() as session:
        base = f"http://{system.address('http')}/api/v1/websocket-performance/rollouts"
        other = HttpOperator(session, base)
        name = await operator.create(harness.plan("default", "legacy-500ms", (10, 100)))
        rollout = await started(operator, name)
        for number in range(ROUNDS):
            verb, seen = ("resume", "pause")[harness.state_of(rollout) == "STARTING"], rollout.version
            asks = [_over_grpc(operator, verb, name, seen), _over_http(other, verb, name, seen)]
            refused = await asyncio.gather(*(asks if number % 2 else reversed(asks)))
            told = [text for text in refused if text]
            assert len(told) == 1, refused
            assert f"the rollout has changed since you saw it (version {seen}, now {seen + 2})" in told[0]
            rollout = await operator.get(name)
            assert rollout.version == seen + 2

        answer = await operator.call("ListRolloutHistory", pb.ListRolloutHistoryRequest(id=name))
        asked = [entry for entry in answer.entries if entry.kind == "verb"]
        assert len(asked) == 1 + ROUNDS
        assert {entry.actor for entry in asked} <= {"ann", "bench"}


async def test_who_gives_no_name_is_recorded_by_address_and_an_illegal_verb_names_the_legal(tmp_path: Path) -> None:
    async with metrics_with_agent(tmp_path) as (system, operator, _agent), aiohttp.ClientSession() as session:
        other = HttpOperator(session, f"http://{system.address('http')}/api/v1/websocket-performance/rollouts")
        name = await operator.create(harness.plan("default", "legacy-500ms", (10, 100)))
        status, answer = await other.ask("rollback", name, 0)
        assert (status, "legal now are start, cancel" in json.dumps(answer)) == (409, True), answer
        status, answer = await other.ask("cancel", name, 0)
        assert (status, answer["rollout"]["reason"]) == (200, "someone at 127.0.0.1 asked to cancel")
        again = await operator.create(harness.plan("default", "legacy-500ms", (100,)))
        cancelled = await operator.call("CancelRollout", pb.CancelRolloutRequest(id=again))
        assert cancelled.rollout.reason == "someone at 127.0.0.1 asked to cancel"
