"""The agreement of metrics_svc with an observer, on the real system."""

from __future__ import annotations

from pathlib import Path

from bench import agreement, scenario

SMALL = {
    "name": "small",
    "title": "a small run",
    "sockets": 6,
    "channels": 3,
    "seconds": 1.0,
    "warmup_seconds": 0.2,
    "load": [{"events_per_second": 50, "mix": {"CRITICAL": 1, "LOW": 1}}],
}


async def test_what_is_reported_is_what_a_witness_saw(tmp_path: Path) -> None:
    found = await agreement.run(scenario.from_dict(SMALL), reporting=6, directory=tmp_path)

    assert (found["sent"], found["received"], found["receipts"]) == (60, 120, 120)
    assert found["out_of_order"] == 0
    rows = {(row["lane"], row["figure"]): row for row in found["rows"]}
    assert {lane for lane, _ in rows} == {"CRITICAL", "LOW"}
    assert len(rows) == 10
    for (_, figure), row in rows.items():
        assert row["events"] == row["observed_events"] or figure == "hops, mean"
        if figure.startswith("end to end"):  # the very same durations: only rounding to a bucket is between them
            assert abs(row["difference"]) < 0.012
