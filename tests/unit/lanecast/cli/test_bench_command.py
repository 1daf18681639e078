"""lanecast bench: options and what is said where it cannot run."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from lanecast.cli.main import main
from lanecast.core import exit_codes


def test_scenarios_and_peers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == exit_codes.OK
    printed = capsys.readouterr().out
    assert "headline" in printed
    assert "nats-server" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "no-such-scenario"], "there is no scenario no-such-scenario: use one of"),
        (["run", "first", "--peers", "kafka"], "unknown peer kafka: use nats"),
        (["run", "first", "--peers", "none", "--no-lanecast"], "nothing to measure"),
        (["sweep", "first", "--p99", "fast"], "p99"),
    ],
)
def test_wrong_options_are_told_in_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == exit_codes.USAGE
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed


def test_outside_a_checkout_it_says_where_to_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec

    def without_bench(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name.startswith("bench") else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_bench)
    assert main(["bench", "list"]) == exit_codes.USAGE
    assert "clone the repository" in capsys.readouterr().err


def test_faults_are_listed_by_their_own_program(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults", "--list"]) == exit_codes.OK
    assert "publisher-killed" in capfd.readouterr().out
    assert main(["bench", "faults", "--only", "no-such-fault"]) == exit_codes.USAGE
    assert "there is no scenario no-such-fault" in capfd.readouterr().err
