"""The report as the text of a mail to a mailing list: no line is longer than 72 columns.

What needs a decision comes first and in full; known bugs and divergences that were expected
follow as outcomes with their columns, and where all agree it is only counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import wrap

from harness import text
from harness.report import words
from harness.report.model import (
    WRONG,
    Kind,
    Lost,
    Report,
    Scenario,
    build,
    lost_together,
    shown_outcome,
    stale_evidence,
)
from harness.results import ResultRecord, Results, Verdict

WIDTH = 72  # columns: what netiquette asks for, and what survives being quoted
_CONSOLE_TAIL = 12  # lines
_NAMES_SHOWN = 12
_NOTES_SHOWN = 8
_LABEL = 10  # columns that the name of a field takes

Lines = Iterator[str]


def render_mail(results: Results) -> str:
    """The whole report, one string that ends in a newline."""
    report = build(results)
    sections: Sequence[tuple[str, Callable[[Report], list[Lines]]]] = (
        ("Not as expected", _unexpected),
        ("Not observed", _lost),
        ("Stale evidence", _stale),
        ("Fixed: amend these rows", _fixed),
        ("Known bugs", _known_bugs),
        ("Not the same on all kernels", _changes),
        ("Different by design", _designed),
    )
    lines = [*_summary(report)]
    for title, section in sections:
        if entries := section(report):
            heading = f"{title} ({len(entries)})"
            lines += ["", heading, "-" * len(heading)]
            for entry in entries:
                lines += ["", *entry]
    lines += ["", *_agree(report)]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


# --- what was run


def _summary(report: Report) -> Lines:
    scenarios = words.plural(len(report.scenarios), "scenario")
    kinds = ((kind, len(report.of_kind(kind))) for kind in Kind)
    told = ", ".join(f"{count} {kind.value}" for kind, count in kinds if count)
    columns = words.plural(len(report.columns), "column")
    yield from _fold(f"Page faults, {scenarios} on {columns}: {told or 'nothing'}.")
    yield ""
    longest = min(max((len(column.id) for column in report.columns), default=0), 28)
    for column in report.columns:
        record = column.record
        facts = [record.version or record.release, record.provenance.get("compiler", "")]
        if qemu := record.provenance.get("qemu"):
            facts.append(f"QEMU {qemu} {record.provenance.get('accel', '')}")
        yield from _field(column.id, ", ".join(fact for fact in facts if fact), longest)
    for note in report.notes[:_NOTES_SHOWN]:
        yield from _field("note", note)
    if (more := len(report.notes) - _NOTES_SHOWN) > 0:
        yield f"  and {words.plural(more, 'note')} more"


def _agree(report: Report) -> Lines:
    alike = len([s for s in report.scenarios if s.observed_kind is Kind.AGREE])
    told = f"{words.plural(alike, 'scenario')} had one outcome everywhere, as expected."
    for kind, what in (
        (Kind.NOT_APPLICABLE, "Applicable on no column"),
        (Kind.NOT_RUN, "Run on no column, refused as they could harm the machine"),
    ):
        if count := len([s for s in report.scenarios if s.observed_kind is kind]):
            told += f" {what}: {count}."
    yield from _fold(told)


# --- sections: a list of entries, each a few lines


def _unexpected(report: Report) -> list[Lines]:
    return [_cell(cell) for cell in report.cells_with(*WRONG)]


def _fixed(report: Report) -> list[Lines]:
    return [_cell(cell) for cell in report.cells_with(Verdict.FIXED)]


def _lost(report: Report) -> list[Lines]:
    def entry(lost: Lost) -> Lines:
        first = lost.cells[0]
        yield from _fold(f"{_some([cell.scenario for cell in lost.cells])} on {lost.where}:")
        yield from _field(first.verdict.value, first.observation.failure or "no record")
        yield from _console(first)
        yield from _command(first.repeat)

    return [entry(lost) for lost in lost_together(report)]


def _stale(report: Report) -> list[Lines]:
    def entry(what: str, words: str, cells: list[ResultRecord]) -> Lines:
        yield from _fold(what)
        yield from _field("text", words)
        yield from _field("used by", _some(list(dict.fromkeys(c.scenario for c in cells))))

    return [
        entry(f"{item.id}: {words.place(item)}", item.text, cells)
        for item, cells in stale_evidence(report).items()
    ]


def _known_bugs(report: Report) -> list[Lines]:
    def entry(scenario: Scenario) -> Lines:
        yield from _groups(report, scenario)
        bugs: dict[str, dict[str, None]] = defaultdict(dict)
        for cell in scenario.cells_with(Verdict.KNOWN_BUG):
            bugs[cell.want][cell.bug] = None
        for want, references in bugs.items():
            yield from _field("correct", want)
            for reference in references:
                yield from _field("see", reference)

    return [entry(scenario) for scenario in _of_kind(report, Kind.KNOWN_BUG)]


def _designed(report: Report) -> list[Lines]:
    return [_groups(report, s) for s in _of_kind(report, Kind.ARCH_DEFINED)]


def _changes(report: Report) -> list[Lines]:
    def entry(name: str, places: Iterable[str], cells: dict[str, ResultRecord]) -> Lines:
        yield from _fold(f"{name} ({', '.join(places)})")
        for kernel, cell in cells.items():
            yield from _field(kernel, shown_outcome(cell), 14)

    return [entry(change.scenario, change.where, change.cells) for change in report.changes]


def _of_kind(report: Report, kind: Kind) -> list[Scenario]:
    return [s for s in report.scenarios if s.observed_kind is kind and s.groups]


# --- entries


def _cell(cell: ResultRecord) -> Lines:
    again = f", {cell.confirmation}" if cell.confirmation else ""
    yield from _fold(f"{cell.scenario} on {cell.column}: {cell.verdict.value}{again}")
    yield from _field("observed", words.observed(cell))
    yield from _field("expected", words.expected(cell))
    yield from _field("because", cell.because)
    for item in cell.evidence:
        yield from _field("evidence", words.place(item))
        yield from _field("", item.text)
    yield from _field("correct", cell.want)
    yield from _field("declared", cell.declared)
    yield from _console(cell)
    yield from _command(cell.repeat)


def _groups(report: Report, scenario: Scenario) -> Lines:
    """Outcomes with their columns, the largest group first."""
    yield from _fold(scenario.name)
    for group in scenario.groups:
        yield from _fold(group.outcome, "  ", "      ")
        loud = {cell.verdict.value for cell in group.cells} - {Verdict.MATCH.value}
        verdicts = f" ({', '.join(sorted(loud))})" if loud else ""
        yield from _fold(report.name_columns(group.columns) + verdicts, "      ")


def _console(cell: ResultRecord) -> Lines:
    for line in cell.observation.console[-_CONSOLE_TAIL:]:
        yield from _fold(text.clean(line), "  | ")


def _command(command: str) -> Lines:
    """A command that can be pasted as it stands: folded by backslashes, where possible at blanks.

    What is folded inside a word goes on in the first column: a blank would end the word.
    """
    room, start = WIDTH - 8, "  $ "
    folded = wrap(
        text.clean(command, text.PROSE_LIMIT), room, break_long_words=False, break_on_hyphens=False
    )
    for place, line in enumerate(folded, 1):
        while len(line) > room:
            yield f"{start}{line[:room]}\\"
            start, line = "", line[room:]
        yield f"{start}{line}" + (" \\" if place < len(folded) else "")
        start = "      "


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _field(name: str, value: str, width: int = _LABEL) -> Lines:
    """A name and its value, folded under itself; nothing for nothing."""
    if value:
        label = f"  {text.clean(name, 40):<{width}} "
        yield from _fold(value, label, " " * min(len(label), 31))


def _fold(content: str, first: str = "", rest: str | None = None) -> Lines:
    """Lines of at most WIDTH columns; whatever a guest said is made harmless first."""
    yield from wrap(
        text.clean(content, text.PROSE_LIMIT),
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    ) or [first.rstrip()]
