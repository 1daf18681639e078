"""The preset `demo` of the command line and of the dashboard are one plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToDict

from lanecast.cli import rollouts
from lanecast.cli.commands.rollout import command
from lanecast.v1 import rollout_pb2 as pb

DASHBOARD = Path(__file__).parents[4] / "web/apps/dashboard/src/data/demo-plan.json"


def test_the_dashboard_offers_the_plan_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[pb.RolloutPlan] = []

    async def create(_target: str, plan: pb.RolloutPlan, *_: Any) -> pb.Rollout:
        asked.append(plan)
        return pb.Rollout(plan=plan)

    monkeypatch.setattr(rollouts, "create", create)
    words = ["create", "--from", "legacy-500ms", "--to", "default", "--preset", "demo"]
    result = CliRunner().invoke(command, words, catch_exceptions=False)

    assert result.exit_code == 0, result.output
    assert MessageToDict(asked[0]) == json.loads(DASHBOARD.read_text(encoding="utf-8"))
