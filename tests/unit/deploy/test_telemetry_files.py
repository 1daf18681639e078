"""deploy/telemetry: rules, dashboard, collector and the compose file beside them, held against the catalogue."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanecast.core.priority import BUDGET_SECONDS
from metrics_svc.config import MetricsConfig
from metrics_svc.core.catalogue import METRICS, Kind
from metrics_svc.core.prometheus import BOUNDS, metric_name

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/telemetry"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
BESIDE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.telemetry.yml").read_text())["services"]
SHOWN = {
    metric_name(name) + suffix
    for name, metric in METRICS.items()
    for suffix in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def used(expression: str) -> set[str]:
    return set(re.findall(r"\blanecast[a-z0-9_:]+", re.sub(r'"[^"]*"', '""', expression)))


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_each_panel_shows_metrics_that_there_are(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    for target in panel["targets"]:
        assert used(target["expr"])
        assert used(target["expr"]) <= SHOWN | RECORDED


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_each_rule_reads_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert used(rule["expr"]) <= SHOWN | RECORDED
    if "alert" in rule:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_limits_of_the_rules_are_those_of_the_lanes_and_are_bounds_of_buckets() -> None:
    good = [rule["expr"] for rule in RULES if rule.get("record", "").startswith("lanecast:good:")]
    for expression in good:
        limits = dict(re.findall(r'lane="([A-Z]+)", le="([0-9.]+)"', expression))
        assert {lane: float(limit) for lane, limit in limits.items()} == {
            lane.name: seconds for lane, seconds in BUDGET_SECONDS.items()
        }
        assert {float(limit) for limit in limits.values()} <= set(BOUNDS)


def test_promtool_agrees() -> None:
    """What it checks beyond the tests above is the grammar, and the rules' own tests; `.ci/prometheus` installs it."""
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")):
        found = subprocess.run(["promtool", *command], check=False, cwd=FOLDER, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr


def test_prometheus_scrapes_metrics_svc_where_it_listens() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"metrics:{MetricsConfig().http_port}"]}]
    assert job["metrics_path"] == "/metrics"


def test_the_pipelines_of_the_collector_use_what_is_defined() -> None:
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    assert set(config["service"]["pipelines"]) == {"traces", "metrics"}


def test_all_services_export_to_the_collector_on_the_port_it_listens_on() -> None:
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    port = config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    for name in ("publisher", "gateway", "metrics"):
        assert BESIDE[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{port}"
    assert config["exporters"]["otlp/traces"]["endpoint"].split(":")[0] in BESIDE


def test_what_is_mounted_is_there_and_ports_are_published_on_this_machine_only() -> None:
    for service in BESIDE.values():
        for volume in service.get("volumes", ()):
            assert (ROOT / volume.split(":")[0]).is_file()
            assert volume.endswith(":ro")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert not service.get("image", "").endswith(":latest")
