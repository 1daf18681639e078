"""bench.growth: the curve of one axis."""

from bench.growth import axes, table


def test_a_curve_has_the_medians_and_the_line_through_them() -> None:
    axis = axes(1.0)[0]
    found = [
        {
            "axis": axis.name, "value": value, "repeat": repeat, "deliveries_per_second": value,
            "cpu_share": 0.1 + value * 50e-6 + repeat * 0.01, "p99_ms": 1.0, "lost": 0, "duplicated": repeat,
        }
        for value, _ in axis.points
        for repeat in (-1, 0, 1)
    ]  # fmt: skip
    shown = table(axis, found)
    assert shown.rows[0] == ("500", "500", "12.5 %", "250.0", "1.0", "0")
    assert shown.notes == ["line through these points: 10.0 % of a core and 50.00 µs for one of events/s"]
