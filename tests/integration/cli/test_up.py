"""`lanecast up` with the real services."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any

import apsw
import pytest

from lanecast.core import exit_codes

from .conftest import Background, Command, Start, insight

ANY_PORTS = ("--publisher-port", "0", "--gateway-port", "0", "--metrics-port", "0", "--http-port", "0")


def up(background: Start, tmp_path: Path, *options: str, **environ: str) -> Background:
    """Start a system whose ready file is `up.json` and wait until it is up."""
    arguments = ("--data-dir", "data", "--ready-file", "up.json", "--json", *ANY_PORTS, *options)
    system = background("lanecast.cli", "up", *arguments, **environ)
    system.until(event="up")
    assert {service["service"] for service in ready_file(tmp_path)["services"]} == {"publisher", "gateway", "metrics"}
    return system


def ready_file(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "up.json").read_text())
    return content


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_everything_is_ready_and_told_in_the_ready_file(lanecast: Command, background: Start, tmp_path: Path) -> None:
    system = up(background, tmp_path, "--gateways", "2")

    content = ready_file(tmp_path)

    assert content["pid"] == system.process.pid
    assert content["data_dir"] == str(tmp_path / "data")
    assert [service["name"] for service in content["services"]] == ["publisher", "gateway-1", "gateway-2", "metrics"]
    assert all(is_alive(service["pid"]) for service in content["services"])
    addresses = {service["name"]: service["address"] for service in content["services"]}
    assert addresses["gateway-1"] == addresses["gateway-2"]
    gateway = f"http://{addresses['gateway-1']}/readyz"
    health = lanecast("health", "--grpc", addresses["publisher"], "--grpc", addresses["metrics"], "--http", gateway)
    assert health.code == exit_codes.OK, health.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_in_order_and_ends_with_zero(background: Start, tmp_path: Path, number: signal.Signals) -> None:
    system = up(background, tmp_path)
    pids = [service["pid"] for service in ready_file(tmp_path)["services"]]

    os.killpg(system.process.pid, number)

    assert system.process.wait() == exit_codes.OK
    assert not any(is_alive(pid) for pid in pids)
    assert not (tmp_path / "up.json").exists()
    log = system.errors.read_text()
    stopped = [line.split()[0] for line in log.splitlines() if line.endswith("lifecycle: stopped")]
    assert stopped == ["gateway-1", "publisher", "metrics"]


def test_a_killed_publisher_is_restarted_with_its_events_at_its_place(
    lanecast: Command, background: Start, tmp_path: Path
) -> None:
    system = up(background, tmp_path)
    before = ready_file(tmp_path)
    target = before["urls"]["publisher"]
    lanecast("publish", "--ndjson", "-", "--target", target, stdin="".join(insight(n) for n in range(50)))
    tail = background("lanecast.cli", "tail", "agent:42", "--all", "--json", "--target", target)
    received = [tail.json_line()["id"] for _ in range(50)]

    os.kill(before["services"][0]["pid"], signal.SIGKILL)
    system.until(event="died", name="publisher")
    system.until(event="ready", name="publisher")
    lanecast("publish", "--ndjson", "-", "--target", target, stdin="".join(insight(n) for n in range(40, 60)))
    received += [tail.json_line()["id"] for _ in range(10)]

    assert received == [f"e{n}" for n in range(60)]
    assert lanecast("tail", "agent:42", "--all", "--count", "60", "--json", "--target", target).code == exit_codes.OK
    assert system.stop() == exit_codes.OK


def test_the_ready_file_names_the_new_process_after_a_restart(background: Start, tmp_path: Path) -> None:
    system = up(background, tmp_path)
    before = {service["name"]: service["pid"] for service in ready_file(tmp_path)["services"]}

    os.kill(before["metrics"], signal.SIGKILL)
    announced = system.until(event="ready", name="metrics")
    os.kill(before["gateway-1"], signal.SIGKILL)  # its restart comes after the file was written for the first one
    system.until(event="ready", name="gateway-1")

    after = {service["name"]: service["pid"] for service in ready_file(tmp_path)["services"]}
    assert after["metrics"] == announced["pid"] != before["metrics"]
    assert after["publisher"] == before["publisher"]


def test_the_services_end_when_the_supervisor_is_killed(background: Start, tmp_path: Path) -> None:
    system = up(background, tmp_path)
    pids = [service["pid"] for service in ready_file(tmp_path)["services"]]
    watches = [os.pidfd_open(pid) for pid in pids]

    system.process.kill()
    system.process.wait()

    for watch in watches:
        _wait_for_end(watch)


def _wait_for_end(watch: int) -> None:
    try:
        assert select.select([watch], [], [], 30)[0], "a service outlived its supervisor"
    finally:
        os.close(watch)


def test_all_ports_in_use_are_named_at_once_and_nothing_is_started(lanecast: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0), reuse_port=True) as two:
        first, second = str(one.getsockname()[1]), str(two.getsockname()[1])

        result = lanecast("up", "--data-dir", "data", *ANY_PORTS, "--publisher-port", first, "--gateway-port", second)

    assert result.code == exit_codes.CANNOT_START
    assert f"port {first} (--publisher-port) is in use" in result.err
    assert f"port {second} (--gateway-port) is in use" in result.err
    assert result.out == ""


def test_a_data_directory_has_one_system(lanecast: Command, background: Start, tmp_path: Path) -> None:
    system = up(background, tmp_path)

    result = lanecast("up", "--data-dir", "data", *ANY_PORTS)

    assert result.code == exit_codes.CANNOT_START
    assert f"in use by `lanecast up` with process id {system.process.pid}" in result.err
    assert ready_file(tmp_path)["pid"] == system.process.pid


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/lanecast"])
def test_a_data_directory_that_cannot_be_written_is_named(lanecast: Command, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    result = lanecast("up", "--data-dir", place, *ANY_PORTS)

    assert result.code == exit_codes.CANNOT_START
    assert "--data-dir" in result.err


def test_a_service_that_is_told_nonsense_ends_everything_and_says_why(lanecast: Command) -> None:
    result = lanecast("up", "--data-dir", "data", *ANY_PORTS, LANECAST_PUBLISHER_RETENTION_HOURS="soon")

    assert result.code == exit_codes.USAGE
    assert "LANECAST_PUBLISHER_RETENTION_HOURS" in result.err
    assert "publisher ended with exit code 2 before it was ready" in result.err


def test_a_log_of_a_newer_format_ends_everything_and_says_why(
    lanecast: Command, background: Start, tmp_path: Path
) -> None:
    up(background, tmp_path).stop()
    manifest = apsw.Connection(str(tmp_path / "data" / "log" / "manifest.sqlite"))
    manifest.execute("UPDATE fact SET value = '999' WHERE name = 'format'")
    manifest.close()

    result = lanecast("up", "--data-dir", "data", *ANY_PORTS)

    assert result.code == exit_codes.CANNOT_START
    assert "has format 999" in result.err


def test_a_ready_file_without_a_directory_is_refused_before_anything_starts(lanecast: Command) -> None:
    result = lanecast("up", "--data-dir", "data", "--ready-file", "missing/up.json", *ANY_PORTS)

    assert result.code == exit_codes.CANNOT_START
    assert "create it first" in result.err


def test_option_before_environment_before_file(background: Start, tmp_path: Path) -> None:
    (tmp_path / "lanecast.toml").write_text(
        'data_dir = "from-file"\n[up]\ngateways = 3\nready_file = "from-file.json"\n'
        "[gateway]\nheartbeat_seconds = 7.0\n"
    )
    system = background(
        "lanecast.cli", "up", "--json", "--config", "lanecast.toml", *ANY_PORTS, "--ready-file", "up.json",
        LANECAST_UP_GATEWAYS="2",
    )  # fmt: skip
    system.until(event="up")

    content = ready_file(tmp_path)
    assert content["data_dir"] == str(tmp_path / "from-file")
    assert [service["service"] for service in content["services"]].count("gateway") == 2
    assert not (tmp_path / "from-file.json").exists()


def test_a_setting_that_does_not_exist_is_named(lanecast: Command, tmp_path: Path) -> None:
    (tmp_path / "lanecast.toml").write_text("[up]\ngateway = 3\n")

    result = lanecast("up", "--config", "lanecast.toml")

    assert result.code == exit_codes.USAGE
    assert "unknown setting 'gateway' under [up]" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--publishers", "2"], "several publishers must share one log"),
        (["--cluster-demo", "--log", "nats://127.0.0.1:4222"], "brings its own log"),
    ],
)
def test_publishers_without_a_log_to_share_are_refused(lanecast: Command, options: list[str], words: str) -> None:
    result = lanecast("up", *options)

    assert result.code == exit_codes.USAGE
    assert words in result.err
