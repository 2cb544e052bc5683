"""A comparison as text.

What matters most stands last, next to the prompt. Everything a guest said goes through
`text.clean`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from harness import text
from harness.report import words
from harness.report.diff import COMPARED, CellDiff, Diff, Kind
from harness.results import ResultRecord, Verdict

_CONSOLE_HEAD, _CONSOLE_TAIL = 10, 3  # lines: what happened stands first, how it ended last
_DETAILS_SHOWN = 12  # of one cell
_NAMES_SHOWN = 6
_WIDTH = 100  # columns, of a list of names
_CAUSE_SHOWN = 60  # characters of it in the last line: the list above has all of it
_EXPECTED = (Verdict.MATCH, Verdict.KNOWN_BUG, Verdict.FIXED, Verdict.NOT_APPLICABLE)


def diff_text(diff: Diff) -> str:
    """The whole comparison, ending in a line feed."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(diff))


def verdict_line(diff: Diff) -> str:
    """What is known, and no more than that."""
    changed, compared = len(diff.of_kind(Kind.CHANGED)), len(diff.compared)
    if not diff.cells:
        said = "Nothing to compare"
    elif changed:
        said = f"{words.plural(changed, 'difference')} in {words.plural(compared, 'compared cell')}"
    elif not compared:
        said = "Nothing could be compared"
    else:
        said = f"No difference in {words.plural(compared, 'compared cell')}"
    if diff.with_details:
        same = compared - changed
        said += f"; details differ in {len(diff.changed_details)} of the {same} with equal outcome"
    if diff.not_compared:
        causes = Counter(_short_cause(cell) for cell in diff.not_compared)
        told = "; ".join(f"{count}: {cause}" for cause, count in causes.most_common(4))
        more = "; .." if len(causes) > 4 else ""
        said += f"; {len(diff.not_compared)} not compared ({told}{more})"
    if unapplied := len(diff.of_kind(Kind.NOT_APPLICABLE)):
        said += f"; {unapplied} n/a on both sides"
    return f"{said}."


def _lines(diff: Diff) -> Iterator[str]:
    yield f"old: {text.clean(diff.old)}"
    yield f"new: {text.clean(diff.new)}"
    yield ""
    sections: Sequence[
        tuple[str, Callable[[Sequence[CellDiff]], Iterator[str]], Sequence[CellDiff]]
    ] = (
        ("Details differ, outcomes are equal", _details, diff.changed_details),
        ("Flakes", _flakes, [cell for cell in diff.cells if cell.flaky]),
        ("Not compared", _not_compared, diff.not_compared),
        ("Changed", _changes, diff.of_kind(Kind.CHANGED)),
    )
    for title, section, cells in sections:
        if cells:
            yield f"{title} ({len(cells)})"
            yield from section(cells)
            yield ""
    yield from _counts(diff)
    yield from (f"note: {text.clean(note)}" for note in diff.notes)
    yield f"{verdict_line(diff)} (exit code {diff.exit_code})"


def _alike(cells: Iterable[CellDiff]) -> list[list[CellDiff]]:
    """Equal changes of one scenario on several arches are told once."""
    groups: dict[tuple[str, str, str], list[CellDiff]] = defaultdict(list)
    for cell in cells:
        groups[cell.scenario, shown(cell.was), shown(cell.now)].append(cell)
    return list(groups.values())


def _changes(cells: Iterable[CellDiff]) -> Iterator[str]:
    """And so are those of several scenarios of which there is nothing else to tell apart."""
    stories: dict[tuple[str, ...], list[list[CellDiff]]] = defaultdict(list)
    for group in _alike(cells):
        places = ", ".join(cell.place for cell in group)
        stories[text.clean(places), *_changed(group)].append(group)
    for (places, *lines), groups in stories.items():
        names = ", ".join(text.clean(group[0].scenario, 80) for group in groups)
        yield from wrap(
            f"{names}  {places}", _WIDTH, initial_indent="  ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        yield from lines
        new = groups[0][0].new
        if new is not None and new.repeat:
            yield f"    repeat   {text.clean(new.repeat, text.PROSE_LIMIT)}"


def _changed(group: Sequence[CellDiff]) -> Iterator[str]:
    yield f"    old      {shown(group[0].was)}{_why_not(group[0].old)}"
    yield f"    new      {shown(group[0].now)}{_why_not(group[0].new)}"
    for cell in group:
        new = cell.new
        where = f" ({cell.place})" if len(group) > 1 else ""
        if new is not None and new.verdict not in _EXPECTED:
            yield f"    matrix   expects {words.expected(new)}{where}"
        if new is not None and new.confirmation:
            yield f"    again    {text.clean(new.confirmation)}{where}"
        for side, record in (("old", cell.old), ("new", new)):
            yield from _console(side, record, where)


def _why_not(record: ResultRecord | None) -> str:
    """The cause of n/a."""
    cause = record.observation.cause if record is not None else ""
    return f" ({text.clean(cause)})" if cause else ""


def _console(side: str, record: ResultRecord | None, where: str) -> Iterator[str]:
    lines = record.observation.console if record is not None else []
    if (left_out := len(lines) - _CONSOLE_HEAD - _CONSOLE_TAIL) > 0:
        more = f".. {words.plural(left_out, 'line')} .."
        lines = [*lines[:_CONSOLE_HEAD], more, *lines[-_CONSOLE_TAIL:]]
    for line in lines:
        yield f"    console  {side}{where}: {text.clean(line)}"


def _details(cells: Iterable[CellDiff]) -> Iterator[str]:
    for cell in cells:
        yield f"  {text.clean(cell.scenario, 80)}  {text.clean(cell.place)}  {shown(cell.now)}"
        for key, old, new in cell.details[:_DETAILS_SHOWN]:
            yield f"    {text.clean(key, 40):<16} {text.clean(old)} -> {text.clean(new)}"
        if (more := len(cell.details) - _DETAILS_SHOWN) > 0:
            yield f"    and {more} more"


def _flakes(cells: Iterable[CellDiff]) -> Iterator[str]:
    how = {Kind.SAME: "no difference can be told", Kind.CHANGED: "changed"}
    for cell in cells:
        said = how.get(cell.kind, cell.cause)
        yield f"  {text.clean(cell.scenario, 80)}  {text.clean(cell.place)}  {text.clean(said)}"
        yield f"    old      {shown(cell.was)}"
        yield f"    new      {shown(cell.now)}"


def _not_compared(cells: Iterable[CellDiff]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        groups[cell.place, cell.cause].append(cell.scenario)
    for (place, cause), names in groups.items():
        some = ", ".join(text.clean(name, 60) for name in names[:_NAMES_SHOWN])
        more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        yield f"  {text.clean(place)}: {words.plural(len(names), 'cell')}: {text.clean(cause, 400)}"
        yield f"    {some}{more}"


def _counts(diff: Diff) -> Iterator[str]:
    counts: dict[str, Counter[Kind]] = defaultdict(Counter)
    for cell in diff.cells:
        counts[cell.place][cell.kind] += 1
    width = max(map(len, counts), default=0)
    for place, count in counts.items():
        said = [f"{sum(count[kind] for kind in COMPARED)} compared"]
        said += [f"{count[kind]} {word}" for kind, word in (
            (Kind.EITHER, "either"), (Kind.CHANGED, "changed"), (Kind.NOT_APPLICABLE, "n/a"),
            (Kind.FLAKE, "flake" if count[Kind.FLAKE] == 1 else "flakes"),
            (Kind.LOST, "not compared")) if count[kind]]  # fmt: skip
        yield f"{text.clean(place):<{width}}  {', '.join(said)}"


def shown(tally: Mapping[str, int] | None) -> str:
    """An outcome, or "ok 7/10, EFAULT 3/10"."""
    if not tally:
        return "nothing"
    if len(tally) == 1:
        return text.clean(next(iter(tally)), text.OUTCOME_LIMIT)
    total = sum(tally.values())
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{text.clean(name, 100)} {count}/{total}" for name, count in ordered)


def _short_cause(cell: CellDiff) -> str:
    """The cause without what is different in every cell."""
    if cell.kind is Kind.FLAKE:
        return "a flake"
    if cell.kind is Kind.EITHER:
        return "either is as declared"
    return text.shorten(text.clean(cell.cause.partition("; ")[0]), _CAUSE_SHOWN)
