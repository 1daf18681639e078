"""Options of metrics_svc."""

from __future__ import annotations

import pytest

from lanecast.errors import ConfigError
from lanecast.runtime.config import load, to_environ
from metrics_svc.config import SECTION, MetricsConfig


def test_defaults_and_the_way_through_the_environment() -> None:
    config = MetricsConfig(port=1, http_port=2, gateway_urls=("ws://a:1/v1/ws", "wss://b/v1/ws"), session_page=False)
    assert load(MetricsConfig, SECTION, to_environ(config, SECTION)) == config
    assert load(MetricsConfig, SECTION, {}).http_port == 7480


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GATEWAY_URLS", "http://a:1", "write it as ws://"),
        ("GATEWAY_URLS", "ws://a:1;script-src *", "write it as ws://"),
        ("PAGE_CHANNELS", "a*b", "bad pattern"),
        ("SESSION_NETWORKS", "everyone", "write it as 172.16.0.0/12"),
        ("OPERATOR_NETWORKS", "10.0.0.1/8", "operator_networks has '10.0.0.1/8': write it as"),
        ("MAX_STREAMS", "0", "at least 1"),
        ("HTTP_PORT", "many", "use a whole number"),
        ("SLO_LIMITS", "CRITICAL", "write it as CRITICAL=1ms"),
        ("SLO_OBJECTIVES", "LOW=99", "in percent"),
        ("ALERT_TIME_SCALE", "0", "from 0.0001 to 1"),
        ("WEBHOOK_URL", "ftp://a/b", "write it as https://host/path"),
        ("ROLLOUT_WEBHOOK", "host/path", "rollout_webhook is no web address"),
        ("WEBHOOK_TIMEOUT_SECONDS", "0", "from 0.1 to 60"),
        ("WEBHOOK_DEADLINE_SECONDS", "0", "from 1 to 86,400"),
    ],
)
def test_wrong_values_are_refused_with_what_is_wanted(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(MetricsConfig, SECTION, {f"LANECAST_METRICS_{name}": value})
