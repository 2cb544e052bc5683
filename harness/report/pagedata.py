"""What the script of the page knows: every cell, and what many cells share once.

All texts went through `text.clean` here, so that the script has nothing to clean; it makes text
nodes of them. What stands as `tone` is a class of the page's style.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import text
from harness.report import words
from harness.report.model import Report, Scenario, shown_outcome, where
from harness.results import Evidence, ResultRecord, Verdict

_LINE = 400  # characters of a line of the console or of source

# What an outcome's colour says: the first that fits, the worst of its results first.
_TONES = [
    (name, re.compile(pattern))
    for name, pattern in (
        ("dead", r"\b(oops|panic|silent|lost)\b"),
        ("hang", r"\bhang\("),
        ("warn", r"\bwarn\("),
        ("killed", r"\b(killed|exit)\("),
        ("mceerr", r"MCEERR"),
        ("bus", r"\bSIGBUS\b"),
        ("accerr", r"SEGV_ACCERR"),
        ("maperr", r"SEGV_MAPERR"),
        ("signal", r"\bSIG"),
        ("short", r"\bshort\("),
        ("errno", r"(^|=|\W)E[A-Z0-9]{2,}"),
        ("na", r"^n/a$"),
        ("ok", r""),
    )
]


def tone(outcome: str) -> str:
    """The class that colours an outcome."""
    words = outcome[: text.OUTCOME_LIMIT]
    return next(name for name, pattern in _TONES if pattern.search(words))


class _Table:
    """Things that many cells share, each once, named by their place."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Any, item: Callable[[], Any]) -> int:
        """Where the thing of that key is; `item` makes it the first time."""
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append(item())
        return self._places[key]


def page_data(report: Report) -> dict[str, Any]:
    """Plain data for the page's script, to be written as JSON."""
    reasons, evidence = _Table(), _Table()
    order = {column.id: place for place, column in enumerate(report.columns)}

    def reason(cell: ResultRecord) -> int:
        pieces = tuple(evidence.place(item, partial(_piece, item)) for item in cell.evidence)
        key = (cell.because, cell.want, cell.bug, cell.declared, *cell.expected, pieces)
        return reasons.place(key, lambda: _reason(cell, pieces))

    scenarios = [
        {
            "name": text.clean(s.name),
            "summary": text.clean(summary(s), text.PROSE_LIMIT),
            "cells": [
                _without_empty(_observed(cell) | {"c": order[cell.column], "r": reason(cell)})
                for cell in s.cells.values()
            ],
        }
        for s in report.scenarios
    ]
    columns = [
        {
            "id": text.clean(column.id),
            "arch": text.clean(column.record.arch or column.id),
            "kernel": text.clean(column.record.kernel),
            "version": text.clean(column.record.version),
            "place": text.clean(where(column.record)),
            "facts": {
                text.clean(name): text.clean(value, text.PROSE_LIMIT)
                for name, value in column.record.provenance.items()
                if value
            },
        }
        for column in report.columns
    ]
    return {
        "columns": columns,
        "verdicts": [verdict.value for verdict in Verdict if report.total[verdict]],
        "scenarios": scenarios,
        "reasons": reasons.items,
        "evidence": evidence.items,
    }


def summary(scenario: Scenario) -> str:
    return next((cell.summary for cell in scenario.cells.values() if cell.summary), "")


def _observed(cell: ResultRecord) -> dict[str, Any]:
    seen = cell.observation
    return {
        "v": cell.verdict.value,
        "o": text.clean(shown_outcome(cell), text.OUTCOME_LIMIT),
        "tone": tone(shown_outcome(cell)),
        "cause": text.clean(seen.cause, text.PROSE_LIMIT),
        "failure": text.clean(seen.failure, text.PROSE_LIMIT),
        "again": text.clean(cell.confirmation),
        "details": {text.clean(k): text.clean(v, _LINE) for k, v in seen.details.items()},
        "console": [text.clean(line, _LINE) for line in seen.console],
        "ms": seen.ms,
        "repeat": text.clean(cell.repeat, text.PROSE_LIMIT),
    }


def _reason(cell: ResultRecord, pieces: tuple[int, ...]) -> dict[str, Any]:
    return _without_empty(
        {
            "expected": [text.clean(words, text.OUTCOME_LIMIT) for words in cell.expected],
            "want": text.clean(cell.want, text.OUTCOME_LIMIT),
            "bug": text.clean(cell.bug, text.PROSE_LIMIT),
            "because": text.clean(cell.because, text.PROSE_LIMIT),
            "declared": text.clean(cell.declared),
            "evidence": list(pieces),
        }
    )


def _piece(item: Evidence) -> dict[str, Any]:
    lines = [text.clean(line.expandtabs(8), _LINE) for line in item.excerpt.split("\n")]
    return _without_empty(
        {
            "id": text.clean(item.id),
            "place": words.place(item),
            "status": text.clean(item.status),
            "text": text.clean(item.text, text.PROSE_LIMIT),
            "line": item.line,
            "last": item.last,
            "first": item.excerpt_line,
            "excerpt": lines if item.excerpt else [],
        }
    )


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Texts, lists and mappings that have something in them; numbers all."""
    return {name: value for name, value in fields.items() if value or isinstance(value, int)}
