"""The results on a terminal: matrix, cells not as expected, counts a column.

Every line is a `rich.text.Text` built from parts that went through `text.clean`: nothing is
ever read as markup, and off a terminal its plain text is the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import wrap

from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from harness import text
from harness.report import words
from harness.report.matrix import LOOKS, legend, matrix, pages
from harness.report.model import (
    WRONG,
    Lost,
    Report,
    build,
    known_bugs,
    lost_together,
    shown_outcome,
    stale_evidence,
)
from harness.results import Evidence, ResultRecord, Results, Verdict

_LABEL = 13  # characters that the name of a field takes
_CONSOLE_TAIL = 12  # lines
_NAMES_SHOWN = 8
_NOTES_SHOWN = 10
_NO_FOLD = 1 << 16  # characters: the width where there is no terminal

_UNSEEN = {Verdict.INFRA, Verdict.MISSING, Verdict.NOT_RUN}

Lines = Iterator[Text]
Field = tuple[str, str, str]  # name, value, style


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would exit with 1 here, which says `mismatch`: let the caller decide."""
        raise BrokenPipeError


def render_terminal(
    results: Results, console: Console | None = None, code: int | None = None
) -> None:
    """Print everything to `console` (default: stdout). Raises OSError as writing does.

    `code` is what the process exits with, where that is not what the results alone say.
    """
    console = console or _Console()
    report = build(results)
    if code is not None:
        report = replace(report, exit_code=code)
    if console.is_terminal:
        for line in _report(report, console.width):
            console.print(line, highlight=False, crop=False)
    else:
        plain = (line.plain.rstrip() for line in _report(report, None))
        console.out("\n".join(plain), highlight=False)


def render_plain(results: Results) -> str:
    """The same without a terminal: nothing is folded or coloured."""
    lines = (line.plain.rstrip() for line in _report(build(results), None))
    return "\n".join(lines) + "\n"


def _report(report: Report, width: int | None) -> Lines:
    """Everything in reading order; what matters most stands last, next to the prompt."""
    if set(+report.total) - _UNSEEN:  # a matrix of cells that all were lost says nothing
        for page in pages(report, width):
            yield from matrix(report, page, width)
            yield Text()
        yield from (legend(report), Text())
    sections: Sequence[tuple[str, Callable[[Report, int], Sequence[Lines]]]] = (
        ("Not the same on all kernels", _changes),
        ("Known bugs, as predicted", _known_bugs),
        ("Fixed: amend these rows", _fixed),
        ("Stale evidence: the text is not where the matrix says", _stale),
        ("Not as expected", _unexpected),
    )
    for title, section in sections:
        if entries := section(report, width or _NO_FOLD):
            yield Text(f"{title} ({len(entries)})", "bold underline")
            for entry in entries:
                yield from entry
            yield Text()
    yield from (*_counts(report), Text())
    for note in _some(report.notes, _NOTES_SHOWN, "more notes"):
        yield Text().append("note: ", "bold yellow").append(text.clean(note))
    yield _verdict(report)


# --- sections: a list of entries, each a few lines


def _changes(report: Report, width: int) -> list[Lines]:
    def entry(name: str, places: Iterable[str], cells: dict[str, ResultRecord]) -> Lines:
        yield Text(f"  {text.clean(name, 80)}").append(f"  {text.clean(', '.join(places))}", "bold")
        longest = max(len(text.clean(kernel, 40)) for kernel in cells)
        for kernel, cell in cells.items():
            outcome = words.short_outcome(shown_outcome(cell))
            yield from _fields(width, (f"{text.clean(kernel, 40):<{longest}}  ", outcome, ""))

    return [entry(change.scenario, change.where, change.cells) for change in report.changes]


def _known_bugs(report: Report, width: int) -> list[Lines]:
    def entry(cells: Sequence[ResultRecord]) -> Lines:
        yield _head(Verdict.KNOWN_BUG, cells[0].scenario, _columns(report, cells))
        yield from _fields(
            width,
            ("observed", words.observed(cells[0]), ""),
            ("correct", text.clean(cells[0].want, text.OUTCOME_LIMIT), ""),
            ("see", text.clean(cells[0].bug), ""),
        )

    return [entry(cells) for cells in known_bugs(report)]


def _fixed(report: Report, width: int) -> list[Lines]:
    return [_cell(cell, width) for cell in report.cells_with(Verdict.FIXED)]


def _unexpected(report: Report, width: int) -> list[Lines]:
    """Mismatches one by one; what was lost together is told together."""
    entries = [_cell(cell, width) for cell in report.cells_with(*WRONG)]
    return entries + [_lost(lost, width) for lost in lost_together(report)]


def _stale(report: Report, width: int) -> list[Lines]:
    def entry(item: Evidence, cells: Sequence[ResultRecord]) -> Lines:
        yield Text(f"? {text.clean(item.id)}  {words.place(item)}", "bold magenta")
        what, why = text.clean(item.text), text.clean(item.why)
        scenarios = list(dict.fromkeys(text.clean(cell.scenario, 60) for cell in cells))
        yield from _fields(
            width,
            ("text", what, ""),
            ("but", why, ""),
            ("used by", ", ".join(_some(scenarios, _NAMES_SHOWN, "more")), ""),
            ("columns", _columns(report, cells), ""),
            ("declared", text.clean(item.declared), ""),
        )

    return [entry(item, cells) for item, cells in stale_evidence(report).items()]


# --- entries


def _cell(cell: ResultRecord, width: int) -> Lines:
    yield _head(cell.verdict, cell.scenario, text.clean(cell.column))
    yield from _fields(
        width,
        ("observed", words.observed(cell), LOOKS[cell.verdict][1]),
        ("run again", text.clean(cell.confirmation), ""),
        ("expected", words.expected(cell), ""),  # and below it why: of what came nobody knows
        ("because", text.clean(cell.because, text.PROSE_LIMIT), ""),
        *(("evidence", f"{words.place(e)}: {text.clean(e.text)}", "") for e in cell.evidence),
        ("correct", text.clean(cell.want, text.OUTCOME_LIMIT), ""),
        ("declared", text.clean(cell.declared), ""),
        *_console(cell),
    )
    yield from _repeat(cell)


def _lost(lost: Lost, width: int) -> Lines:
    cells, first = lost.cells, lost.cells[0]
    several = len(cells) > 1
    names = [text.clean(cell.scenario, 60) for cell in cells] if several else []
    what = words.plural(len(cells), "scenario") if several else first.scenario
    yield _head(first.verdict, what, text.clean(lost.where))
    yield from _fields(
        width,
        ("lost", ", ".join(_some(names, _NAMES_SHOWN, "more")), ""),
        *(
            ("because", text.clean(line, text.PROSE_LIMIT), "")
            for line in first.observation.failure.splitlines()
        ),
        ("run again", text.clean(first.confirmation), ""),
        *_console(first),
    )
    yield from _repeat(first)


def _console(cell: ResultRecord) -> Iterator[Field]:
    lines = cell.observation.console
    if (earlier := len(lines) - _CONSOLE_TAIL) > 0:
        yield "console", f"({words.plural(earlier, 'earlier line')})", "dim"
    for line in lines[-_CONSOLE_TAIL:]:
        yield "console", text.clean(line), "dim"


def _repeat(cell: ResultRecord) -> Lines:
    if cell.repeat:  # never folded by us: it is there to be copied
        line = Text(no_wrap=True, overflow="ignore")
        line.append(f"    {'repeat':<{_LABEL}}", "dim")
        yield line.append(text.clean(cell.repeat, text.PROSE_LIMIT))


def _head(verdict: Verdict, scenario: str, columns: str) -> Text:
    symbol, style, _ = LOOKS[verdict]
    head = Text().append(f"{symbol} {text.clean(scenario, 80)}", style)
    return head.append(f"  {columns}", "bold").append(f"  {verdict.value}", style)


def _fields(width: int, *fields: Field) -> Lines:
    """The fields that have a value below each other, long values folded under themselves."""
    said = ""
    for name, value, style in fields:
        label = f"    {name if name != said else '':<{_LABEL}}"
        for line in wrap(value, max(width - len(label), 20)):
            yield Text().append(label, "dim").append(line, style)
            label = " " * len(label)
            said = name


def _columns(report: Report, cells: Iterable[ResultRecord]) -> str:
    return text.clean(report.name_columns(cell.column for cell in cells))


def _some(items: Sequence[str], limit: int, noun: str) -> list[str]:
    """The first `limit`, and how many there are besides."""
    rest = len(items) - limit
    return [*items[:limit], *([f"and {rest} {noun}"] if rest > 0 else [])]


# --- counts


def _counts(report: Report) -> Lines:
    rows = []
    for column in report.columns:
        record = column.record
        facts = (column.id, record.version or "-", record.provenance.get("accel", "-"))
        rows.append([text.clean(fact, 40) for fact in facts])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, column in zip(rows, report.columns, strict=True):
        line = Text("  ".join(f"{fact:<{w}}" for fact, w in zip(row, widths, strict=True)))
        between = "  "
        for verdict, (_, style, _) in LOOKS.items():
            if count := column.counts[verdict]:
                quiet = "" if verdict is Verdict.MATCH else style
                line.append(between).append(f"{count} {verdict.value}", quiet)
                between = ", "
        if said := column.record.provenance.get("boot_said"):
            line.append(f"{between}{text.clean(said, 40)} while booting", "yellow")
        yield line


def _verdict(report: Report) -> Text:
    cells = sum(report.total.values())
    total = f"{words.plural(len(report.scenarios), 'scenario')} on "
    total += f"{words.plural(len(report.columns), 'column')}, {words.plural(cells, 'cell')}: "
    unrun = report.total[Verdict.NOT_RUN]
    left = f", {unrun} not run" if unrun else ""
    said, style = {
        0: (f"{cells - unrun} as expected" if unrun else "as expected", "bold green"),
        1: ("mismatch", "bold red"),
        2: ("no expectation, or evidence that is stale", "bold magenta"),
        3: ("not everything was observed", "bold red"),
    }.get(report.exit_code, ("interrupted", "bold red"))
    return Text(total).append(said, style).append(f"{left} (exit code {report.exit_code})")
