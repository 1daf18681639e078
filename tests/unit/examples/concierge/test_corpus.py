"""The conversations that come with the concierge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus import AGENT, KINDS, load


def customer_turns() -> list[str]:
    return [turn.text for conversation in load() for turn in conversation.turns if turn.by_customer]


def test_has_several_hundred_labelled_turns_of_every_kind() -> None:
    kinds = Counter(turn.kind for conversation in load() for turn in conversation.turns)
    assert set(kinds) == {AGENT, *KINDS}
    assert min(kinds.values()) >= 50
    assert sum(kinds.values()) - kinds[AGENT] >= 450


def test_does_not_repeat_itself() -> None:
    texts = [text.lower() for text in customer_turns()]
    assert len(texts) == len(set(texts))


def test_conversations_have_distinct_names_and_begin_with_a_turn() -> None:
    conversations = load()
    names = [conversation.name for conversation in conversations]
    assert len(names) == len(set(names))
    assert all(len(conversation.turns) >= 5 for conversation in conversations)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("== used cars Amina\n", "corpus.txt:1: expected `== business / customer`"),
        ("== used cars / Amina\nhello there\n", "corpus.txt:2: expected `agent> …`"),
        ("== used cars / Amina\nrumour> hello\n", "corpus.txt:2: expected `agent> …`"),
    ],
)
def test_says_which_line_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(path)
