"""`lanecast alerts` against a running metrics service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lanecast.core import exit_codes
from metrics_svc.core.alerts import AlertBook, Reading, Severity
from metrics_svc.core.records import encode_alert
from metrics_svc.history import Batch, History

NOW = 1_800_000_000 * 10**9


@pytest.fixture
def metrics(background: Any, tmp_path: Path) -> str:
    """A metrics service whose history has an alert that was resolved."""
    book = AlertBook()
    for second, holds in ((0, True), (1, False)):
        book.update(NOW + second * 10**9, [Reading("disk", Severity.PAGE, holds, holds, "Make\x1b[2J room.")])
    history = History.open(tmp_path / "data")
    history.write(Batch(alerts={alert.id: encode_alert(alert) for alert in book.newest()}))
    history.close()
    service = background(
        "metrics_svc",
        LANECAST_METRICS_PORT="0",
        LANECAST_METRICS_HTTP_PORT="0",
        LANECAST_DATA_DIR=str(tmp_path / "data"),
        LANECAST_LOG_LEVEL="ERROR",
    )
    return str(service.until(ready="metrics")["address"])


def test_list_and_ack(lanecast: Any, metrics: str) -> None:
    shown = lanecast("alerts", "list", "--metrics", metrics)
    assert shown.code == exit_codes.OK
    head, row, place, summary = shown.out.splitlines()
    assert head.split() == ["STATE", "SEVERITY", "LANE", "SINCE", "RULE", "TAKEN", "BY"]
    assert row.split() == ["resolved", "page", "-", "2027-01-15", "08:00:00Z", "disk", "-"]
    assert place.strip() == "disk-20270115T080000Z"
    assert summary.strip() == "Make\\x1b[2J room."
    (alert,) = lanecast("alerts", "list", "--json", LANECAST_METRICS_TARGET=metrics).lines
    assert (alert["rule"], alert["state"]) == ("disk", "ALERT_STATE_RESOLVED")
    none = lanecast("alerts", "list", "--state", "firing", "--metrics", metrics)
    assert (none.code, none.out) == (exit_codes.OK, "No alert is firing.\n")
    late = lanecast("alerts", "ack", alert["id"], "--by", "kim", "--metrics", metrics)
    assert late.code == exit_codes.FAILED
    assert "already resolved" in late.err


def test_where_nothing_answers_it_says_so(lanecast: Any) -> None:
    gone = lanecast("alerts", "watch", "--metrics", "127.0.0.1:1")
    assert gone.code == exit_codes.UNAVAILABLE
    assert "no metrics service answers at 127.0.0.1:1" in gone.err
