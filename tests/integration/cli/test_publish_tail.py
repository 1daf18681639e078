"""`publish`, `tail` and `types` against a real publisher."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lanecast.core import exit_codes

from .conftest import INSIGHT, Command, Start, clean_environ, insight


def test_one_event_is_acknowledged_and_its_repetition_is_a_duplicate(lanecast: Command, publisher: str) -> None:
    first = lanecast("publish", insight(1), "--json", "--target", publisher)
    again = lanecast("publish", insight(1), "--json", "--target", publisher)

    assert first.code == again.code == exit_codes.OK
    (ack,) = first.lines
    assert ack == {
        "channel": "agent:42",
        "id": "e1",
        "epoch": ack["epoch"],
        "offset": ack["offset"],
        "duplicate": False,
    }
    assert again.lines == [{**ack, "duplicate": True}]


def test_one_event_in_words(lanecast: Command, publisher: str) -> None:
    result = lanecast("publish", insight(1), "--target", publisher)

    assert result.out.startswith("agent:42 CRITICAL ")
    assert result.out.endswith(" id e1\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "lanecast.ai.v1.ConciergeInsigt"}, "did you mean lanecast.ai.v1.ConciergeInsight?"),
        ({"data": {"txt": "x"}}, "has no field 'txt'"),
        ({"priority": "URGENT"}, "unknown lane 'URGENT'"),
    ],
)
def test_a_bad_event_is_explained_and_nothing_is_published(
    lanecast: Command, publisher: str, change: dict[str, object], sentence: str
) -> None:
    result = lanecast("publish", json.dumps({**json.loads(insight(1)), **change}), "--target", publisher)

    assert result.code == exit_codes.USAGE
    assert sentence in result.err


def test_what_the_service_refuses_ends_with_one(lanecast: Command, publisher: str) -> None:
    event = {**json.loads(insight(1)), "data": {"text": "x" * 70_000}}

    result = lanecast("publish", json.dumps(event), "--target", publisher)

    assert result.code == exit_codes.FAILED
    assert "65536" in result.err


def test_bad_lines_are_numbered_and_the_others_go_through_in_order(lanecast: Command, publisher: str) -> None:
    unknown = json.dumps({**json.loads(insight(4)), "type": "my.Type"}) + "\n"
    lines = [insight(1), "no json\n", "\n", unknown, insight(5, priority="LOW"), insight(1)]

    result = lanecast("publish", "--ndjson", "-", "--json", "--target", publisher, stdin="".join(lines))

    assert result.code == exit_codes.FAILED
    assert [(line["line"], line.get("id"), line.get("duplicate")) for line in result.lines] == [
        (1, "e1", False),
        (2, None, None),
        (4, None, None),
        (5, "e5", False),
        (6, "e1", True),
    ]
    assert [line["error"]["reason"] for line in result.lines if "error" in line] == ["BAD_LINE", "BAD_LINE"]
    assert "line 2: this is not JSON" in result.err
    assert "line 4: unknown type 'my.Type'" in result.err


def test_a_refused_line_fails_with_the_reason_of_the_service(lanecast: Command, publisher: str) -> None:
    other = json.dumps({**json.loads(insight(1)), "data": {"text": "other"}}) + "\n"

    result = lanecast(
        "publish", "--ndjson", "-", "--json", "--target", publisher, stdin=insight(1) + other + insight(2)
    )

    assert result.code == exit_codes.FAILED
    assert [line.get("id") for line in result.lines] == ["e1", None, "e2"]
    assert result.lines[1]["line"] == 2


def test_a_line_beyond_any_payload_is_refused_and_the_next_one_is_read(lanecast: Command, publisher: str) -> None:
    result = lanecast(
        "publish", "--ndjson", "-", "--json", "--target", publisher, stdin="x" * 1_100_000 + "\n" + insight(2)
    )

    assert [line["line"] for line in result.lines] == [1, 2]
    assert "longer than" in result.err


def test_thousands_of_lines_from_a_file(lanecast: Command, publisher: str) -> None:
    count = 20_000  # more than the window of unanswered lines and the publisher's buffer hold

    result = lanecast(
        "publish", "--ndjson", "-", "--json", "--target", publisher, stdin="".join(insight(n) for n in range(count))
    )

    assert result.code == exit_codes.OK
    assert [line["id"] for line in result.lines] == [f"e{n}" for n in range(count)]
    assert len({line["offset"] for line in result.lines}) == count


def test_a_line_is_published_before_the_next_one_is_written(publisher: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lanecast.cli", "publish", "--ndjson", "-", "--json", "--target", publisher],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environ(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for number in (1, 2):
            process.stdin.write(insight(number))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == f"e{number}"
        process.stdin.close()
    assert process.returncode == exit_codes.OK


def test_events_go_on_when_nobody_reads_the_acknowledgements(lanecast: Command, publisher: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lanecast.cli", "publish", "--ndjson", "-", "--json", "--target", publisher],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environ(),
    )
    assert process.stdout is not None
    process.stdout.close()
    process.communicate("".join(insight(n) for n in range(100)))

    assert process.returncode == exit_codes.OK
    assert len(lanecast("tail", "agent:42", "--all", "--count", "100", "--json", "--target", publisher).lines) == 100


def test_tail_prints_what_is_published_while_it_runs(lanecast: Command, background: Start, publisher: str) -> None:
    lanecast("publish", insight(1), "--target", publisher)
    tail = background("lanecast.cli", "tail", "agent:42", "--last", "1", "--json", "--target", publisher)
    replayed = tail.json_line()

    lanecast("publish", insight(2), "--target", publisher)
    live = tail.json_line()

    assert (replayed["id"], replayed["replayed"]) == ("e1", True)
    assert (live["id"], live["replayed"], live["lane"]) == ("e2", False, "CRITICAL")
    assert live["type"] == INSIGHT
    assert live["data"] == {"text": "hint 2"}
    assert live["accept_time"].endswith("Z")


def test_tail_begins_where_it_is_told(lanecast: Command, publisher: str) -> None:
    lanecast("publish", "--ndjson", "-", "--target", publisher, stdin="".join(insight(n) for n in range(1, 6)))

    last = lanecast("tail", "agent:42", "--last", "2", "--count", "2", "--json", "--target", publisher)
    everything = lanecast("tail", "agent:42", "--all", "--count", "5", "--json", "--target", publisher)

    assert [line["id"] for line in last.lines] == ["e4", "e5"]
    assert [line["id"] for line in everything.lines] == ["e1", "e2", "e3", "e4", "e5"]


def test_tail_shows_only_the_lanes_asked_for(lanecast: Command, publisher: str) -> None:
    lines = insight(1, priority="LOW") + insight(2, priority="HIGH") + insight(3, priority="LOW")
    lanecast("publish", "--ndjson", "-", "--target", publisher, stdin=lines)

    result = lanecast("tail", "agent:42", "--all", "--lanes", "low", "--count", "2", "--json", "--target", publisher)

    assert [line["id"] for line in result.lines] == ["e1", "e3"]


def test_what_comes_from_outside_cannot_steer_the_terminal(lanecast: Command, publisher: str) -> None:
    event = {**json.loads(insight(1, channel="agent:\u202e42")), "data": {"text": "\x1b[31m\u202ered"}}
    lanecast("publish", json.dumps(event), "--target", publisher)

    result = lanecast("tail", "agent:\u202e42", "--all", "--count", "1", "--target", publisher)

    assert result.out.strip().isprintable()
    assert "ConciergeInsight" in result.out


def test_a_closed_pipe_ends_tail_quietly(lanecast: Command, background: Start, publisher: str) -> None:
    lanecast("publish", insight(1), "--target", publisher)
    tail = background("lanecast.cli", "tail", "agent:42", "--last", "1", "--json", "--target", publisher)
    tail.json_line()
    tail.out.close()

    lanecast("publish", insight(2), "--target", publisher)

    assert tail.process.wait() == exit_codes.OK
    assert tail.errors.read_text() == ""


def test_types_lists_what_may_be_published(lanecast: Command, publisher: str) -> None:
    words = lanecast("types", "--target", publisher)
    facts = lanecast("types", "--json", "--target", publisher)

    assert INSIGHT in words.out
    assert INSIGHT in [line["type"] for line in facts.lines]


def test_types_shows_an_event_to_copy_that_can_be_published(lanecast: Command, publisher: str) -> None:
    shown = lanecast("types", INSIGHT, "--target", publisher)
    event = shown.out.rpartition("lanecast publish '")[2].strip().removesuffix("'")

    assert lanecast("publish", event, "--target", publisher).code == exit_codes.OK


def test_types_knows_what_was_meant(lanecast: Command, publisher: str) -> None:
    result = lanecast("types", "ConciergeInsight", "--target", publisher)

    assert result.code == exit_codes.USAGE
    assert f"did you mean {INSIGHT}?" in result.err


def test_health(lanecast: Command, publisher: str) -> None:
    assert lanecast("health", "--grpc", publisher).code == exit_codes.OK
    both = lanecast("health", "--json", "--grpc", publisher, "--http", "http://127.0.0.1:1/readyz")
    assert both.code == exit_codes.UNAVAILABLE
    assert [line["healthy"] for line in both.lines] == [True, False]
