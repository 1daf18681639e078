"""/metrics as Prometheus' own parser reads it, and as a real Prometheus scrapes it; `.ci/prometheus` sees to that."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from lanecast.runtime.otlp import OtlpExporter
from metrics_svc.core.catalogue import METRICS, Kind
from metrics_svc.core.prometheus import metric_name

ROOT = Path(__file__).resolve().parents[3]


async def report(target: str) -> None:
    """Report a value of every metric of the catalogue, as a service would."""
    instruments = Instruments()
    for name, metric in METRICS.items():
        if metric.kind is Kind.HISTOGRAM:
            instruments.sketch(name, lane="CRITICAL", scope="server").record_ns(2_000_000)
        elif metric.kind is Kind.COUNTER:
            instruments.counter(name, lane="CRITICAL").add(3)
        else:
            instruments.gauge(name, lambda: 7.0)
    exporter = OtlpExporter(instruments, target, service="gateway_svc", instance="gateway-1")
    assert await exporter.export()
    await exporter.close()


async def test_prometheus_own_parser_reads_every_metric_of_the_catalogue(running: Any) -> None:
    await report(running.target)
    async with running.http.get(f"{running.url}/metrics") as response:
        text = await response.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, metric in METRICS.items():
        family = families[metric_name(name).removesuffix("_total")]
        assert family.type == metric.kind.value
        assert family.documentation == metric.text
    lag = families[metric_name(names.DELIVERY_DURATION)]
    buckets = [sample.value for sample in lag.samples if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert await promtool_finds_nothing(text)


async def promtool_finds_nothing(text: str) -> bool:
    pipe = asyncio.subprocess.PIPE
    checking = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics", stdin=pipe, stdout=pipe, stderr=pipe
    )
    output, errors = await checking.communicate(text.encode())
    return (checking.returncode, output + errors) == (0, b"")


async def test_a_real_prometheus_scrapes_and_answers(running: Any, tmp_path: Path) -> None:
    await report(running.target)
    config = yaml.safe_load((ROOT / "deploy/telemetry/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = config["global"]["evaluation_interval"] = "1s"
    config["rule_files"] = []  # promtool runs their tests
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [running.url.removeprefix("http://")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/api/v1/query"
        assert await answer(running.http, url, 'up{job="lanecast"}') == "1"
        assert await answer(running.http, url, 'lanecast_event_accepted_total{lane="CRITICAL"}') == "3"
        count = 'lanecast_delivery_duration_seconds_bucket{lane="CRITICAL",le="0.0025"}'
        assert await answer(running.http, url, count) == "1"
    finally:
        process.terminate()
        await process.wait()


async def answer(http: aiohttp.ClientSession, url: str, query: str) -> str:
    """Ask until there is a result other than a target that is not scraped yet."""
    while True:
        try:
            async with http.get(url, params={"query": query}) as response:
                body = await response.json() if response.status == 200 else {}
        except aiohttp.ClientConnectionError:
            body = {}
        result = body.get("data", {}).get("result", [])
        if result:
            return str(result[0]["value"][1])
        await asyncio.sleep(0.05)
