"""What holds for every command: help, exit codes, errors in one sentence."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lanecast.cli.main import COMMANDS
from lanecast.core import exit_codes

from .conftest import Command, Start, clean_environ, insight


def test_help_lists_commands_and_exit_codes(lanecast: Command) -> None:
    result = lanecast("--help")

    assert result.code == exit_codes.OK
    for name in ("up", "demo", "publish", "tail", "token", "types"):
        assert f"\n  {name} " in result.out
    assert "Exit codes:" in result.out
    for code in (exit_codes.FAILED, exit_codes.USAGE, exit_codes.UNAVAILABLE, exit_codes.CANNOT_START):
        assert f"\n      {code}  " in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(lanecast: Command, name: str) -> None:
    result = lanecast(name, "--help")

    assert result.code == exit_codes.OK
    assert f"lanecast {name}" in result.out
    assert "Examples:" in result.out


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from lanecast.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean_environ())

    assert {"grpc", "google.protobuf", "opentelemetry", "websockets", "rich"}.isdisjoint(done.stderr.split())


def test_version(lanecast: Command) -> None:
    from lanecast import __version__

    assert lanecast("--version").out == f"lanecast {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("up", "--nonsense"),
        ("up", "--gateways", "0"),
        ("up", "--publisher-port", "70000"),
        ("up", "--publisher-port", "7400", "--gateway-port", "7400"),
        ("up", "--config", "missing.toml"),
        ("tail",),
        ("tail", "agent:*"),
        ("tail", "agent:42", "--lanes", "URGENT"),
        ("tail", "agent:42", "--last", "3", "--all"),
        ("token",),
        ("token", "--subscribe", "a*b"),
        ("token", "--subscribe", "a", "--ttl", "soon"),
        ("token", "--subscribe", "a", "--ttl", "8d"),
        ("publish",),
        ("publish", "{", "--ndjson", "-"),
        ("publish", "not json"),
        ("publish", "--ndjson", "missing.ndjson"),
        ("health",),
        ("health", "--http", "ftp://x"),
        ("types", "--target", "nowhere"),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_two(lanecast: Command, arguments: tuple[str, ...]) -> None:
    result = lanecast(*arguments)

    assert result.code == exit_codes.USAGE, result.err
    assert result.out == ""
    assert result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("types",),
        ("tail", "agent:42"),
        ("publish", '{"channel": "a", "type": "t", "priority": "LOW", "data": {}}'),
        ("publish", "--ndjson", "-"),
        ("health", "--grpc", "127.0.0.1:1"),
    ],
)
def test_nobody_there_ends_with_three(lanecast: Command, arguments: tuple[str, ...]) -> None:
    assert lanecast(*arguments, LANECAST_TARGET="127.0.0.1:1").code == exit_codes.UNAVAILABLE


def test_the_sentence_about_nobody_there_says_what_to_do(lanecast: Command) -> None:
    result = lanecast("types", "--target", "127.0.0.1:1")

    assert result.err.count("\n") == 1
    assert "127.0.0.1:1" in result.err
    assert "lanecast up" in result.err


def test_ctrl_c_is_quiet(lanecast: Command, background: Start, publisher: str) -> None:
    lanecast("publish", "--ndjson", "-", "--target", publisher, stdin=insight(1))
    tail = background("lanecast.cli", "tail", "agent:42", "--last", "1", "--json", "--target", publisher)
    tail.until(id="e1")

    tail.process.send_signal(signal.SIGINT)

    assert tail.process.wait() == exit_codes.INTERRUPTED
    assert tail.errors.read_text().strip() == ""
