"""The three desks: which of them a customer's words are for, and what a bot answers.

Owns routing and texts. Pure; called by `bot.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

SCRIPTS = Path(__file__).with_name("conversations.txt")
DESKS = ("triage", "sales", "support")
CUSTOMER = "customer"

_WORD = re.compile(r"[a-z]+")
_SALES = "buy price cost costs offer quote discount upgrade order licences plan contract cheaper television pays"
_SUPPORT = (
    "router red working error reset crashes crash slow buffering speed repair repaired log password broken screen "
    "install silent wifi flickers dial"
)
_WORDS = {"sales": frozenset(_SALES.split()), "support": frozenset(_SUPPORT.split())}
_REPLIES = {
    "triage": ("Thank you, I am with you.", "Good to hear from you.", "I am glad I could help."),
    "sales": ("I am putting together an offer.", "I have the price in front of me.", "I am noting it in your order."),
    "support": (
        "I am running a test on your line.",
        "I see the fault, please hold on.",
        "That should be repaired now.",
    ),
}


def desk_for(text: str, current: str) -> str:
    """Return the desk that a customer's words are for; the current one where they do not tell."""
    said = _WORD.findall(text.lower())
    hits = {desk: sum(word in words for word in said) for desk, words in _WORDS.items()}
    best = max(hits, key=lambda desk: (hits[desk], desk == current))
    if hits[best] == 0:
        return current
    return best


def reply(desk: str, turn: int) -> str:
    """Return what a desk says in a turn."""
    return _REPLIES[desk][turn % len(_REPLIES[desk])]


def load(path: Path = SCRIPTS) -> dict[str, list[tuple[str, str]]]:
    """Read the conversations: by name, the customer's turns with the desk each is for."""
    scripts: dict[str, list[tuple[str, str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            scripts[line[3:]] = []
        elif line and not line.startswith("#"):
            desk, _, text = line.partition("> ")
            scripts[list(scripts)[-1]].append((desk, text))
    return scripts
