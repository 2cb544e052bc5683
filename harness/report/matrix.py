"""The matrix on a terminal: scenarios x columns.

Each outcome of a scenario stands once, on a line of its own, and marks the columns that had
it: outcomes need no abbreviation, columns stay narrow, and a scenario with marks on more than one
line is one that differs. What is too long for its line goes on below, so that one
long outcome moves no mark. Verdicts have a mark each; colour only repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from rich.text import Text

from harness import text
from harness.report import words
from harness.report.model import Column, Report, Scenario, shown_outcome, where
from harness.results import ResultRecord, Verdict

Mark = tuple[str, str]  # character, style

# verdict: mark, style, what the legend says
LOOKS = {
    Verdict.MATCH: ("*", "bold cyan", "differs, as expected"),
    Verdict.KNOWN_BUG: ("~", "yellow", "known bug"),
    Verdict.FIXED: ("+", "bold green", "fixed"),
    Verdict.MISMATCH: ("!", "bold red", "mismatch"),
    Verdict.NO_EXPECTATION: ("?", "bold magenta", "no expectation"),
    Verdict.NOT_APPLICABLE: ("-", "dim", "n/a"),
    Verdict.NOT_RUN: ("o", "dim", "not run: could do harm"),
    Verdict.MISSING: ("_", "bold red", "missing"),
    Verdict.INFRA: ("x", "bold red", "infra"),
}
_AS_MOST = (".", "dim")
_NOTHING = (" ", "")
_QUIET = {_AS_MOST, _NOTHING, LOOKS[Verdict.NOT_APPLICABLE][:2]}
_OUTCOME_ROOM = 26  # characters that outcomes get at least, before columns go to another page
_PLAIN_ROOM = 40  # the same where there is no terminal: there is but one page then
_PLAIN_WIDTH = 100  # what a log, a mail and half a screen can show
_STEPS = re.compile(r"(?<=; )|(?<= \| )")
_INDENT = "  "  # of what goes on


def pages(report: Report, width: int | None) -> Iterator[Sequence[Column]]:
    """Columns that fit side by side; unless all do, a page ends with its kernel. A kernel that
    there cannot be for an arch is left to the counts below.
    """
    columns = [column for column in report.columns if not column.absent] or report.columns
    room = (width or 0) - _name_width(report) - _OUTCOME_ROOM
    if width is None or sum(_widths(columns)) <= room:
        yield from [columns] if columns else []
        return
    page: list[Column] = []
    for column in columns:
        used = sum(_widths([*page, column]))
        if page and (page[-1].record.kernel != column.record.kernel or used > room):
            yield page
            page = []
        page.append(column)
    if page:
        yield page


def matrix(report: Report, page: Sequence[Column], width: int | None) -> Iterator[Text]:
    names, widths = _name_width(report), _widths(page)
    room = _room(width, names + sum(widths))
    rows = [(scenario, _lines(scenario, page)) for scenario in report.scenarios]
    longest = max((len(outcome) for _, lines in rows for outcome, _ in lines), default=0)
    title = _title(page, names + room if width else text.OUTCOME_LIMIT)
    outcomes = min(max(longest, len(title) - names), room)
    yield from _header(page, names + outcomes, title)
    family = ""
    for scenario, lines in rows:
        if lines and scenario.family != family:
            family = scenario.family
            yield Text(text.clean(family, 40), "bold")
        name = _name(scenario)
        for outcome, marks in lines:
            quiet = all(mark in _QUIET for mark in marks)
            first, *rest = _fold(outcome, outcomes)
            line = Text(f"{name:<{names}}").append(f"{first:<{outcomes}}", "dim" * quiet)
            for room, (mark, style) in zip(widths, marks, strict=True):
                line.append(" " * (room - 1)).append(mark, style)
            line.rstrip()
            yield line
            for more in rest:
                yield Text(" " * names).append(more, "dim" * quiet)
            name = ""


def _room(width: int | None, taken: int) -> int:
    """Characters for outcomes beside what names and columns have `taken`."""
    return max(_PLAIN_WIDTH - taken, _PLAIN_ROOM) if width is None else max(width - taken, 20)


def _fold(outcome: str, room: int) -> list[str]:
    """In lines, broken where a step or an actor ends if that is possible."""
    lines = [""]
    for step in _STEPS.split(outcome):
        if lines[-1].strip() and len(lines[-1]) + len(step.rstrip()) > room:
            lines.append(_INDENT)
        lines[-1] += step
    folded = (
        wrap(line, max(room, 10), subsequent_indent=_INDENT, break_on_hyphens=False)
        for line in lines
    )
    return [part for parts in folded for part in parts] or [""]


def _lines(scenario: Scenario, page: Sequence[Column]) -> list[tuple[str, list[Mark]]]:
    """(outcome, a mark for each column of the page), largest group first."""
    cells = {column.id: scenario.cells.get(column.id) for column in page}
    seen = dict.fromkeys(group.outcome for group in scenario.groups)
    seen.update(dict.fromkeys(shown_outcome(cell) for cell in cells.values() if cell))
    lines: list[tuple[str, list[Mark]]] = []
    for outcome in seen:
        marks = [_mark(scenario, cell, outcome) for cell in cells.values()]
        if any(mark.strip() for mark, _ in marks):
            lines.append((words.short_outcome(outcome), marks))
    return lines


def _mark(scenario: Scenario, cell: ResultRecord | None, outcome: str) -> Mark:
    if cell is None or shown_outcome(cell) != outcome:
        return _NOTHING
    most = scenario.majority
    if cell.verdict is Verdict.MATCH and most and outcome == most.outcome:
        return _AS_MOST
    return LOOKS[cell.verdict][:2]


def _header(page: Sequence[Column], indent: int, title: str) -> Iterator[Text]:
    """A line of arches behind the title, or below one that is too long; without one, each kernel
    over its first column above.
    """
    kernels, line = " " * indent, " " * indent
    kernel = ""
    for column, width in zip(page, _widths(page), strict=True):
        if column.record.kernel != kernel:
            kernel = column.record.kernel
            kernels = f"{kernels:<{len(line)}}  {_kernel(column)}"
        line += f"{_place(column):>{width}}"
    if title and len(title) <= indent:
        line = title + line[len(title) :]
    else:
        yield Text(title or kernels, "bold")
    yield Text(line, "bold")


def _title(page: Sequence[Column], limit: int) -> str:
    """The kernel of a page that has one only, by its exact version; else ""."""
    kernel, version = page[0].record.kernel, page[0].record.version
    if any(column.record.kernel != kernel for column in page):
        return ""
    return text.clean(f"{kernel} ({version})" if version else kernel, limit)


def _place(column: Column) -> str:
    return text.clean(where(column.record), 24)


def _kernel(column: Column) -> str:
    return text.clean(column.record.kernel, 24)


def _widths(page: Sequence[Column]) -> list[int]:
    """Of each column; where there are several kernels, the last of each makes room for its name."""
    widths = [max(len(_place(column)), 4) + 2 for column in page]
    kernels = [
        [place for place, _ in group]
        for _, group in groupby(enumerate(page), lambda item: item[1].record.kernel)
    ]
    for places in kernels if len(kernels) > 1 else ():
        used = sum(widths[place] for place in places)
        widths[places[-1]] += max(len(_kernel(page[places[0]])) + 2 - used, 0)
    return widths


def _name(scenario: Scenario) -> str:
    return "  " + text.clean(scenario.short, 40)


def _name_width(report: Report) -> int:
    return max((len(_name(scenario)) for scenario in report.scenarios), default=0) + 2


def legend(report: Report) -> Text:
    """Only the symbols that occur."""
    legend = Text().append(f"{_AS_MOST[0]} as most columns", "dim")
    for verdict, (symbol, style, meaning) in LOOKS.items():
        if report.total[verdict] and (verdict is not Verdict.MATCH or _any_differs(report)):
            legend.append("   ").append(f"{symbol} {meaning}", style)
    return legend


def _any_differs(report: Report) -> bool:
    """Whether a cell that is as expected is not as most of its row."""
    return any(
        cell.verdict is Verdict.MATCH and group is not scenario.majority
        for scenario in report.scenarios
        for group in scenario.groups
        for cell in group.cells
    )
