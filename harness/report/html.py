"""The report as one page of HTML that needs no network.

The matrix is in the page as it is, readable and printable without JavaScript; filters and the
details of a cell are the script's, which makes text nodes of the data and nothing else. A
Content-Security-Policy allows this script and this style by their hashes: whatever a guest
said, it cannot become code.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from functools import cache
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from msgspec import Struct

from harness import text
from harness.report import words
from harness.report.matrix import LOOKS
from harness.report.model import (
    COMPARED,
    LOST,
    WRONG,
    Kind,
    Report,
    Scenario,
    build,
    known_bugs,
    lost_together,
    shown_outcome,
    stale_evidence,
    where,
)
from harness.report.pagedata import page_data, summary, tone
from harness.results import ColumnRecord, ResultRecord, Results, Verdict

_PAGE = Path(__file__).with_name("page")
_CHIP = 90  # characters of an outcome in the matrix: rows of it stay rows; its cell has it all
_LIMIT = 100  # entries of a section, and notes: the matrix has all of them
_FACTS = {  # heading: key of the provenance
    "kernel": "version",
    "patches": "patches",
    "patches there already": "patches_skipped",
    "compiler": "compiler",
    "QEMU": "qemu",
    "machine": "machine",
    "CPU": "cpu",
    "accelerator": "accel",
    "said while booting": "boot_said",
}

_ENDINGS = {
    0: ("good", "As expected."),
    1: ("bad", "Mismatch."),
    2: ("open", "No expectation, or stale evidence."),
    3: ("bad", "Not everything was observed."),
}


class _Group(Struct, frozen=True):
    letter: str
    outcome: str
    look: str  # classes

    @property
    def short(self) -> str:
        return words.short_outcome(self.outcome, _CHIP)


class _Cell(Struct, frozen=True):
    text: str
    look: str  # classes


class _Row(Struct, frozen=True):
    number: int  # of the scenario, in the script's data
    summary: str
    groups: list[_Group]
    cells: list[_Cell | None]


def render_html(results: Results) -> str:
    """The whole report, one document."""
    report = build(results)
    scenarios = report.scenarios
    kinds = ((kind, len(report.of_kind(kind))) for kind in Kind)
    colour, ending = _ENDINGS.get(report.exit_code, ("bad", "Interrupted."))
    facts = {name: key for name, key in _FACTS.items() if _known(report, key)}
    rows = {s.name: _row(number, s, report) for number, s in enumerate(scenarios)}
    html = _template().render(
        css=Markup((_PAGE / "page.css").read_text(encoding="utf-8")),
        js=Markup((_PAGE / "page.js").read_text(encoding="utf-8")),
        report=report,
        limit=_LIMIT,
        headline=", ".join(f"{n} {kind.value}" for kind, n in kinds if n) or "nothing",
        ending={"tone": colour, "text": ending},
        counts=[(v.value, report.total[v]) for v in Verdict if report.total[v]],
        decided=[v.value for v in (*WRONG, *LOST, Verdict.FIXED)],
        wrong=report.cells_with(*WRONG),
        fixed=report.cells_with(Verdict.FIXED),
        lost=lost_together(report),
        stale=list(stale_evidence(report).items()),
        bugs=known_bugs(report),
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
        data=page_data(report),
    )
    return html.rstrip("\n") + "\n"


@cache
def _template() -> Template:
    return _environment().get_template("page.html")


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
        place=words.place,
        plural=words.plural,
        prose=lambda words: text.clean(words, text.PROSE_LIMIT),
        shown=shown_outcome,
        tone=tone,
        where=where,
    )
    return environment


# --- the matrix


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
    return _Row(number, summary(scenario), list(groups.values()), cells)


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


def _known(report: Report, key: str) -> bool:
    return any(_fact(column.record, key) for column in report.columns)


def _fact(record: ColumnRecord, key: str) -> str:
    return str(record.version if key == "version" else record.provenance.get(key, ""))


# --- small things of the template


def _anchor(cell: ResultRecord) -> str:
    """The part of the address that opens a cell; the script knows it by the same names."""
    scenario = quote(text.clean(cell.scenario), safe="/")
    return f"#{scenario}@{quote(text.clean(cell.column), safe='/,:')}"


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
