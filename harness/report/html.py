"""The report as one page of HTML that needs no network.

The matrix is in the page as it is, readable and printable without JavaScript; filters and the
details of a cell are the script's, which makes text nodes of the data and nothing else. A
Content-Security-Policy allows this script and this style by their hashes: whatever a guest
said, it cannot become code.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report import text
from harness.report.matrix import LOOKS
from harness.report.model import (
    COMPARED,
    LOST,
    WRONG,
    Kind,
    Report,
    Scenario,
    build,
    shown_outcome,
    stale_evidence,
    where,
)
from harness.results import Evidence, ResultRecord, Results, Verdict

_PAGE = Path(__file__).with_name("page")
_LIMIT = 100  # entries of a section, and notes: the matrix has all of them
_LINE = 400  # characters of a line of the console or of source
_FACTS = {  # heading: key of the provenance
    "kernel": "version",
    "patches": "patches",
    "compiler": "compiler",
    "QEMU": "qemu",
    "machine": "machine",
    "CPU": "cpu",
    "accelerator": "accel",
}

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
_ENDINGS = {
    0: ("good", "As expected."),
    1: ("bad", "Mismatch."),
    2: ("open", "No expectation, or stale evidence."),
    3: ("bad", "Not everything was observed."),
}


@dataclass(frozen=True)
class _Group:
    letter: str
    outcome: str
    look: str  # classes


@dataclass(frozen=True)
class _Cell:
    text: str
    look: str  # classes


@dataclass(frozen=True)
class _Row:
    number: int  # of the scenario, in the script's data
    summary: str
    groups: list[_Group]
    cells: list[_Cell | None]


@dataclass(frozen=True)
class _Bug:
    cells: list[ResultRecord]

    @property
    def columns(self) -> list[str]:
        return [cell.column for cell in self.cells]


def render_html(results: Results) -> str:
    """The whole report, one document."""
    report = build(results)
    scenarios = report.scenarios
    environment = _environment()
    kinds = ((kind, len(report.of_kind(kind))) for kind in Kind)
    tone, ending = _ENDINGS.get(report.exit_code, ("bad", "Interrupted."))
    facts = {name: key for name, key in _FACTS.items() if _known(report, key)}
    rows = {s.name: _row(number, s, report) for number, s in enumerate(scenarios)}
    html = environment.get_template("page.html").render(
        css=Markup((_PAGE / "page.css").read_text(encoding="utf-8")),
        js=Markup((_PAGE / "page.js").read_text(encoding="utf-8")),
        report=report,
        limit=_LIMIT,
        headline=", ".join(f"{n} {kind.value}" for kind, n in kinds if n) or "nothing",
        ending={"tone": tone, "text": ending},
        counts=[(v.value, report.total[v]) for v in Verdict if report.total[v]],
        wrong=[cell for s in scenarios for cell in s.cells_with(*WRONG)],
        fixed=[cell for s in scenarios for cell in s.cells_with(Verdict.FIXED)],
        lost=_lost(scenarios),
        stale=list(stale_evidence(report).items()),
        bugs=_bugs(scenarios),
        kernels=[
            (kernel, list(columns))
            for kernel, columns in groupby(report.columns, lambda column: column.record.kernel)
        ],
        rows=rows,
        legend=[
            (v.value, mark, meaning)
            for v, (mark, _, meaning) in LOOKS.items()
            if report.total[v] and v is not Verdict.MATCH
        ],
        facts=list(facts),
        provenance=[
            (column, [_fact(column.record, key) for key in facts.values()])
            for column in report.columns
        ],
        data=_data(report),
    )
    return html.rstrip("\n") + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        anchor=_anchor,
        clean=text.clean,
        digest=_digest,
        outcome=lambda words: text.clean(words, text.OUTCOME_LIMIT),
        place=text.place,
        plural=text.plural,
        prose=lambda words: text.clean(words, text.PROSE_LIMIT),
        short=text.short_outcome,
        shown=shown_outcome,
        tone=tone,
        where=where,
    )
    return environment


# --- the matrix


def tone(outcome: str) -> str:
    """The class that colours an outcome."""
    words = outcome[: text.OUTCOME_LIMIT]
    return next(name for name, pattern in _TONES if pattern.search(words))


def _row(number: int, scenario: Scenario, report: Report) -> _Row:
    groups: dict[str, _Group] = {}
    seen: dict[str, int] = defaultdict(int)
    for place, group in enumerate(scenario.groups):
        colour = tone(group.outcome)
        # Two outcomes of one colour in one row: the second is striped.
        stripes = " striped" * (seen[colour] > 0)
        seen[colour] += 1
        groups[group.outcome] = _Group(_letter(place), group.outcome, f"tone {colour}{stripes}")
    most = scenario.majority.outcome if scenario.majority else ""
    cells = [_cell(scenario.cells.get(c.id), groups, most) for c in report.columns]
    summary = next((cell.summary for cell in scenario.cells.values() if cell.summary), "")
    return _Row(number, summary, list(groups.values()), cells)


def _cell(cell: ResultRecord | None, groups: dict[str, _Group], most: str) -> _Cell | None:
    if cell is None:
        return None
    mark, verdict = LOOKS[cell.verdict][0], cell.verdict.value
    if cell.verdict not in COMPARED:
        return _Cell(mark, verdict)
    group = groups[shown_outcome(cell)]
    if cell.verdict is Verdict.MATCH:
        return _Cell(group.letter, group.look + " quiet" * (group.outcome == most))
    return _Cell(group.letter + mark, f"{group.look} {verdict}")


def _letter(place: int) -> str:
    """A, B, .. Z, AA, AB, .."""
    before = _letter(place // 26 - 1) if place >= 26 else ""
    return before + chr(ord("A") + place % 26)


# --- the sections


def _lost(scenarios: Iterable[Scenario]) -> list[list[ResultRecord]]:
    lost: dict[tuple[str, Verdict, str], list[ResultRecord]] = defaultdict(list)
    for scenario in scenarios:
        for cell in scenario.cells_with(*LOST):
            lost[cell.column, cell.verdict, cell.observation.failure].append(cell)
    return list(lost.values())


def _bugs(scenarios: Iterable[Scenario]) -> list[_Bug]:
    bugs: dict[tuple[str, str, str, str], list[ResultRecord]] = defaultdict(list)
    for scenario in scenarios:
        for cell in scenario.cells_with(Verdict.KNOWN_BUG):
            bugs[scenario.name, shown_outcome(cell), cell.want, cell.bug].append(cell)
    return [_Bug(cells) for cells in bugs.values()]


def _known(report: Report, key: str) -> bool:
    return any(_fact(column.record, key) for column in report.columns)


def _fact(record: Any, key: str) -> str:
    return str(record.version if key == "version" else record.provenance.get(key, ""))


# --- the data of the script


class _Table:
    """Things that many cells share, each once, named by their place."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Any, item: Any) -> int:
        """Where the thing of that key is; `item` makes it the first time."""
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append(item())
        return self._places[key]


def _data(report: Report) -> dict[str, Any]:
    reasons, evidence = _Table(), _Table()
    order = {column.id: place for place, column in enumerate(report.columns)}

    def reason(cell: ResultRecord) -> int:
        pieces = tuple(evidence.place(item, lambda i=item: _piece(i)) for item in cell.evidence)
        key = (cell.because, cell.want, cell.bug, cell.declared, *cell.expected, pieces)
        return reasons.place(key, lambda: _reason(cell, pieces))

    scenarios = [
        {
            "name": text.clean(s.name),
            "summary": text.clean(_summary(s), text.PROSE_LIMIT),
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


def _summary(scenario: Scenario) -> str:
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
            "place": text.place(item),
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


# --- small things of the template


def _anchor(cell: ResultRecord) -> str:
    """The part of the address that opens a cell; the script knows it by the same names."""
    scenario = quote(text.clean(cell.scenario), safe="/")
    return f"#{scenario}@{quote(text.clean(cell.column), safe='/,:')}"


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
