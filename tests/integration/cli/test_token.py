"""`lanecast token`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanecast.core import exit_codes
from lanecast.core.priority import Priority
from lanecast.runtime import tokens

from .conftest import Command


def test_prints_a_token_that_the_key_in_the_data_directory_verifies(lanecast: Command, tmp_path: Path) -> None:
    key = tokens.load_or_create_key(tmp_path / "data")

    result = lanecast(
        "token", "--subscribe", "agent:*", "--subscribe", "bots:handoffs", "--data-dir", str(tmp_path / "data")
    )

    assert (result.code, result.err) == (exit_codes.OK, "")
    identity = tokens.verify(key, result.out.strip())
    assert identity.lanes_for("agent:42")
    assert identity.lanes_for("bots:handoffs")
    assert not identity.lanes_for("bots:other")


def test_the_lifetime_is_what_was_asked_for(lanecast: Command, tmp_path: Path) -> None:
    result = lanecast(
        "token", "--subscribe", "*", "--ttl", "2h", "--subject", "ann", "--json", LANECAST_DATA_DIR=str(tmp_path)
    )

    (line,) = result.lines
    identity = tokens.verify(tokens.load_or_create_key(tmp_path), line["token"])
    assert identity.subject == "ann"
    assert abs(identity.expires_unix - line["expires_unix"]) <= 1


def test_says_when_it_made_the_key(lanecast: Command) -> None:
    first = lanecast("token", "--subscribe", "a", "--data-dir", "new")
    second = lanecast("token", "--subscribe", "a", "--data-dir", "new")

    assert "made a new development key" in first.err
    assert second.err == ""


def test_a_directory_that_cannot_be_used_is_named(lanecast: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = lanecast("token", "--subscribe", "a", "--data-dir", "file")

    assert result.code == exit_codes.CANNOT_START
    assert "choose a data directory" in result.err


def test_a_token_for_publishing_has_what_was_asked_for(lanecast: Command, tmp_path: Path) -> None:
    result = lanecast(
        "token", "--publish", "agent:*", "--highest-lane", "normal", "--rate", "500", "--subject", "bot", "--json",
        LANECAST_DATA_DIR=str(tmp_path),
    )  # fmt: skip

    (line,) = result.lines
    assert (line["subscribe"], line["publish"]) == ([], ["agent:*"])
    identity = tokens.verify(tokens.load_or_create_key(tmp_path), line["token"])
    assert identity.publish_lanes_for("agent:42") == {Priority.NORMAL, Priority.LOW}
    assert identity.publish_rate == tokens.Rate(500.0, 500)
    assert not identity.grants


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name at least one channel"),
        (("--publish", "a", "--burst", "5"), "--burst belongs to a --rate"),
        (("--publish", "a", "--rate", "0"), "must be a number from 0.001"),
        (("--publish", "a", "--rate", "nan"), "must be a number from 0.001"),
        (("--publish", "a", "--rate", "5", "--burst", "0"), "whole number from 1"),
        (("--publish", "a", "--highest-lane", "URGENT"), "unknown lane 'URGENT'"),
        (("--publish", "a*b"), "bad pattern"),
    ],
)
def test_what_makes_no_sense_is_explained(lanecast: Command, arguments: tuple[str, ...], sentence: str) -> None:
    result = lanecast("token", *arguments)

    assert (result.code, result.out) == (exit_codes.USAGE, "")
    assert sentence in result.err
