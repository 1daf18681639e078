"""`lanecast top`, `report`, `perf-test`, `channels` and `sessions` against services of their own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from lanecast import Priority, Publisher
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import exit_codes

from .conftest import Background, Command, Start, clean_environ

NOWHERE = "127.0.0.1:1"
_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def metrics(background: Start, tmp_path: Path) -> tuple[str, Background]:
    """The address of a running metrics service, with a publisher and a gateway that report to it."""
    shared = {"LANECAST_DATA_DIR": str(tmp_path / "data"), "LANECAST_LOG_LEVEL": "INFO"}
    publisher = background("publisher_svc", LANECAST_PUBLISHER_PORT="0", **shared)
    address = str(publisher.until(ready="publisher")["address"])
    gateway = background("gateway_svc", LANECAST_GATEWAY_PORT="0", LANECAST_GATEWAY_PUBLISHER_TARGETS=address, **shared)
    edge = str(gateway.until(ready="gateway")["address"])
    service = background(
        "metrics_svc",
        LANECAST_METRICS_PORT="0",
        LANECAST_METRICS_HTTP_PORT="0",
        LANECAST_METRICS_GATEWAY_URLS=f"ws://{edge}/v1/ws",
        LANECAST_METRICS_PUBLISHER_TARGETS=address,
        **shared,
    )
    return str(service.until(ready="metrics")["address"]), service


def test_a_performance_test_shows_progress_and_a_result(lanecast: Command, metrics: tuple[str, Background]) -> None:
    target, _ = metrics
    options = ("--metrics", target, "--rate", "100", "--duration", "1s", "--subscribers", "2", "--mix", "LOW=1")
    done = lanecast("perf-test", *options)
    assert done.code in {exit_codes.OK, exit_codes.FAILED}  # the grade depends on how busy the machine is
    assert "sent 100, received 100, lost 0, twice 0, refused 0" in done.out
    assert "received" in done.err
    lines = lanecast("perf-test", *options, "--json").lines
    assert lines[-1]["grade"].startswith("GRADE_")
    assert lines[-1]["received"] == "100"
    assert lanecast("perf-test", "--metrics", target, "--mix", "LOW").code == exit_codes.USAGE
    refused = lanecast("perf-test", "--metrics", target, "--duration", "1h")
    assert (refused.code, refused.err) == (
        exit_codes.FAILED,
        "lanecast: duration is 3,600 s: use 1 to 600 s\n",
    )


def test_reports_are_printed_and_written(lanecast: Command, metrics: tuple[str, Background], tmp_path: Path) -> None:
    target, _ = metrics
    done = lanecast("report", "--metrics", target, "--title", "Friday")
    assert done.out.startswith("# Friday\n")
    assert lanecast("report", "--metrics", target, "--sla", "-o", "sla.html").err == "lanecast: wrote sla.html\n"
    assert (tmp_path / "sla.html").read_text().startswith("<!doctype html>")
    facts = json.loads(lanecast("report", "--metrics", target, "--since", "1h", "--format", "json").out)
    assert facts["period"]["end"] - facts["period"]["start"] in {3600, 3601}
    assert lanecast("report", "--metrics", target, "--since", "1h", "--until", "2h").code == exit_codes.USAGE
    assert lanecast("report", "--metrics", target, "-o", "missing/r.md").code == exit_codes.USAGE


def test_channels_and_sessions_are_listed(lanecast: Command, background: Start, tmp_path: Path) -> None:
    shared = {"LANECAST_DATA_DIR": str(tmp_path / "data")}
    service = background("metrics_svc", LANECAST_METRICS_PORT="0", LANECAST_METRICS_HTTP_PORT="0", **shared)
    target = str(service.until(ready="metrics")["address"])
    publisher = background(
        "publisher_svc",
        LANECAST_PUBLISHER_PORT="0",
        LANECAST_DATA_DIR=str(tmp_path / "data"),
        LANECAST_METRICS_TARGET=target,
    )
    with Publisher(str(publisher.until(ready="publisher")["address"])) as client:
        client.publish("agent:42", ConciergeInsight(text="hello"), priority=Priority.CRITICAL)
    while not (found := lanecast("channels", "--metrics", target, "--json").lines):
        pass  # the publisher has not attached itself yet
    assert found[0]["channel"] == "agent:42"
    assert lanecast("channels", "--metrics", target).out.splitlines()[1].split()[0] == "agent:42"
    assert lanecast("sessions", "--metrics", target).out == "no session is open\n"
    gone = lanecast("sessions", "--metrics", target, "disconnect", "0" * 32)
    assert (gone.code, gone.err) == (
        exit_codes.FAILED,
        "lanecast: no gateway has this session: it may have ended already\n",
    )
    wrong = lanecast("sessions", "disconnect", "x", "--metrics", target)
    assert "'x' is no session id" in wrong.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("top", "--once"),
        ("top", "--json"),
        ("report",),
        ("perf-test",),
        ("channels",),
        ("sessions",),
        ("sessions", "disconnect", "x"),
        ("alerts", "list"),
        ("alerts", "watch"),
        ("alerts", "ack", "x"),
        ("rollout", "list"),
        ("rollout", "watch", "--plain"),
        ("rollout", "policy", "list"),
    ],
    ids=" ".join,
)
def test_without_a_metrics_service_the_sentence_says_what_to_do(lanecast: Command, arguments: tuple[str, ...]) -> None:
    done = lanecast(*arguments, LANECAST_METRICS_TARGET=NOWHERE)
    assert done.code == exit_codes.UNAVAILABLE
    assert done.err == (
        f"lanecast: no metrics service answers at {NOWHERE}: start one with `lanecast up`, or name its address with"
        " --metrics\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("alerts", "--metrics", NOWHERE, "list"),
        ("alerts", "--metrics", "127.0.0.1:2", "list", "--metrics", NOWHERE),
        ("rollout", "--metrics", NOWHERE, "policy", "list"),
        ("rollout", "policy", "list", "--metrics", NOWHERE),
    ],
    ids=" ".join,
)
def test_the_address_stands_before_a_subcommand_or_behind_it(lanecast: Command, arguments: tuple[str, ...]) -> None:
    done = lanecast(*arguments, LANECAST_METRICS_TARGET="127.0.0.1:2")
    assert done.code == exit_codes.UNAVAILABLE
    assert f"no metrics service answers at {NOWHERE}:" in done.err


def test_top_once_and_json(lanecast: Command, metrics: tuple[str, Background]) -> None:
    target, _ = metrics
    shown = lanecast("top", "--metrics", target, "--once", COLUMNS="80")
    assert shown.out.splitlines()[0].startswith("grade ")
    assert all(len(line) <= 80 for line in shown.out.splitlines())
    facts = lanecast("top", "--metrics", target, "--once", "--json", "--types").lines[0]
    assert facts["status"]["lanes"][0]["lane"] == "PRIORITY_CRITICAL"
    assert lanecast("top", "--metrics", target, "--window", "60d").code == exit_codes.USAGE


def test_top_on_a_terminal_takes_keys_and_gives_the_terminal_back(
    metrics: tuple[str, Background], tmp_path: Path
) -> None:
    target, service = metrics
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [sys.executable, "-m", "lanecast.cli", "top", "--metrics", target, "--interval", "200ms"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env={**clean_environ(TERM="xterm"), "COLUMNS": "80", "LINES": "24"},
    )
    screen = _Screen(controller)
    try:
        screen.until("last 1 min")
        for key, shown in ((b"w", "last 5 min"), (b"t", "event type"), (b" ", "paused")):
            os.write(controller, key)
            screen.until(shown)
        os.write(controller, b" ")
        service.stop()
        screen.until("these figures are ")
        os.write(controller, b"q")
        assert process.wait() == exit_codes.OK
        assert termios.tcgetattr(terminal) == before
    finally:
        process.kill()
        process.wait()
        os.close(controller)
        os.close(terminal)


class _Screen:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def until(self, text: str) -> None:
        """Read until a text is shown; the test's own time limit ends a wait for what never comes."""
        seen = ""
        while text not in _STYLES.sub("", seen):
            select.select([self._descriptor], [], [])
            seen += os.read(self._descriptor, 65_536).decode(errors="replace")
