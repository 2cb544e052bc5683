"""The divergence report as GitHub-flavoured Markdown.

What needs a decision comes first: cells not as expected, then known bugs, then divergences
that were expected, then kernels against each other, then where all agree. What a guest said
stands in code spans and fenced blocks only; what a person declared is escaped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from harness import text
from harness.report import words
from harness.report.model import (
    WRONG,
    Change,
    Group,
    Kind,
    Report,
    Scenario,
    build,
    lost_together,
    shown_outcome,
    stale_evidence,
)
from harness.results import Observation, ResultRecord, Results, Verdict

_CONSOLE_TAIL = 30  # lines
_EVIDENCE_SHOWN = 12  # places a group
_MINORITY = 60  # characters of an outcome in a sentence: the table below has all of it
_NOTES_SHOWN = 50
_FACTS = {  # heading: key of the provenance
    "patches": "patches",
    "patches there already": "patches_skipped",
    "compiler": "compiler",
    "QEMU": "qemu",
    "accelerator": "accel",
    "CPU": "cpu",
    "said while booting": "boot_said",
}
_SPECIAL = re.compile(r"([\\`*\[\]~]|(?<!\w)_|_(?!\w))")
_MENTION = re.compile(r"(@[\w/+-]+)")  # "@exact" must not call on a GitHub user of that name

Lines = Iterator[str]


def render_markdown(results: Results) -> str:
    """The whole report, one string that ends in a newline."""
    report = build(results)
    sections: Sequence[tuple[str, Callable[[Report], Lines]]] = (
        ("Not as expected", _of_kind(Kind.UNEXPLAINED)),
        ("Not observed", _lost),
        ("Stale evidence", _stale),
        ("Fixed: amend these rows", _of_kind(Kind.FIXED)),
        ("Known bugs", _of_kind(Kind.KNOWN_BUG)),
        ("Expected divergences", _of_kind(Kind.ARCH_DEFINED)),
        ("Kernels compared", _kernels),
        ("All agree", _agree),
        ("Not applicable", _unasked(Verdict.NOT_APPLICABLE, lambda seen: seen.cause)),
        ("Not run", _unasked(Verdict.NOT_RUN, lambda seen: seen.failure)),
    )
    lines = [*_summary(report)]
    for title, section in sections:
        if body := list(section(report)):
            lines += [f"## {title}", "", *body]
    return "\n".join(lines).rstrip() + "\n"


# --- what was run, and how it went


def _summary(report: Report) -> Lines:
    yield from ("# Page faults: where architectures and kernels differ", "")
    kinds = ((kind, len(report.of_kind(kind))) for kind in Kind)
    told = ", ".join(f"{count} {kind.value}" for kind, count in kinds if count)
    scenarios = words.plural(len(report.scenarios), "scenario")
    yield f"**{scenarios} on {words.plural(len(report.columns), 'column')}: {told or 'nothing'}.**"
    yield ""
    for note in [*map(text.clean, report.notes)][:_NOTES_SHOWN]:
        yield f"- **Note:** {prose(note)}"
    if (more := len(report.notes) - _NOTES_SHOWN) > 0:
        yield f"- and {words.plural(more, 'note')} more"
    for run in report.runs:
        harness = f", faultline {prose(run.harness)}" if run.harness else ""
        yield f"- Run {code(run.run_id)}, started {prose(run.started)}{harness}"
    yield ""
    if report.columns:
        yield from ("## Columns", "")
        yield from _provenance(report)
        yield from _counts(report)


def _provenance(report: Report) -> Lines:
    """What each column ran; a fact that no column has is no column of the table."""
    facts = {
        fact: [column.record.provenance.get(key, "") for column in report.columns]
        for fact, key in _FACTS.items()
    }
    facts = {fact: values for fact, values in facts.items() if any(values)}
    rows = []
    for place, column in enumerate(report.columns):
        kernel = column.record.version or column.record.release  # of the package, if it is one
        values = (values[place] for values in facts.values())
        rows.append([code(column.id), code(kernel), *map(prose, values)])
    yield from table(("column", "kernel", *facts), rows)


def _counts(report: Report) -> Lines:
    verdicts = [verdict for verdict in Verdict if report.total[verdict]]
    rows = [
        [code(column.id), *(str(column.counts[verdict] or "") for verdict in verdicts)]
        for column in report.columns
    ]
    if len(rows) > 1:
        rows.append(["**all**", *(str(report.total[verdict]) for verdict in verdicts)])
    yield from table(["column", *(verdict.value for verdict in verdicts)], rows)


# --- scenarios one by one


def _of_kind(kind: Kind) -> Callable[[Report], Lines]:
    def section(report: Report) -> Lines:
        for scenario in report.scenarios:
            if scenario.observed_kind is kind and scenario.groups:
                yield from _scenario(report, scenario)
                for cell in scenario.cells_with(*WRONG, Verdict.FIXED):
                    yield from _cell(cell)

    return section


def _scenario(report: Report, scenario: Scenario) -> Lines:
    yield from (f"### {code(scenario.name)}", "", _minority(report, scenario), "")
    rows = [
        [code(group.outcome), prose(report.name_columns(group.columns)), _verdicts(group.cells)]
        for group in scenario.groups
    ]
    for verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_RUN, Verdict.INFRA, Verdict.MISSING):
        if cells := scenario.cells_with(verdict):
            columns = report.name_columns(cell.column for cell in cells)
            rows.append(["", prose(columns), verdict.value])
    yield from table(("outcome", "columns", "verdict"), rows)
    for group in scenario.groups:
        yield from _reasons(report, group)
    yield ""


def _minority(report: Report, scenario: Scenario) -> str:
    """Who differs from whom, in a sentence."""
    compared = sum(len(group.cells) for group in scenario.groups)
    if len(scenario.groups) == 1:
        return f"The same outcome on {words.plural(compared, 'column')}."
    if not scenario.minority:
        size = compared // len(scenario.groups)
        return f"A tie: {len(scenario.groups)} outcomes, each on {size} of {compared} columns."
    named = ", ".join(
        f"**{prose(report.name_columns(group.columns))}** ({code(group.outcome, _MINORITY)})"
        for group in scenario.minority
    )
    size = len(scenario.minority[0].cells)
    each = "each " if len(scenario.minority) > 1 else ""
    most = len(scenario.groups[0].cells)
    against = f"{most}" if scenario.majority else f"a tie of {most} each"
    return f"Minority: {named}, {each}{size} against {against}, of {compared} columns."


def _verdicts(cells: Iterable[ResultRecord]) -> str:
    return ", ".join(dict.fromkeys(cell.verdict.value for cell in cells))


def _reasons(report: Report, group: Group) -> Lines:
    """Why the cells of a group are as they are: each reason once, with its columns."""
    by_reason: dict[tuple[str, str, str, str], list[ResultRecord]] = defaultdict(list)
    for cell in group.cells:
        instead = _expected(cell) if words.unmet(cell) else ""
        by_reason[instead, cell.because, cell.want, cell.bug].append(cell)
    for (instead, because, want, bug), cells in by_reason.items():
        columns = prose(report.name_columns(cell.column for cell in cells))
        why = prose(because) or "no reason is declared"
        if instead:
            why = f"expected {instead}" + (f" because {why}" if because else f", {why}")
        yield f"- {code(group.outcome)} ({columns}): {why}"
        if want or bug:
            yield f"  - a correct kernel: {code(want)} ({prose(bug) or 'no reference'})"
        yield from _evidence(report, cells)


def _evidence(report: Report, cells: Iterable[ResultRecord]) -> Lines:
    """A line a place in the source; where it stands elsewhere in another kernel, both."""
    places: dict[tuple[str, str, str, str], dict[int, dict[str, None]]] = {}
    for cell in cells:
        for item in cell.evidence:
            key = (item.file, item.function, words.status(item), item.text)
            lines = places.setdefault(key, {})
            lines.setdefault(item.line, {})[report.records[cell.column].kernel] = None
    for (file, function, status, quoted), lines in [*places.items()][:_EVIDENCE_SHOWN]:
        first, *others = lines
        told = code((f"{file}:{first} {function}" if first else f"{file} {function}").rstrip())
        told += status
        if others:
            told += f" on {prose(', '.join(lines[first]))}"
            told += "".join(f", {code(f':{n}')} on {prose(', '.join(lines[n]))}" for n in others)
        yield f"  - {told}" + (f": {code(quoted)}" if quoted else "")
    if (more := len(places) - _EVIDENCE_SHOWN) > 0:
        yield f"  - and {more} more places"


def _cell(cell: ResultRecord) -> Lines:
    """A cell that needs a decision: everything it takes to make one."""
    again = f" ({prose(cell.confirmation)})" if cell.confirmation else ""
    yield f"**{cell.verdict.value}** on {code(cell.column)}{again}"
    yield ""
    yield f"- observed: {code(words.observed(cell))}"
    yield f"- expected: {_expected(cell)}"
    for item in cell.evidence:
        yield f"- evidence: {code(f'{words.place(item)}: {item.text}')}"
    if cell.declared:
        yield f"- declared: {code(cell.declared)}"
    if cell.repeat:
        yield f"- repeat: {code(cell.repeat, text.PROSE_LIMIT)}"
    yield ""
    yield from fence(cell.observation.console[-_CONSOLE_TAIL:])


def _expected(cell: ResultRecord) -> str:
    return " or ".join(code(outcome) for outcome in cell.expected) or "no row matches"


def _lost(report: Report) -> Lines:
    """What was lost together is told together: a column that did not boot is one row."""
    lost = [(code(one.where), one, one.cells[0]) for one in lost_together(report)]
    if not lost:
        return
    rows = [
        [
            where,
            first.verdict.value,
            code(_first(first.observation.failure)),
            str(len(one.cells) * len(one.columns)),
            _names([cell.scenario for cell in one.cells]),
        ]
        for where, one, first in lost
    ]
    yield from table(("columns", "verdict", "why", "cells", "scenarios"), rows)
    for where, _, first in lost:
        if "\n" in first.observation.failure:  # what the compiler said
            yield from (f"{where}:", "")
            yield from fence(first.observation.failure.splitlines())
    for where, _, first in lost:
        if first.observation.console:
            why = code(_first(first.observation.failure))
            yield from (f"Console of {where}, {why}:", "")
            yield from fence(first.observation.console[-_CONSOLE_TAIL:])


def _first(failure: str) -> str:
    return next(iter(failure.splitlines()), "")


def _stale(report: Report) -> Lines:
    rows = [
        [
            code(item.id),
            code(words.place(item)),
            code(item.text),
            prose(item.why),
            _columns_of(report, cells),
        ]
        for item, cells in stale_evidence(report).items()
    ]
    if rows:
        yield from ("The tree that was built does not have this text where it must stand.", "")
        yield from table(("decision", "place", "text", "but", "columns"), rows)


# --- across scenarios


def _kernels(report: Report) -> Lines:
    if len(report.kernels) < 2:
        return
    if not report.changes:
        yield from ("No scenario changed its outcome between kernels.", "")
        return
    changed = len({change.scenario for change in report.changes})
    yield f"{changed} of {words.plural(len(report.scenarios), 'scenario')} changed on some arch."
    yield ""
    rows = [
        [code(change.scenario), prose(", ".join(change.where)), *_outcomes(report, change)]
        for change in report.changes
    ]
    yield from table(("scenario", "arches", *map(prose, report.kernels)), rows)


def _outcomes(report: Report, change: Change) -> Iterator[str]:
    for kernel in report.kernels:
        cell = change.cells.get(kernel)
        if cell is None:
            yield ""
            continue
        quiet = cell.verdict in (Verdict.MATCH, Verdict.NOT_APPLICABLE)
        yield code(shown_outcome(cell)) + ("" if quiet else f" ({cell.verdict.value})")


def _agree(report: Report) -> Lines:
    alike: dict[str, list[str]] = defaultdict(list)
    for scenario in report.scenarios:
        if scenario.observed_kind is Kind.AGREE:
            alike[scenario.groups[0].outcome].append(scenario.name)
    for outcome, names in alike.items():
        yield f"- {code(outcome)}: {', '.join(map(code, names))}"
    if alike:
        yield ""


def _unasked(verdict: Verdict, why: Callable[[Observation], str]) -> Callable[[Report], Lines]:
    def section(report: Report) -> Lines:
        """What has this verdict for one cause in the same columns is told together."""
        alike: dict[tuple[str, str], list[str]] = defaultdict(list)
        for scenario in report.scenarios:
            causes: dict[str, list[ResultRecord]] = defaultdict(list)
            for cell in scenario.cells_with(verdict):
                causes[why(cell.observation)].append(cell)
            for cause, cells in causes.items():
                alike[_columns_of(report, cells), cause].append(scenario.name)
        rows = [
            [_names(names, 40), columns, code(cause) or "not said"]
            for (columns, cause), names in alike.items()
        ]
        if rows:
            yield from table(("scenarios", "columns", "cause"), rows)

    return section


def _columns_of(report: Report, cells: Iterable[ResultRecord]) -> str:
    return prose(report.name_columns(dict.fromkeys(cell.column for cell in cells)))


def _names(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(code, names[:limit])) + more


# --- Markdown


def code(content: str, limit: int = text.OUTCOME_LIMIT) -> str:
    """A code span that its content cannot leave; nothing for nothing."""
    content = text.clean(content, limit)
    if not content.strip():
        return ""
    ticks = "`" * (_longest_run(content) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{ticks}{pad}{content}{pad}{ticks}"


def prose(content: str) -> str:
    """One line of text in which nothing is Markdown or HTML."""
    parts = _MENTION.split(text.clean(content, text.PROSE_LIMIT))
    return "".join(code(part) if place % 2 else _escape(part) for place, part in enumerate(parts))


def _escape(content: str) -> str:
    content = _SPECIAL.sub(r"\\\1", content)
    return content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fence(lines: Sequence[str]) -> Lines:
    """A fenced block that its lines cannot close."""
    if lines:
        cleaned = [text.clean(line) for line in lines]
        ticks = "`" * max(3, max(map(_longest_run, cleaned)) + 1)
        yield from (f"{ticks}text", *cleaned, ticks, "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    yield _row(header)
    yield _row(["---"] * len(header))
    yield from map(_row, rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    """In a table a pipe ends the cell even in a code span, and after an escaped backslash too."""
    safe = (re.sub(r"\\(?=\|)", r"\\ ", cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(safe)} |"


def _longest_run(content: str) -> int:
    return max(map(len, re.findall("`+", content)), default=0)
