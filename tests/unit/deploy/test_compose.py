"""docker-compose.yml and the container file, as far as they can be checked without an engine.

What is relied on of the Compose specification is checked by name; the names of variables, modules, options and ports
are checked against the sources that define them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_svc.config import GatewayConfig
from lanecast.cli.commands import demo, health
from lanecast.cli.options import DEFAULT_TARGET
from lanecast.runtime import config
from metrics_svc.config import MetricsConfig
from publisher_svc.config import PublisherConfig

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIGS = {"publisher": PublisherConfig, "gateway": GatewayConfig, "metrics": MetricsConfig}
STEPS = [
    line.split(maxsplit=1) for line in (ROOT / "deploy/Containerfile").read_text().splitlines() if line[:1].isupper()
]
# Of https://github.com/compose-spec/compose-spec/blob/main/spec.md
TOP_LEVEL = {"name", "services", "networks", "volumes"}
OF_A_SERVICE = {
    "image", "build", "restart", "stop_grace_period", "read_only", "cap_drop", "security_opt", "tmpfs",
    "ulimits", "volumes", "networks", "command", "environment", "ports", "healthcheck", "depends_on",
}  # fmt: skip
OF_A_HEALTHCHECK = {"test", "interval", "timeout", "retries", "start_period"}


def load(name: str) -> Any:
    """The configuration that a service makes of its environment in the container."""
    environ = {**image_environ(), **SERVICES[name]["environment"]}
    return config.load(CONFIGS[name], name, {key: str(value) for key, value in environ.items()})


def image_environ() -> dict[str, str]:
    text = (ROOT / "deploy/Containerfile").read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("ENV "))
    return dict(pair.split("=", 1) for pair in line.removeprefix("ENV ").split())


def published_ports(name: str) -> dict[int, int]:
    return {
        int(host): int(inner) for _, host, inner in (port.rsplit(":", 2) for port in SERVICES[name].get("ports", ()))
    }


def test_only_keys_of_the_specification_are_used() -> None:
    assert set(COMPOSE) - TOP_LEVEL == {"x-service"}
    for service in SERVICES.values():
        assert set(service) <= OF_A_SERVICE
        assert set(service["healthcheck"]) == OF_A_HEALTHCHECK
        assert set(service["build"]) == {"context", "dockerfile", "target"}


def test_there_is_one_container_for_each_service_and_one_for_the_examples() -> None:
    assert set(SERVICES) == {"publisher", "gateway", "metrics", "examples"}
    for name in CONFIGS:
        assert SERVICES[name]["command"] == ["python", "-m", f"{name}_svc"]
        assert (ROOT / f"{name}_svc" / "__main__.py").is_file()
    assert SERVICES["examples"]["command"] == ["lanecast", demo.command.name]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_variable_is_one_that_the_service_reads(name: str) -> None:
    known = {config.variable(name, item) for item in fields(CONFIGS[name])} | {"LANECAST_METRICS_TARGET"}

    assert set(SERVICES[name]["environment"]) <= known


def test_the_examples_are_told_the_target_by_the_variable_of_the_option() -> None:
    (target,) = (option for option in demo.command.params if option.name == "target")

    assert list(SERVICES["examples"]["environment"]) == [target.envvar]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_service_listens_where_the_others_reach_it(name: str) -> None:
    settings = load(name)

    assert settings.host == "0.0.0.0"
    listened = {settings.port, getattr(settings, "http_port", settings.port)}
    assert set(published_ports(name).values()) == listened


def test_the_services_find_one_another() -> None:
    publisher, gateway, metrics = load("publisher"), load("gateway"), load("metrics")

    assert gateway.publisher_targets == (f"publisher:{publisher.port}",)
    assert publisher.metrics_target == gateway.metrics_target == f"metrics:{metrics.port}"
    assert SERVICES["examples"]["environment"]["LANECAST_TARGET"] == f"publisher:{publisher.port}"
    assert DEFAULT_TARGET.endswith(f":{publisher.port}")


def test_the_page_reaches_the_gateway_and_is_let_in() -> None:
    gateway, metrics = load("gateway"), load("metrics")
    (host_port,) = published_ports("gateway")
    (page_port,) = (host for host, inner in published_ports("metrics").items() if inner == metrics.http_port)

    assert metrics.gateway_urls == (f"ws://127.0.0.1:{host_port}/v1/ws",)
    assert gateway.allowed_origins == (f"http://127.0.0.1:{page_port}", f"http://localhost:{page_port}")
    (subnet,) = (entry["subnet"] for entry in COMPOSE["networks"]["lanecast"]["ipam"]["config"])
    assert metrics.session_networks == metrics.operator_networks == (subnet,)
    assert ipaddress.ip_network(subnet).is_private


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_the_health_check_is_a_command_that_exists_and_asks_a_port_that_is_listened_on(name: str) -> None:
    kind, program, command, *options = SERVICES[name]["healthcheck"]["test"]

    assert (kind, program, command) == ("CMD", "lanecast", health.command.name)
    context = health.command.make_context("health", list(options))
    places = [*context.params["targets"], *context.params["urls"]]
    own = set(published_ports(name).values()) or {load("publisher").port}
    assert places
    assert {int(place.removesuffix("/readyz").removesuffix("/healthz").rpartition(":")[2]) for place in places} <= own


def test_all_services_share_the_one_volume_at_the_data_directory_of_the_image() -> None:
    assert set(COMPOSE["volumes"]) == {"data"}
    for name in CONFIGS:
        assert SERVICES[name]["volumes"] == [f"data:{load(name).data_dir}"]
    assert SERVICES["examples"]["volumes"] == []


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_privileges_and_time_to_drain(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name in CONFIGS:
        assert float(service["stop_grace_period"].removesuffix("s")) > load(name).drain_seconds


def test_whoever_is_waited_for_is_a_service_with_a_health_check() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert SERVICES[other]["healthcheck"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_image_is_a_stage_of_the_container_file(name: str) -> None:
    build = SERVICES[name]["build"]
    stages = [rest.split(" AS ")[1] for step, rest in STEPS if step == "FROM"]

    assert (ROOT / build["dockerfile"]).is_file()
    assert build["target"] in stages


def test_the_containers_run_as_an_ordinary_user() -> None:
    ends = {}
    stage = ""
    for step, rest in STEPS:
        if step == "FROM":
            origin, stage = rest.split(" AS ")
            ends[stage] = ends.get(origin, "root")
        elif step == "USER":
            ends[stage] = rest

    assert ends["runtime"] == ends["examples"] == "lanecast"


def test_what_is_copied_into_the_build_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [rest.split()[:-1] for step, rest in STEPS if step == "COPY" and not rest.startswith("--from")]

    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert f"!{path.rstrip('/')}" in ignored, path


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        assert not [name for name in service["environment"] if "KEY" in name or "TOKEN" in name or "SECRET" in name]
