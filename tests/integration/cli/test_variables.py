"""The variables by which the command line configures the services are the ones that the services read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from gateway_svc.config import GatewayConfig
from lanecast.cli.core import plan
from lanecast.cli.core.plan import SystemSettings, plan_system
from lanecast.cli.options import FILE_SETTINGS
from lanecast.runtime import config
from lanecast.runtime.lifecycle import SUPERVISED_VARIABLE
from metrics_svc.config import MetricsConfig
from publisher_svc.config import PublisherConfig

CLASSES = {"publisher": PublisherConfig, "gateway": GatewayConfig, "metrics": MetricsConfig}
OF_EVERY_PROCESS = {plan.LOG_LEVEL, plan.CONFIG_FILE, plan.SUPERVISED, plan.METRICS_TARGET}


def variables(service: str) -> set[str]:
    return {config.variable(service, item) for item in fields(CLASSES[service])}


@pytest.mark.parametrize("launch", plan_system(SystemSettings(data_dir=Path("/data"), gateways=2)))
def test_each_variable_is_one_that_the_service_reads(launch: plan.Launch) -> None:
    assert set(launch.environ) - OF_EVERY_PROCESS <= variables(launch.service)


@pytest.mark.parametrize("launch", plan_system(SystemSettings(data_dir=Path("/data"), gateways=2, gateway_port=9001)))
def test_the_service_understands_each_value(launch: plan.Launch) -> None:
    loaded = config.load(CLASSES[launch.service], launch.service, launch.environ)

    assert (
        config.to_environ(loaded, launch.service).items()
        >= {
            name: value
            for name, value in launch.environ.items()
            if name in variables(launch.service) and "REUSE" not in name
        }.items()
    )


def test_the_names_outside_the_configuration_agree() -> None:
    assert plan.SUPERVISED == SUPERVISED_VARIABLE
    assert plan.CONFIG_FILE == config.CONFIG_FILE_VARIABLE


@pytest.mark.parametrize("keys", [keys for keys in FILE_SETTINGS.values() if len(keys) == 2 and keys[0] != "up"])
def test_what_is_read_from_the_file_is_a_setting_of_the_service(keys: tuple[str, str]) -> None:
    section, name = keys
    assert name in {item.name for item in fields(CLASSES[section])}
