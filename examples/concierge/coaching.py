"""Finds coaching moments: a linear text classifier, trained and judged without leaking what it is judged on.

Owns features, training, evaluation and evidence. Called by `main.py`; knows nothing of events.

Conversations of one business share their words, so all of a business is either trained on or judged, never both. Each
conversation is judged, and later coached, by the model of its fold, which has not seen that business at all: what the
page shows has the quality that the evaluation states.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from corpus import KINDS, OTHER, Conversation
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold

FOLDS = 11
THRESHOLD = 0.4
"""Least probability at which a moment is worth an agent's glance."""
_START = "^"
_WORD = re.compile(r"[a-z']+|[?!]")


def words(text: str) -> list[str]:
    """Split an utterance. The first token marks its beginning, since how one begins tells much of what one wants."""
    return [_START, *_WORD.findall(text.lower())]


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase and what it adds to the log-odds of a kind."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Moment:
    """What the classifier makes of one utterance."""

    kind: str
    confidence: float
    evidence: tuple[Term, ...]
    """What spoke for the kind against no coaching moment at all, strongest first."""

    @property
    def worth_saying(self) -> bool:
        """Whether an agent should see it."""
        return self.kind != OTHER and self.confidence >= THRESHOLD


class Classifier:
    """Multinomial logistic regression over words and pairs of words."""

    def __init__(self, texts: Sequence[str], kinds: Sequence[str]) -> None:
        self._features = TfidfVectorizer(
            tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True
        )
        self._model = LogisticRegression(C=20, class_weight="balanced", max_iter=2000, tol=1e-3)
        self._model.fit(self._features.fit_transform(texts), kinds)
        self._terms = self._features.get_feature_names_out()

    def kinds_of(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest kind of each text."""
        return [str(kind) for kind in self._model.predict(self._features.transform(texts))]

    @lru_cache(maxsize=4096)  # noqa: B019 - a classifier lives as long as the program
    def judge(self, text: str, terms: int = 5) -> Moment:
        """Return the likeliest kind of a text, with at most `terms` terms of evidence."""
        row = self._features.transform([text])
        chances = self._model.predict_proba(row)[0]
        best = int(np.argmax(chances))
        return Moment(
            kind=str(self._model.classes_[best]),
            confidence=float(chances[best]),
            evidence=tuple(self._contributions(row, best)[:terms]),
        )

    def log_odds(self, text: str, kind: str) -> tuple[float, list[Term]]:
        """Return the intercept and all contributions; their sum is the log-odds of `kind` against `other`."""
        best, other = self._index(kind), self._index(OTHER)
        intercept = float(self._model.intercept_[best] - self._model.intercept_[other])
        return intercept, self._contributions(self._features.transform([text]), best, everything=True)

    def _contributions(self, row: object, kind: int, *, everything: bool = False) -> list[Term]:
        sparse = row.tocoo()  # type: ignore[attr-defined]
        slope = self._model.coef_[kind] - self._model.coef_[self._index(OTHER)]
        found = [
            Term(str(self._terms[column]), float(slope[column] * value))
            for column, value in zip(sparse.col, sparse.data, strict=True)
        ]
        found.sort(key=lambda term: term.weight, reverse=True)
        return found if everything else _readable(found)

    def _index(self, kind: str) -> int:
        return int(np.flatnonzero(self._model.classes_ == kind)[0])


def _readable(terms: list[Term]) -> list[Term]:
    """Keep what speaks for the kind and contains a word; a word at the beginning and elsewhere counts as one."""
    merged: dict[str, float] = {}
    for term in terms:
        text = term.text.removeprefix(_START).strip()
        if term.weight > 0 and any(letter.isalpha() for letter in text):
            merged[text] = merged.get(text, 0.0) + term.weight
    return sorted((Term(text, weight) for text, weight in merged.items()), key=lambda term: -term.weight)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the classifier is on businesses it has not seen."""

    utterances: int
    macro_f1: float
    baseline_macro_f1: float
    """Of always saying the most frequent kind."""
    shown: float
    """Share of utterances that give rise to an insight."""
    shown_precision: float
    """Share of insights whose kind is right."""

    def __str__(self) -> str:
        return (
            f"held out by business, {self.utterances} utterances: macro-F1 {self.macro_f1:.2f} "
            f"(most frequent kind: {self.baseline_macro_f1:.2f}); "
            f"{self.shown:.0%} become an insight, {self.shown_precision:.0%} of those of the right kind"
        )


class Coach:
    """One classifier per fold, each for the businesses it has not seen."""

    def __init__(self, conversations: Sequence[Conversation], folds: int = FOLDS) -> None:
        self._by_business: dict[str, Classifier] = {}
        self.evaluation = self._train(conversations, folds)

    def classifier(self, business: str) -> Classifier:
        """Return the classifier that has not seen this business."""
        return self._by_business[business]

    def _train(self, conversations: Sequence[Conversation], folds: int) -> Evaluation:
        rows = [(c.business, turn.text, turn.kind) for c in conversations for turn in c.turns if turn.by_customer]
        businesses, texts, kinds = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
        judged: list[tuple[str, Moment]] = []
        for train, held_out in GroupKFold(folds).split(texts, kinds, businesses):
            classifier = Classifier(list(texts[train]), list(kinds[train]))
            self._by_business.update(dict.fromkeys(businesses[held_out], classifier))
            judged += [(kinds[i], classifier.judge(texts[i])) for i in held_out]
        return _evaluate(judged)


def _evaluate(judged: list[tuple[str, Moment]]) -> Evaluation:
    truth = [kind for kind, _ in judged]
    shown = [(kind, moment) for kind, moment in judged if moment.worth_saying]
    most_frequent = max(KINDS, key=truth.count)
    return Evaluation(
        utterances=len(judged),
        macro_f1=_macro_f1(truth, [moment.kind for _, moment in judged]),
        baseline_macro_f1=_macro_f1(truth, [most_frequent] * len(truth)),
        shown=len(shown) / len(judged),
        shown_precision=sum(kind == moment.kind for kind, moment in shown) / max(len(shown), 1),
    )


def _macro_f1(truth: list[str], said: list[str]) -> float:
    return float(f1_score(truth, said, labels=list(KINDS), average="macro", zero_division=0.0))
