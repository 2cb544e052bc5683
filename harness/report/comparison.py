"""Where the columns that one program ran on differ: how it ended, what its tests came to, what it
printed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import chain

from msgspec import Struct

from harness.program_record import KEPT, ColumnOutput, ComparisonRecord, ProgramRecord, death
from harness.report import words
from harness.text import LINE_LIMIT, clean

ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{5,}\b")  # of what lies elsewhere on each arch, and each time
LINES = 2000  # of what differs in an output; more than that is compared as a whole
SHOWN = 8  # lines of one text, and
PLACES = 30  # places of one output that are shown
CONTEXT = 20  # characters that are shown of what long lines have in common
SILENT = "(nothing)"
UNENDED = "(no end of line)"
STREAMS = ("stdout", "stderr")

Column = str
Texts = Mapping[Column, list[str]]  # lines


class Row(Struct, frozen=True):
    """One thing that was seen, and where."""

    lines: list[str]
    columns: list[Column]


class Place(Struct, frozen=True):
    """Something that was looked at on each column; it differs where it has several rows."""

    title: str
    rows: list[Row]  # what most columns have first

    @property
    def differs(self) -> bool:
        return len(self.rows) > 1


class Comparison(Struct, frozen=True):
    """Of those columns that the program ran on."""

    end: Place
    kernel: Place  # what the kernel said meanwhile
    what: str  # was compared besides: the cases that its output told of, or the output
    rest: list[Place]  # of that, where it differs

    @property
    def differs(self) -> bool:
        return self.end.differs or self.kernel.differs or bool(self.rest)


def compare_columns(seen: Sequence[ColumnOutput], exact: bool = False) -> Comparison:
    """`seen` have a record each. Addresses in what they print are compared if `exact`."""
    records = {one.column: one.record for one in seen if one.record is not None}
    if any(record.cases for record in records.values()):
        what = "cases"  # what tells of them prints times and numbers beside them
        places = _case_places(records, exact)
    else:
        cut = any(_is_cut(one, stream) for one in seen for stream in STREAMS)
        what = "first MiB of output" if cut else "output"
        what += "" if exact else ", addresses apart"
        places = chain.from_iterable(
            _output_places(stream, _texts(seen, stream, exact)) for stream in STREAMS
        )
    return Comparison(
        end=_place("how it ended", {column: [end_of(one)] for column, one in records.items()}),
        kernel=_place(
            "what the kernel said",
            {column: [one.kernel_said or SILENT] for column, one in records.items()},
        ),
        what=what,
        rest=[place for place in places if place.differs],
    )


def _place(title: str, texts: Texts) -> Place:
    rows: dict[tuple[str, ...], list[Column]] = {}
    for column, lines in texts.items():
        rows.setdefault(tuple(lines), []).append(column)
    ordered = sorted(rows.items(), key=lambda item: -len(item[1]))  # stable: else as they came
    return Place(title, [Row(list(lines), columns) for lines, columns in ordered])


def _comparable(text: str, exact: bool) -> str:
    return text if exact else ADDRESS.sub("0x..", text)


def end_of(record: ProgramRecord) -> str:
    """How it ended, in what arches have in common: no address of its own."""
    if record.hang:
        return record.hang
    if record.signal:
        died, place = death(record.signal, record.details)
        return f"killed by {died.partition(' ')[0]}" + (f" in {place}" if place else "")
    if record.exit_code is not None:
        return f"exit status {record.exit_code}"
    return record.reason or "unknown"


# -- cases ---------------------------------------------------------------------------------


def _case_places(records: Mapping[Column, ProgramRecord], exact: bool) -> Iterator[Place]:
    """What they came to together, for a plan that was not kept is no case, and each of them."""
    yield _place(
        "what its cases came to",
        {column: [_came_to(record, exact)] for column, record in records.items()},
    )
    cases = {column: _cases(record, exact) for column, record in records.items()}
    for name in dict.fromkeys(name for of_one in cases.values() for name in of_one):
        told = {column: [of_one.get(name, "not told of")] for column, of_one in cases.items()}
        yield _place(f"case {name}", told)


def _came_to(record: ProgramRecord, exact: bool) -> str:
    """Verdict, totals and reason, unless that is a signal: how it ended has its own place."""
    totals = ", ".join(f"{count} {status}" for status, count in record.totals.items())
    reason = "" if record.signal else _comparable(record.reason, exact)
    return "; ".join(filter(None, (record.status.value, totals, reason)))


def _cases(record: ProgramRecord, exact: bool) -> dict[str, str]:
    """Status by name; of a name that comes again, one after the other."""
    found: dict[str, str] = {}
    counts = Counter[str]()
    for case in record.cases:
        name = _comparable(case.name, exact)
        counts[name] += 1
        again = f" ({counts[name]})" if counts[name] > 1 else ""
        found[name + again] = case.status.value
    return found


# -- output --------------------------------------------------------------------------------


def _texts(seen: Sequence[ColumnOutput], stream: str, exact: bool) -> Texts:
    """Where some are cut, the lines that are whole in all of those: their addresses differ in
    length, and so what lies in front of the cut does.
    """
    texts = {one.column: _lines(getattr(one, stream), exact) for one in seen}
    whole = [getattr(one, stream).count("\n") for one in seen if _is_cut(one, stream)]
    common = max(min(whole), 1) if whole else None
    return {column: lines[:common] for column, lines in texts.items()}


def _lines(text: str, exact: bool) -> list[str]:
    *lines, rest = _comparable(text, exact).split("\n")
    return [*lines, rest, UNENDED] if rest else lines


def _is_cut(one: ColumnOutput, stream: str) -> bool:
    return one.record is not None and getattr(one.record, f"{stream}_bytes") > KEPT


def _output_places(stream: str, texts: Texts) -> Iterator[Place]:
    """The places in which these differ, as lines of what most of them have. Short ones in which
    each has as many lines are one for each line: noise in one hides no other.
    """
    whole = _place(stream, texts)
    if not whole.differs:
        return
    most = whole.rows[0].lines
    maps = {column: _Map(most, lines) for column, lines in texts.items()}
    for first, last in _merged(span for one in maps.values() for span in one.changed):
        told = {column: one.lines(first, last) for column, one in maps.items()}
        count = last - first
        if 0 < count <= SHOWN and all(len(lines) == count for lines in told.values()):
            for nth in range(count):
                line = {column: [lines[nth]] for column, lines in told.items()}
                yield _place(f"{stream}, {_span(first + nth, first + nth + 1)}", line)
        else:
            there = {column: lines or [SILENT] for column, lines in told.items()}
            yield _place(f"{stream}, {_span(first, last)}", there)


def _span(first: int, last: int) -> str:
    if first == last:
        return f"after line {first}"
    return f"lines {first + 1} to {last}" if last > first + 1 else f"line {last}"


def _merged(spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Those that touch are one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    yield from found


class _Map:
    """Which lines of a text stand in the place of which lines of another, `most`."""

    def __init__(self, most: list[str], lines: list[str]) -> None:
        self._lines = lines
        self._codes = list(_opcodes(most, lines))
        self.changed = [(i1, i2) for tag, i1, i2, _, _ in self._codes if tag != "equal"]

    def lines(self, first: int, last: int) -> list[str]:
        """Those in the place of most[first:last], which cuts through nothing that is changed."""
        return self._lines[min(self._places(first)) : max(self._places(last))]

    def _places(self, line: int) -> Iterator[int]:
        """Where that line of `most` begins; a place at which something was put in has two ends."""
        for tag, i1, i2, j1, j2 in self._codes:
            if tag == "equal" and i1 <= line <= i2:
                yield j1 + line - i1
            elif tag != "equal":
                yield from (j for i, j in ((i1, j1), (i2, j2)) if i == line)


def _opcodes(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """As SequenceMatcher's, whose time grows as the square of what differs: not all of a flood."""
    head = _common(old, new)
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    yield "equal", 0, head, 0, head
    if max(len(a), len(b)) > LINES:
        yield "replace", head, head + len(a), head, head + len(b)
    else:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            yield tag, head + i1, head + i2, head + j1, head + j2
    yield "equal", len(old) - tail, len(old), len(new) - tail, len(new)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the first are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


# -- as text -------------------------------------------------------------------------------


def render_comparison(record: ComparisonRecord, compared: Comparison | None) -> str:
    """For people: each place once, what most columns have first, the others marked. `compared` are
    those that it was seen on, if there are any.
    """
    names = _short([one.column for one in record.columns])
    count = words.plural(len(record.columns), "column")
    seen = sum(one.record is not None for one in record.columns)
    of_all = count if seen == len(record.columns) else f"{seen} of {count}"
    lines = list(_compared(compared, of_all, names)) if compared else []
    for one in record.columns:
        if one.record is None:
            first, *rest = one.failure.splitlines() or ["unknown"]
            lines += ["", f"{clean(one.column)}: not observed: {clean(first, 300)}"]
            lines += [f"  {clean(line)}" for line in rest[:SHOWN]]
    return "\n".join(lines).lstrip("\n") + "\n"


def _compared(compared: Comparison, columns: str, names: Mapping[str, str]) -> Iterator[str]:
    yield from _told(compared.end, names)
    if compared.kernel.differs or compared.kernel.rows[0].lines != [SILENT]:
        yield from _told(compared.kernel, names)
    for place in compared.rest[:PLACES]:
        yield from _told(place, names)
    if more := len(compared.rest) - PLACES:
        yield from ["", f"and {words.plural(more, 'place')} more"] if more > 0 else []
    yield ""
    if compared.differs:
        yield f"{columns}: they differ"
    else:
        yield f"{columns}: the same end, the same {compared.what}"


def _told(place: Place, names: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield clean(place.title)
    for number, (row, shown) in enumerate(zip(place.rows, _legible(place.rows), strict=True)):
        mark = "*" if number else " "
        where = " ".join(clean(names[column]) for column in row.columns)
        yield f"{mark} {where}"
        yield from (f"    {clean(line, LINE_LIMIT)}" for line in shown)
        if len(row.lines) > SHOWN:
            yield f"    .. {words.plural(len(row.lines) - SHOWN, 'line')} more"


def _legible(rows: Sequence[Row]) -> list[list[str]]:
    """Of each row the lines that are shown, so that one can see where they differ: a long first one
    from shortly before that, and those that would look alike as Python writes them.
    """
    texts = [row.lines[:SHOWN] for row in rows]
    least, greatest = min(texts)[0], max(texts)[0]
    alike = _common(least, greatest)  # of all
    if LINE_LIMIT // 2 < alike < len(greatest):
        texts = [[f"..{first[alike - CONTEXT :]}", *rest] for first, *rest in texts]
    looks = {"\n".join(clean(line, LINE_LIMIT).rstrip() for line in lines) for lines in texts}
    if len(looks) < len(texts):
        texts = [[ascii(line) for line in lines] for lines in texts]
    return texts


def _short(columns: Sequence[Column]) -> dict[Column, str]:
    """Columns without what all of them have in common: the arch alone where there is one kernel."""
    parts = {column: column.split(",") for column in columns}
    shared = [len(set(words)) == 1 for words in zip(*parts.values(), strict=False)]
    if len(columns) < 2 or len({len(words) for words in parts.values()}) > 1 or all(shared):
        return {column: column for column in columns}
    return {
        column: ",".join(word for word, same in zip(words, shared, strict=True) if not same)
        for column, words in parts.items()
    }
