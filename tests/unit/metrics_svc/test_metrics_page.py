"""docs/metrics.md names every metric of the catalogue, with its kind, unit and meaning, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from lanecast.core.instruments import UNITS
from metrics_svc.core.catalogue import METRICS

PAGE = Path(__file__).resolve().parents[3] / "docs/metrics.md"


def test_the_table_is_the_catalogue() -> None:
    rows = re.findall(
        r"^\| `(lanecast\.[a-z_.]+)` \| (\w+) \| (\S+) \| [^|]*\| (.+) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert set(rows) == {(name, metric.kind.value, UNITS[name], metric.text) for name, metric in METRICS.items()}
    assert len(rows) == len(METRICS)
