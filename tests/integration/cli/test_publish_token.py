"""`publish` with a token, against a real publisher that asks for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanecast.core import exit_codes
from lanecast.runtime import tokens

from .conftest import Command, Start, insight


@pytest.fixture
def guarded(background: Start, tmp_path: Path) -> str:
    """The address of a publisher that asks for tokens."""
    service = background(
        "publisher_svc",
        LANECAST_PUBLISHER_PORT="0",
        LANECAST_PUBLISHER_PUBLISH_AUTH="token",
        LANECAST_DATA_DIR=str(tmp_path / "data"),
        LANECAST_LOG_LEVEL="WARNING",
    )
    return str(service.until(ready="publisher")["address"])


@pytest.fixture
def token(lanecast: Command, guarded: str) -> str:
    return lanecast("token", "--publish", "agent:*", "--data-dir", "data").out.strip()


def test_a_token_is_taken_from_an_option_the_environment_or_a_file(
    lanecast: Command, guarded: str, token: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(token + "\n")
    given = [
        lanecast("publish", insight(1), "--target", guarded, "--token", token),
        lanecast("publish", insight(2), "--target", guarded, LANECAST_TOKEN=token),
        lanecast("publish", insight(3), "--target", guarded, "--token-file", "token", LANECAST_TOKEN="bad"),
        lanecast("publish", "--ndjson", "-", "--target", guarded, "--token-file", "token", stdin=insight(4)),
    ]
    assert [(result.code, result.err) for result in given] == [(exit_codes.OK, "")] * 4


def test_a_refusal_is_one_sentence(lanecast: Command, guarded: str, token: str) -> None:
    foreign = tokens.issue("k" * 48, [], publish=["*"])
    missing = lanecast("publish", insight(1), "--target", guarded)
    wrong = lanecast("publish", insight(1), "--target", guarded, "--token", foreign)
    elsewhere = lanecast("publish", insight(1, channel="bots"), "--target", guarded, "--token", token)

    assert {missing.code, wrong.code, elsewhere.code} == {exit_codes.FAILED}
    assert missing.err.startswith("lanecast: publishing needs a token here")
    assert "not signed by this installation's key" in wrong.err
    assert "may not publish to this channel: use a token that grants it" in elsewhere.err


@pytest.mark.parametrize(("content", "sentence"), [(None, "No such file"), ("", "is empty")])
def test_a_token_file_that_is_of_no_use_is_named(
    lanecast: Command, tmp_path: Path, content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "file").write_text(content)

    result = lanecast("publish", insight(1), "--target", "127.0.0.1:1", "--token-file", "file")

    assert result.code == exit_codes.USAGE
    assert sentence in result.err
