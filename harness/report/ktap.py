"""The report as KTAP version 1 (Documentation/dev-tools/ktap.rst): a column is a test, a cell
one of its subtests.

A known bug is `ok` with the directive XFAIL, as kselftest writes it; a parser that does not
know the directive must not take it for news. What could not be observed is `not ok` with ERROR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness import text
from harness.report import words
from harness.report.model import WRONG, Column, Report, build
from harness.results import ResultRecord, Results, Verdict

_INDENT = "  "


def render_ktap(results: Results) -> str:
    """The whole report, as a kernel's test runner would print it."""
    report = build(results)
    lines = ["KTAP version 1", f"1..{len(report.columns)}"]
    lines += [f"# {text.clean(note, text.PROSE_LIMIT)}" for note in report.notes]
    for number, column in enumerate(report.columns, 1):
        lines += _column(report, column, number)
    return "\n".join(lines) + "\n"


def _column(report: Report, column: Column, number: int) -> Iterator[str]:
    cells = [s.cells[column.id] for s in report.scenarios if column.id in s.cells]
    name, passed = _name(column.id), True
    yield f"{_INDENT}KTAP version 1"
    yield f"{_INDENT}# Subtest: {name}"
    yield f"{_INDENT}1..{len(cells)}"
    for place, cell in enumerate(cells, 1):
        word, directive = _result(cell)
        passed = passed and word == "ok"
        if word != "ok":
            yield from (f"{_INDENT}# {line}" for line in _diagnosis(cell))
        yield f"{_INDENT}{word} {place} {_name(cell.scenario)}{directive}"
    # A suite without tests fails in every parser; say why.
    ending = "" if cells else " # SKIP no scenario"
    yield f"{'ok' if passed else 'not ok'} {number} {name}{ending}"


def _result(cell: ResultRecord) -> tuple[str, str]:
    """ok or not ok, and the directive with its words."""
    if cell.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_RUN):
        return "ok", f" # SKIP {words.observed(cell)}"
    if cell.verdict in (Verdict.INFRA, Verdict.MISSING):
        return "not ok", f" # ERROR {words.observed(cell)}"
    stale = next((item for item in cell.evidence if item.status == "stale"), None)
    if cell.verdict not in WRONG and stale is not None:
        return "not ok", f" # ERROR stale evidence {text.clean(stale.id)}"
    if cell.verdict is Verdict.KNOWN_BUG:
        return "ok", f" # XFAIL {words.observed(cell)}; {text.clean(cell.bug)}"
    return ("not ok" if cell.verdict in WRONG else "ok"), ""


def _diagnosis(cell: ResultRecord) -> Iterator[str]:
    yield f"{cell.verdict.value}: {_name(cell.scenario)}"
    yield f"observed: {words.observed(cell)}"
    yield f"expected: {words.expected(cell)}"
    if cell.because:
        yield f"because: {text.clean(cell.because, text.PROSE_LIMIT)}"
    if cell.repeat:
        yield f"repeat: {text.clean(cell.repeat, text.PROSE_LIMIT)}"
    # Behind a bar: a guest's line must not be read as a result, a plan or a subtest.
    yield from (f"| {text.clean(line)}" for line in cell.observation.console)


def _name(name: str) -> str:
    """A description ends at a hash sign; one that began with a dash would lose it."""
    return re.sub(r"#|^-", "_", text.clean(name))
