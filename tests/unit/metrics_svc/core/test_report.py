"""Reports: figures, calendar, words, page and plots."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.priority import Priority
from lanecast.core.sketch import Sketch
from lanecast.errors import StatusError
from metrics_svc.core import report, slo, svg
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.history import RecentHistory
from metrics_svc.core.objectives import DEFAULTS
from metrics_svc.core.packed import pack
from metrics_svc.core.report import MAX_POINTS, PERFORMANCE, SLA, ReportData, ReportOrder
from metrics_svc.core.report_html import html
from metrics_svc.core.report_schedule import SCHEDULES, last_period, next_check
from metrics_svc.core.report_text import markdown, percent
from metrics_svc.core.telemetry import NANOS, Point, Process, Telemetry

NOW = 1_800_000_000
TYPE = "lanecast.ai.v1.ConciergeInsight"


def finished(work: Any) -> ReportData:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            data: ReportData = stop.value
            return data


def telemetry(millis: float = 0.5, seconds: int = 60, lane: str = "CRITICAL") -> Telemetry:
    """`seconds` of ten deliveries a second, reported by a publisher and a gateway."""
    found = Telemetry((NOW - seconds) * NANOS, derive=slo.deriver(DEFAULTS))
    for second in range(NOW - seconds, NOW):
        sketch = Sketch()
        sketch.record_ns(int(millis * 1e6), 10)
        pairs = (("lane", lane), ("scope", "server"))
        span = (second * NANOS, (second + 1) * NANOS)
        typed = tuple(sorted((*pairs, ("type", TYPE))))
        points = [
            Point(Key(names.DELIVERY_DURATION, key), Kind.HISTOGRAM, *span, pack(sketch)) for key in (pairs, typed)
        ]
        hop = Key(names.HOP_DURATION, (("hop", "ingest"), ("lane", lane)))
        points.append(Point(hop, Kind.HISTOGRAM, *span, pack(sketch)))
        found.add(Process("gateway_svc", "g1"), points, span[1])
        accepted = Point(Key(names.EVENT_ACCEPTED, (("lane", lane),)), Kind.COUNTER, *span, 10)
        found.add(Process("publisher_svc", "p1"), [accepted], span[1])
    return found


def made(kind: str = PERFORMANCE, title: str = "", source: Telemetry | None = None, period: int = 120) -> ReportData:
    order = ReportOrder(kind, title, NOW - period, NOW)
    return finished(report.build(RecentHistory(source or telemetry()), order, NOW * NANOS))


def test_the_figures_are_those_of_the_period() -> None:
    data = made()
    critical = data.lanes[0]
    assert (critical.lane, critical.delivered, critical.accepted, critical.verdict) == (
        Priority.CRITICAL,
        600,
        600,
        "met",
    )
    assert critical.figure is not None
    assert critical.figure.p99 == pytest.approx(0.0005, rel=0.006)
    assert [lane.verdict for lane in data.lanes[1:]] == ["no data"] * 3
    assert [(one.type, one.count) for one in data.types] == [(TYPE, 600)]
    assert sum(bool(point.p99) for point in data.points) == 60 // data.step
    assert data.partial


def test_a_missed_objective_is_said_in_every_form() -> None:
    source = telemetry(millis=2.0)
    for kind in (PERFORMANCE, SLA):
        data = made(kind, source=source)
        assert data.lanes[0].verdict == "missed"
        assert "CRITICAL" in markdown(data)
        assert "missed" in markdown(data)
        assert '<td class="missed">missed</td>' in html(data)
    assert report.as_json(data)["lanes"][0]["error_budget_used"] == pytest.approx(100.0)


def test_the_json_form_is_json() -> None:
    facts = json.loads(json.dumps(report.as_json(made()), allow_nan=False))
    assert facts["lanes"][0]["latency"]["count"] == 600
    assert facts["grade"] == made().status.grade.name


def test_a_period_without_figures_has_no_grade_and_says_so() -> None:
    for kind in (PERFORMANCE, SLA):
        data = made(kind, source=Telemetry(NOW * NANOS))
        assert "no data" in markdown(data).lower()
        page(html(data))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page(text: str) -> _Page:
    found = _Page()
    found.feed(text)
    return found


def test_the_page_runs_nothing_and_loads_nothing() -> None:
    found = page(html(made(title='<script>alert(1)</script>"')))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "link", "iframe", "object"})
    for _, attributes in found.tags:
        assert not any(name.startswith("on") or name in {"src", "href"} for name in attributes)


def test_a_title_stays_a_title_in_markdown() -> None:
    text = markdown(made(title="a *b* [c](d) <e> | `f`"))
    assert text.startswith(r"# a \*b\* \[c\](d) \<e\> \| \`f\`" + "\n")


def test_plots_are_well_formed_and_have_a_line_for_each_lane_with_data() -> None:
    text = html(made(source=telemetry(lane="HIGH")))
    parts = ["<svg" + part.partition("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    plots = [ElementTree.fromstring(part) for part in parts]
    assert len(plots) == 4
    for plot in plots:
        shapes = [one for one in plot.iter() if one.tag.endswith(("polyline", "circle"))]
        assert len(shapes) >= 1


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=40), st.booleans())
def test_every_point_of_a_plot_lies_within_it(values: list[float | None], log: bool) -> None:
    times = [NOW + 10 * number for number in range(len(values))]
    text = svg.chart("t", "ms", times, 10, [svg.Line("A", values, 0)], log=log)
    if text.startswith("<p>"):
        assert all(value is None for value in values)
        return
    for shape in ElementTree.fromstring(text).iter():
        pairs = [pair.split(",") for pair in shape.attrib.get("points", "").split()]
        pairs += [[shape.attrib["cx"], shape.attrib["cy"]]] if "cx" in shape.attrib else []
        for x, y in pairs:
            assert 0 <= float(x) <= svg.WIDTH
            assert 0 <= float(y) <= svg.HEIGHT


def test_a_hole_in_time_is_a_hole_in_the_line() -> None:
    line = svg.Line("A", [1.0, 2.0, None, 3.0, 4.0], 0)
    text = svg.chart("t", "ms", [0, 10, 20, 30, 40], 10, [line])
    assert text.count("<polyline") == 2


@given(st.integers(1, 31 * 86_400))
def test_a_period_has_few_points(seconds: int) -> None:
    assert seconds / report.step_of(seconds) <= max(MAX_POINTS, 31)


@pytest.mark.parametrize(
    ("start", "end", "title"),
    [
        (NOW, NOW, ""),
        (NOW - 32 * 86_400, NOW, ""),
        (NOW + 10, NOW + 20, ""),
        (NOW - 5, NOW, "x" * 201),
        (NOW - 5, NOW, "a\nb"),
    ],
)
def test_what_cannot_be_reported_on_is_refused(start: int, end: int, title: str) -> None:
    with pytest.raises(StatusError, match=r"period|title"):
        ReportOrder(PERFORMANCE, title, start, end).check(NOW)


moments = st.integers(1_600_000_000, 2_200_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))


@given(moments, st.sampled_from(SCHEDULES))
def test_scheduled_periods_are_over_adjoin_and_have_an_id_each(now: datetime, name: str) -> None:
    period = last_period(name, now)
    assert period.start < period.end <= now < next_check(now)
    before = last_period(name, period.end - timedelta(seconds=1))
    assert before.end == period.start
    assert before.request_id != period.request_id == last_period(name, period.end).request_id


def test_a_share_that_is_not_whole_is_not_shown_as_whole() -> None:
    assert [percent(share) for share in (1.0, 0.999_999_9, 0.995, 0.0, None)] == [
        "100 %",
        "99.999 %",
        "99.5 %",
        "0 %",
        "n/a",
    ]
