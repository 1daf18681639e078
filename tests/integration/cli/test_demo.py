"""`lanecast demo` with the real examples."""

from __future__ import annotations

import json
import os
import select
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lanecast.cli.commands import demo
from lanecast.core import exit_codes
from lanecast.errors import ConfigError

from .conftest import Command, Start
from .test_up import ANY_PORTS


def test_the_system_and_an_example_in_one_and_nothing_is_left_behind(
    lanecast: Command, background: Start, tmp_path: Path
) -> None:
    system = background(
        "lanecast.cli", "demo", "--up", "--only", "strategy", "--json", "--data-dir", "data",
        "--ready-file", "up.json", *ANY_PORTS,
    )  # fmt: skip
    target = system.until(event="up")["urls"]["publisher"]

    tail = lanecast("tail", "strategy:recommendations", "--last", "1", "--count", "1", "--json", "--target", target)

    assert tail.lines[0]["type"] == "lanecast.ai.v1.StrategyRecommendation"
    assert tail.lines[0]["lane"] == "LOW"
    assert system.stop() == exit_codes.OK, system.errors.read_text()


def test_a_slow_system_comes_with_a_rollout_that_one_call_starts(
    lanecast: Command, background: Start, tmp_path: Path
) -> None:
    options = ("--only", "strategy", "--policy", "legacy-500ms", "--json", "--data-dir", "data", *ANY_PORTS)
    system = background("lanecast.cli", "demo", "--up", *options)
    metrics = ("--metrics", system.until(event="up")["urls"]["metrics"])
    while not (drafts := lanecast("rollout", *metrics, "list", "--json").lines):
        pass

    (draft,) = drafts
    assert (draft["state"], draft["plan"]["candidatePolicy"]) == ("ROLLOUT_STATE_DRAFT", "default")
    started = lanecast("rollout", *metrics, "start", "--json")
    assert started.lines[0]["state"] == "ROLLOUT_STATE_STARTING", started.err
    assert system.stop() == exit_codes.OK, system.errors.read_text()


def test_a_plain_demo_comes_with_a_harmful_candidate_that_a_click_starts(background: Start, tmp_path: Path) -> None:
    system = background(
        "lanecast.cli", "demo", "--up", "--only", "strategy", "--json", "--data-dir", "data", *ANY_PORTS
    )
    rollouts = f"{system.until(event='up')['urls']['dashboard']}api/v1/websocket-performance/rollouts"

    def ask(url: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    while not (drafts := ask(rollouts)["rollouts"]):
        pass
    (draft,) = drafts
    assert (draft["state"], draft["reason"]) == ("ROLLOUT_STATE_DRAFT", "a harmful candidate: it goes back by itself")
    assert (draft["plan"]["baselinePolicy"], draft["plan"]["candidatePolicy"]) == ("default", "legacy-500ms")
    started = ask(f"{rollouts}/{draft['id']}/start", b"{}")["rollout"]
    assert (started["state"], started["reason"]) == ("ROLLOUT_STATE_STARTING", "someone at 127.0.0.1 asked to start")
    assert system.stop() == exit_codes.OK, system.errors.read_text()


def test_somebody_listens_to_the_channels_that_rollouts_are_judged_by(background: Start, tmp_path: Path) -> None:
    only = ("--only", "audience", "--only", "analytics")
    system = background("lanecast.cli", "demo", "--up", *only, "--json", "--data-dir", "data", *ANY_PORTS)
    url = f"{system.until(event='up')['urls']['dashboard']}api/v1/websocket-performance/rollouts/validate"
    body = json.dumps({"plan": {"baselinePolicy": "default", "candidatePolicy": "legacy-500ms", "objective": 0.9}})
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})

    def stages() -> list[dict[str, Any]]:
        with urllib.request.urlopen(request) as answer:
            found: list[dict[str, Any]] = json.load(answer)["stages"]
        return found

    while not all(stage.get("expectedDuration") for stage in stages()):  # there are channels, and deliveries
        pass
    assert system.stop() == exit_codes.OK, system.errors.read_text()


def test_a_policy_without_a_system_is_refused(lanecast: Command) -> None:
    result = lanecast("demo", "--policy", "default")

    assert result.code == exit_codes.USAGE
    assert "add --up" in result.err


def test_an_example_ends_with_its_supervisor_however_that_ends(
    lanecast: Command, background: Start, publisher: str
) -> None:
    examples = background("lanecast.cli", "demo", "--only", "strategy", "--json", "--target", publisher)
    channel = ("strategy:recommendations", "--last", "1", "--count", "1", "--json", "--target", publisher)
    assert lanecast("tail", *channel).code == exit_codes.OK
    (child,) = Path(f"/proc/{examples.process.pid}/task/{examples.process.pid}/children").read_text().split()
    watch = os.pidfd_open(int(child))

    examples.process.send_signal(signal.SIGKILL)

    try:
        assert select.select([watch], [], [], 30)[0], "the example outlived its supervisor"
    finally:
        os.close(watch)


def test_nobody_to_publish_to_ends_with_three(lanecast: Command) -> None:
    result = lanecast("demo", "--target", "127.0.0.1:1")

    assert result.code == exit_codes.UNAVAILABLE
    assert "lanecast up" in result.err


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NEEDED", ("json", "no_such_library"))

    with pytest.raises(ConfigError, match=r"need no_such_library: .*`pip install 'lanecast\[examples\]'"):
        demo.check_extra()


def test_all_examples_are_found_in_a_checkout() -> None:
    assert list(demo.find_examples(demo.NAMES)) == ["concierge", "bots", "analytics", "strategy", "audience"]


def test_an_installation_without_examples_says_so() -> None:
    with pytest.raises(ConfigError, match="not part of this installation"):
        demo.find_examples(("no-such-example",))
