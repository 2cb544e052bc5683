"""Two sets of results held against each other: what changed, and what cannot be said.

Pure. A cell is compared where both sides have an outcome. Everything else is named with its
cause: a missing result is never read as "unchanged". Cells that were seen more than once are
compared by how often each outcome came (Fisher's exact test, see `told_apart`): a flake whose
two sides cannot be told apart by so few attempts is no change, and is not "the same" either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property
from math import comb
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from harness.report.details import detail_changes
from harness.report.model import where
from harness.results import (
    ColumnRecord,
    ResultRecord,
    Results,
    Verdict,
    current,
    interrupted,
)

ENOUGH = 6  # looks at each side: all of one kind against all of another are then no chance
SURE = 0.01  # below this probability a difference of distributions is not put down to chance

Tally = dict[str, int]
"""Outcome -> how often it was observed; at least one."""


class Kind(Enum):
    """What can be said of a cell on both sides."""

    SAME = "same"
    CHANGED = "changed"
    EITHER = (
        "either"  # differs within the set that the matrix declares, and nobody has looked often
    )
    FLAKE = "flake"  # differs, but so few attempts prove nothing
    NOT_APPLICABLE = "n/a"  # on both sides
    LOST = "not compared"


COMPARED = (Kind.SAME, Kind.CHANGED)


class CellDiff(Struct, frozen=True):
    """One scenario at one place (arch, flavour), old and new."""

    scenario: str
    place: str
    kind: Kind
    old: ResultRecord | None = None  # None: there is no such cell
    new: ResultRecord | None = None
    was: Mapping[str, int] | None = None  # tallies; None where nothing was observed
    now: Mapping[str, int] | None = None
    cause: str = ""  # why it is not compared
    details: tuple[tuple[str, str, str], ...] = ()  # (key, old, new) of the second tier

    @property
    def flaky(self) -> bool:
        return any(tally is not None and len(tally) > 1 for tally in (self.was, self.now))


class Diff(Struct, frozen=True, dict=True):
    """Everything a renderer prints."""

    old: str  # name of the old side: kernel and version, or the file
    new: str
    cells: tuple[CellDiff, ...]
    notes: tuple[str, ...]  # what else is not known: interrupted runs, damaged lines
    with_details: bool = False

    def of_kind(self, kind: Kind) -> list[CellDiff]:
        return [cell for cell in self.cells if cell.kind is kind]

    @cached_property
    def compared(self) -> list[CellDiff]:
        return [cell for cell in self.cells if cell.kind in COMPARED]

    @cached_property
    def not_compared(self) -> list[CellDiff]:
        return [cell for cell in self.cells if cell.kind in (Kind.LOST, Kind.FLAKE, Kind.EITHER)]

    @cached_property
    def changed_details(self) -> list[CellDiff]:
        """Cells with equal outcomes whose second tier differs."""
        return [cell for cell in self.cells if cell.details]

    @property
    def exit_code(self) -> Literal[0, 1, 3]:
        """0 the same, 1 changed, 3 not everything was compared (or nothing at all)."""
        if self.of_kind(Kind.CHANGED) or self.changed_details:
            return 1
        if self.not_compared or self.notes or not self.compared:
            return 3
        return 0


class _Cell(Struct, frozen=True):
    """One cell of one side."""

    record: ResultRecord | None = None
    tally: Tally | None = None
    lost: str = ""  # why there is no outcome


_Column = dict[str, _Cell]  # by scenario
_ABSENT = _Cell(lost="not among its scenarios")


def compare(
    old: Results, new: Results, names: tuple[str, str] = ("", ""), details: bool = False
) -> Diff:
    """What is different in `new`. `names` stand for sides that cannot name themselves."""
    sides = (_columns(old), _columns(new))
    cells: list[CellDiff] = []
    notes = [f"{'new' if side else 'old'}: {note}" for side in (0, 1)
             for note in _notes((old, new)[side])]  # fmt: skip
    for place, one, other in _pair(*sides):
        if one is None or other is None:
            cells += _alone(place, one, other)
            continue
        for name in dict.fromkeys([*one, *other]):
            cells.append(_compare_cells(name, place, one.get(name, _ABSENT),
                                        other.get(name, _ABSENT), details))  # fmt: skip
    kernels = [len({kernel for kernel, _ in side}) for side in sides]
    if all(kernels) and kernels[0] != kernels[1]:
        notes.append("not as many kernels on both sides: name one with FILE#KERNEL")
    titles = [_title(results, name) for results, name in zip((old, new), names, strict=True)]
    return Diff(titles[0], titles[1], tuple(cells), tuple(notes), details)


def _alone(place: str, old: _Column | None, new: _Column | None) -> list[CellDiff]:
    """The cells of a column that only one side has."""
    have, name, other = (new or {}, "new", "old") if old is None else (old, "old", "new")
    return [
        CellDiff(
            scenario, place, Kind.LOST,
            cause=f"{name}: {cell.lost}" if cell.lost else f"{other} has no column {place}",
        )
        for scenario, cell in have.items()
    ]  # fmt: skip


def _compare_cells(name: str, place: str, old: _Cell, new: _Cell, details: bool) -> CellDiff:
    lost = [f"{side}: {cell.lost}" for side, cell in (("old", old), ("new", new)) if cell.lost]
    if lost or old.tally is None or new.tally is None or not old.record or not new.record:
        return CellDiff(
            name, place, Kind.LOST, old.record, new.record, old.tally, new.tally, "; ".join(lost)
        )
    kind, cause = judge(old.tally, new.tally)
    if kind in (Kind.CHANGED, Kind.FLAKE) and _of_one_set(old, new):
        kind, cause = _within_a_set(old, new)
    second = detail_changes(old.record, new.record) if details and kind is Kind.SAME else ()
    return CellDiff(name, place, kind, old.record, new.record, old.tally, new.tally, cause, second)


def _within_a_set(old: _Cell, new: _Cell) -> tuple[Kind, str]:
    """Of outcomes that differ by no more than chance, where the matrix declares that the cell may
    end in several ways: the same, when there were looks enough.
    """
    assert old.tally and new.tally
    if min(sum(old.tally.values()), sum(new.tally.values())) >= ENOUGH:
        return Kind.SAME, ""
    return Kind.EITHER, f"either is as declared (--repeat {ENOUGH} tells the sides apart)"


def _of_one_set(old: _Cell, new: _Cell) -> bool:
    """Whether both are as expected of a cell that may end in several ways, and chance is an
    explanation of how they differ.
    """
    assert old.record and new.record and old.tally and new.tally
    return (
        old.record.verdict is new.record.verdict
        and new.record.verdict in (Verdict.MATCH, Verdict.KNOWN_BUG)
        and old.record.expected == new.record.expected
        and len(new.record.expected) > 1
        and not told_apart(old.tally, new.tally)
    )


def judge(old: Tally, new: Tally) -> tuple[Kind, str]:
    """How two tallies compare, and why they are not, where they are not."""
    if set(old) == set(new) == {"n/a"}:
        return Kind.NOT_APPLICABLE, ""
    if len(old) == len(new) == 1:
        return (Kind.SAME if old.keys() == new.keys() else Kind.CHANGED), ""
    if told_apart(old, new):
        return Kind.CHANGED, ""
    if old.keys() == new.keys():
        return Kind.SAME, ""
    return Kind.FLAKE, "a flake: too few attempts to tell the sides apart (--repeat N)"


def told_apart(old: Tally, new: Tally) -> bool:
    """Whether some outcome is so much more frequent on one side that chance is no explanation.

    Fisher's exact test, two-sided, of each outcome against the others, at SURE.
    """
    total_old, total_new = sum(old.values()), sum(new.values())
    return any(
        _fisher(old.get(outcome, 0), total_old, new.get(outcome, 0), total_new) < SURE
        for outcome in {*old, *new}
    )


def _fisher(a: int, of_a: int, b: int, of_b: int) -> float:
    """The probability of a split at least as uneven as a of of_a and b of of_b, if both are
    drawn from the same urn.
    """
    hits, total = a + b, of_a + of_b
    ways = comb(total, hits)

    def chance(k: int) -> float:
        return comb(of_a, k) * comb(of_b, hits - k) / ways

    seen = chance(a) * (1 + 1e-9)
    lowest, highest = max(0, hits - of_b), min(of_a, hits)
    return sum(p for k in range(lowest, highest + 1) if (p := chance(k)) <= seen)


# -- the columns of one side, and their partners --


def _columns(results: Results) -> dict[tuple[str, str], _Column]:
    """(kernel, place) -> cells."""
    places: dict[str, tuple[str, str]] = {}
    for column in results.columns.values():
        places[column.column] = (column.kernel, _arch_and_flavour(column))
    observed, missing = current(results)
    found: dict[tuple[str, str], _Column] = {}
    order = {name: place for place, name in enumerate(_planned(results))}
    for record in sorted(observed, key=lambda one: order.get(one.scenario, len(order))):
        key = (record.run_id, record.column, record.scenario)
        if results.without_kernel(record):
            cell = _Cell(record, lost=f"n/a: {record.observation.cause}")
        else:
            cell = _cell(record, results.tried.get(key, {}))
        found.setdefault(_place(record, places), {})[record.scenario] = cell
    for planned, scenario in missing:
        place = (planned.kernel, _arch_and_flavour(planned))
        found.setdefault(place, {})[scenario] = _Cell(lost="planned, and never observed")
    return found


def _arch_and_flavour(column: ColumnRecord) -> str:
    """Whatever it ran on: QEMU's view of an arch is compared with that of a real machine, or with
    what an import tells.
    """
    return where(replace(column, target="qemu"))


def _planned(results: Results) -> Iterable[str]:
    return dict.fromkeys(name for column in results.columns.values() for name in column.planned)


def _place(record: ResultRecord, places: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Of a column whose own line was lost the id still says which it is."""
    kernel, _, place = record.column.partition(",")
    return places.get(record.column, (kernel, place))


def _cell(record: ResultRecord, earlier: Mapping[int, str]) -> _Cell:
    seen = record.observation
    tally = {outcome: count for outcome, count in record.tally.items() if outcome}
    if not tally and record.confirmation == "flake":
        # The last record of a flake says again which attempt counts.
        tried = [outcome for _, outcome in sorted(earlier.items())]
        tried += [seen.outcome] if len(tried) < 2 else []
        tally = dict(Counter(filter(None, tried)))
    if not tally and seen.outcome and record.verdict is not Verdict.INFRA:
        tally = {seen.outcome: 1}
    if tally:
        return _Cell(record, tally)
    why = seen.failure.splitlines()[0] if seen.failure else record.verdict.value
    return _Cell(record, lost=f"infra: {why}")


def _pair(
    old: dict[tuple[str, str], _Column], new: dict[tuple[str, str], _Column]
) -> list[tuple[str, _Column | None, _Column | None]]:
    """(place, old, new): by place where each side is one kernel, else by kernel and place."""
    one_each = all(len({kernel for kernel, _ in side}) <= 1 for side in (old, new))

    def by(side: dict[tuple[str, str], _Column]) -> dict[str, _Column]:
        return {place if one_each else f"{kernel},{place}": column
                for (kernel, place), column in side.items()}  # fmt: skip

    left, right = by(old), by(new)
    return [(place, left.get(place), right.get(place)) for place in dict.fromkeys([*left, *right])]


def _title(results: Results, name: str) -> str:
    """The kernel of a side with its version, or several, or what the caller calls it."""
    versions: dict[str, str] = {}
    for column in results.columns.values():
        versions[column.kernel] = max(versions.get(column.kernel, ""), _version(column))
    said = ", ".join(f"{k} ({v})" if v else k for k, v in versions.items())
    return said or name or "nothing"


def _version(column: ColumnRecord) -> str:
    return column.version or column.release


def _notes(results: Results) -> list[str]:
    """What may have been lost without a trace in any cell."""
    notes = [f"run {run} was interrupted: it has no end record" for run in interrupted(results)]
    notes += [f"run {end.run_id} ended early: {end.reason}" for end in results.ends.values()
              if end.reason]  # fmt: skip
    return [*notes, *(f"damaged line, not read: {line}" for line in results.damaged)]
