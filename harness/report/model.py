"""The view model: what the results say, before anybody chooses how to print it.

Pure: `Results` in, frozen data out, linear in the number of records. Cells are
`ResultRecord`s; a cell that was planned and never observed gets a made-up one with verdict
`missing`. Nothing here is escaped: text is as hostile as the guest that wrote it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import Enum
from functools import cached_property

from msgspec import Struct

from harness.results import (
    ColumnRecord,
    Evidence,
    Observation,
    ResultRecord,
    Results,
    RunRecord,
    Verdict,
    current,
    exit_code,
    interrupted,
)

# An outcome was observed and can be compared; n/a, infra and missing say nothing to compare.
COMPARED = {
    Verdict.MATCH,
    Verdict.KNOWN_BUG,
    Verdict.FIXED,
    Verdict.MISMATCH,
    Verdict.NO_EXPECTATION,
}
WRONG = {Verdict.MISMATCH, Verdict.NO_EXPECTATION}
LOST = {Verdict.INFRA, Verdict.MISSING}


class Kind(Enum):
    """How a scenario stands over all columns; the first that applies."""

    UNEXPLAINED = "not as expected"
    FIXED = "fixed"
    KNOWN_BUG = "with a known bug"
    ARCH_DEFINED = "differing as expected"  # each outcome was expected by its row
    AGREE = "alike everywhere"
    NOT_APPLICABLE = "applicable nowhere"
    NOT_RUN = "run nowhere"  # refused: it could do harm there


class Column(Struct, frozen=True):
    """One column and how many of its cells got which verdict."""

    record: ColumnRecord
    counts: Counter[Verdict]

    @property
    def id(self) -> str:
        return self.record.column

    @property
    def absent(self) -> bool:
        """Whether there can be no such kernel for this arch: it has no version, and all is n/a."""
        return not self.record.version and set(self.counts) == {Verdict.NOT_APPLICABLE}


class Group(Struct, frozen=True):
    """Cells of one scenario with equal outcome, in column order."""

    outcome: str
    cells: tuple[ResultRecord, ...]

    @property
    def columns(self) -> list[str]:
        return [cell.column for cell in self.cells]


class Scenario(Struct, frozen=True, dict=True):
    """One row of the matrix. `groups` are largest first, equal sizes in column order."""

    name: str
    cells: dict[str, ResultRecord]
    groups: tuple[Group, ...]

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def short(self) -> str:
        return self.name.partition("/")[2] or self.name

    @cached_property
    def majority(self) -> Group | None:
        """The one largest group; None in a tie, and where nothing was compared."""
        sizes = [len(group.cells) for group in self.groups]
        unique = len(sizes) == 1 or (len(sizes) > 1 and sizes[0] > sizes[1])
        return self.groups[0] if unique else None

    @property
    def minority(self) -> tuple[Group, ...]:
        """The smallest groups, where there is a larger one; empty in an all-round tie."""
        if not self.groups:
            return ()
        smallest = len(self.groups[-1].cells)
        if smallest == len(self.groups[0].cells):
            return ()
        return tuple(group for group in self.groups if len(group.cells) == smallest)

    @cached_property
    def kind(self) -> Kind:
        lost = any(cell.verdict in LOST for cell in self.cells.values())
        return Kind.UNEXPLAINED if lost else self.observed_kind

    @cached_property
    def observed_kind(self) -> Kind:
        """`kind` as far as cells were observed: a lost one hides no divergence."""
        verdicts = {cell.verdict for cell in self.cells.values()} - LOST
        if verdicts & WRONG or not verdicts:
            return Kind.UNEXPLAINED
        if Verdict.FIXED in verdicts:
            return Kind.FIXED
        if Verdict.KNOWN_BUG in verdicts:
            return Kind.KNOWN_BUG
        if len(self.groups) > 1:
            return Kind.ARCH_DEFINED
        if self.groups:
            return Kind.AGREE
        return Kind.NOT_RUN if Verdict.NOT_RUN in verdicts else Kind.NOT_APPLICABLE

    def cells_with(self, *verdicts: Verdict) -> list[ResultRecord]:
        return [cell for cell in self.cells.values() if cell.verdict in verdicts]


class Change(Struct, frozen=True):
    """A scenario whose outcome is not the same on all kernels, on one or more arches."""

    scenario: str
    where: tuple[str, ...]  # see `where`
    cells: dict[str, ResultRecord]  # by kernel; of the first of `where`, the others are equal


class Lost(Struct, frozen=True):
    """What one thing took away: the same scenarios in one column, or in several."""

    cells: tuple[ResultRecord, ...]  # of the first column, in whose words it is told
    columns: tuple[str, ...]
    where: str  # these columns, by the shortest true name


class Report(Struct, frozen=True, dict=True):
    """Everything a renderer prints."""

    runs: tuple[RunRecord, ...]  # oldest first
    columns: tuple[Column, ...]
    scenarios: tuple[Scenario, ...]
    changes: tuple[Change, ...]
    kernels: tuple[str, ...]
    notes: tuple[str, ...]  # interrupted runs, damaged lines, cells taken from several runs
    exit_code: int

    @property
    def families(self) -> dict[str, list[Scenario]]:
        families: dict[str, list[Scenario]] = defaultdict(list)
        for scenario in self.scenarios:
            families[scenario.family].append(scenario)
        return dict(families)

    def of_kind(self, kind: Kind) -> list[Scenario]:
        return [scenario for scenario in self.scenarios if scenario.kind is kind]

    def cells_with(self, *verdicts: Verdict) -> list[ResultRecord]:
        return [cell for scenario in self.scenarios for cell in scenario.cells_with(*verdicts)]

    @cached_property
    def total(self) -> Counter[Verdict]:
        total: Counter[Verdict] = Counter()
        for column in self.columns:
            total.update(column.counts)
        return total

    def name_columns(self, ids: Iterable[str]) -> str:
        """Shortest true name: `all`, or `alpha; m68k on debian-6.1` where alpha is all of alpha.

        Kernels that there cannot be for an arch are not missed in what is all of it.
        """
        wanted = dict.fromkeys(ids)
        absent = {column.id for column in self.columns if column.absent}
        if wanted.keys() in (self.records.keys(), self.records.keys() - absent):
            return "all"
        by_place: dict[str, list[ColumnRecord]] = defaultdict(list)
        for record in (self.records[id] for id in wanted):
            by_place[where(record)].append(record)
        whole: list[str] = []
        partly: dict[tuple[str, ...], list[str]] = defaultdict(list)  # by kernels
        for place, records in by_place.items():
            left_out = self._places[place] - {record.column for record in records}
            if left_out and (left_out - absent or wanted.keys() & absent & self._places[place]):
                partly[tuple(record.kernel for record in records)].append(place)
            else:
                whole.append(place)
        parts = [", ".join(whole)] if whole else []
        parts += (f"{', '.join(named)} on {', '.join(at)}" for at, named in partly.items())
        return "; ".join(parts)

    @cached_property
    def records(self) -> dict[str, ColumnRecord]:
        return {column.id: column.record for column in self.columns}

    @cached_property
    def _places(self) -> dict[str, set[str]]:
        """The columns of each place."""
        places: dict[str, set[str]] = defaultdict(set)
        for column in self.columns:
            places[where(column.record)].add(column.id)
        return places


def build(results: Results) -> Report:
    """The view model of everything in `results`; see `results.current` for which cells count."""
    observed, missing = current(results)
    cells = [*observed, *(_missing(column, scenario) for column, scenario in missing)]
    records = _columns(results, cells)
    counts: dict[str, Counter[Verdict]] = {record.column: Counter() for record in records}
    for cell in cells:
        counts[cell.column][cell.verdict] += 1
    scenarios = _scenarios(records, cells)
    columns = tuple(Column(record, counts[record.column]) for record in records)
    return Report(
        runs=tuple(sorted(results.runs.values(), key=lambda run: (run.started, run.run_id))),
        columns=columns,
        scenarios=scenarios,
        changes=_changes(columns, scenarios),
        kernels=tuple(dict.fromkeys(record.kernel for record in records)),
        notes=tuple(_notes(results, cells)),
        exit_code=exit_code(results),
    )


def stale_evidence(report: Report) -> dict[Evidence, list[ResultRecord]]:
    """Evidence whose text is gone from the tree that was built, with the cells that rest on it."""
    stale: dict[Evidence, list[ResultRecord]] = defaultdict(list)
    for scenario in report.scenarios:
        for cell in scenario.cells.values():
            for item in cell.evidence:
                if item.status == "stale":
                    stale[item].append(cell)
    return dict(stale)


def lost_together(report: Report) -> list[Lost]:
    """The cells that were not observed; those that one thing took away are together: a column
    that did not boot is one, and so are columns of which the same is said.
    """
    by_column: dict[tuple[str, Verdict, str], list[ResultRecord]] = defaultdict(list)
    for cell in report.cells_with(*LOST):
        by_column[cell.column, cell.verdict, cell.observation.failure].append(cell)
    alike: dict[tuple[object, ...], list[list[ResultRecord]]] = defaultdict(list)
    for (_, *why), cells in by_column.items():
        said = (*why, cells[0].confirmation, tuple(cells[0].observation.console))
        alike[*said, *(cell.scenario for cell in cells)].append(cells)
    return [_lost(report, columns) for columns in alike.values()]


def _lost(report: Report, columns: list[list[ResultRecord]]) -> Lost:
    ids = tuple(cells[0].column for cells in columns)
    named = ids[0] if len(ids) == 1 else report.name_columns(ids)
    return Lost(tuple(columns[0]), ids, named)


def known_bugs(report: Report) -> list[list[ResultRecord]]:
    """The cells with a known bug; those of a scenario that had it alike are together."""
    bugs: dict[tuple[str, str, str, str], list[ResultRecord]] = defaultdict(list)
    for cell in report.cells_with(Verdict.KNOWN_BUG):
        bugs[cell.scenario, shown_outcome(cell), cell.want, cell.bug].append(cell)
    return list(bugs.values())


def shown_outcome(cell: ResultRecord) -> str:
    """The outcome, or the word that stands where there is none."""
    instead = "n/a" if cell.verdict is Verdict.NOT_APPLICABLE else cell.verdict.value
    return cell.observation.outcome or str(instead)


def where(record: ColumnRecord) -> str:
    """A column without its kernel: arch, with target and flavour where they are special."""
    target = [record.target] * (record.target != "qemu")
    flavour = [record.flavour] * (record.flavour != "core")
    return ",".join([record.arch or record.column, *target, *flavour])


def version_key(version: str) -> tuple[list[int], float]:
    """Sorts kernel versions and specs by their numbers; a release candidate before its release."""
    numbers = re.search(r"[0-9]{1,9}(\.[0-9]{1,9})*", version)
    rc = re.search(r"-rc([0-9]{1,9})", version)
    digits = [int(n) for n in numbers[0].split(".")] if numbers else []
    return digits, int(rc[1]) if rc else float("inf")


def _missing(column: ColumnRecord, scenario: str) -> ResultRecord:
    nothing = Observation(scenario=scenario, failure="planned, and never observed")
    return ResultRecord(
        run_id=column.run_id,
        column=column.column,
        scenario=scenario,
        verdict=Verdict.MISSING,
        observation=nothing,
    )


def _columns(results: Results, cells: list[ResultRecord]) -> list[ColumnRecord]:
    """One record a column, the newest run's, ordered by kernel, then arch."""

    def age(record: ColumnRecord) -> tuple[str, str]:
        run = results.runs.get(record.run_id)
        return (run.started if run else "", record.run_id)

    newest = {record.column: record for record in sorted(results.columns.values(), key=age)}
    for cell in cells:
        if cell.column not in newest:  # its line was lost: the id still says which it is
            kernel, arch, flavour, *_ = [*cell.column.split(","), "", "", ""]
            newest[cell.column] = ColumnRecord(
                run_id=cell.run_id,
                column=cell.column,
                kernel=kernel,
                arch=arch,
                flavour=flavour or "core",
            )
    versions: dict[str, tuple[list[int], float]] = {}
    for record in newest.values():  # one of its columns may not have got as far as a version
        key = version_key(record.version or record.kernel)
        versions[record.kernel] = max(versions.get(record.kernel, key), key)
    return sorted(
        newest.values(),
        key=lambda one: (versions[one.kernel], one.kernel, where(one), one.column),
    )


def _scenarios(columns: list[ColumnRecord], cells: list[ResultRecord]) -> tuple[Scenario, ...]:
    """Rows in the order they were planned in; families stay together."""
    order = {record.column: place for place, record in enumerate(columns)}
    names = dict.fromkeys(name for record in columns for name in record.planned)
    names.update(dict.fromkeys(sorted(cell.scenario for cell in cells)))
    rows: dict[str, list[ResultRecord]] = {name: [] for name in names}
    for cell in cells:
        rows[cell.scenario].append(cell)
    families: dict[str, list[Scenario]] = defaultdict(list)
    for name, row in rows.items():
        if row:
            row.sort(key=lambda cell: order[cell.column])
            scenario = Scenario(name, {cell.column: cell for cell in row}, _groups(row))
            families[scenario.family].append(scenario)
    return tuple(scenario for family in families.values() for scenario in family)


def _groups(row: list[ResultRecord]) -> tuple[Group, ...]:
    by_outcome: dict[str, list[ResultRecord]] = defaultdict(list)
    for cell in row:
        if cell.verdict in COMPARED:
            by_outcome[shown_outcome(cell)].append(cell)
    groups = [Group(outcome, tuple(cells)) for outcome, cells in by_outcome.items()]
    return tuple(sorted(groups, key=lambda group: -len(group.cells)))


def _changes(columns: Iterable[Column], scenarios: Iterable[Scenario]) -> tuple[Change, ...]:
    """Per scenario: arches on which it differs between kernels, equal changes told once."""
    present = [column.record for column in columns if not column.absent]
    places = {record.column: (where(record), record.kernel) for record in present}
    changes: list[Change] = []
    for scenario in scenarios:
        by_place: dict[str, dict[str, ResultRecord]] = defaultdict(dict)
        for id, cell in scenario.cells.items():
            if id in places and cell.verdict not in LOST:
                place, kernel = places[id]
                by_place[place][kernel] = cell
        alike: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
        for place, cells in by_place.items():
            outcomes = tuple((kernel, shown_outcome(cell)) for kernel, cell in cells.items())
            if len({outcome for _, outcome in outcomes}) > 1:
                alike[outcomes].append(place)
        for alike_places in alike.values():
            cells = by_place[alike_places[0]]
            changes.append(Change(scenario.name, tuple(alike_places), cells))
    return tuple(changes)


def _notes(results: Results, cells: list[ResultRecord]) -> Iterable[str]:
    """What a reader must know before believing the rest."""
    for run in interrupted(results):
        yield f"run {run} was interrupted: it has no end record"
    for end in results.ends.values():
        if end.reason:
            yield f"run {end.run_id} ended early: {end.reason}"
    for line in results.damaged:
        yield f"damaged line, not read: {line}"
    if hidden := len(results.last()) + len(results.missing()) - len(cells):
        yield f"several runs: the newest cell counts, {hidden} older not shown"
    for cell in cells:
        if cell.confirmation not in ("", "confirmed") and cell.verdict not in WRONG:
            yield f"{cell.scenario} on {cell.column} was not the same twice: {cell.confirmation}"
    runs: dict[str, Counter[str]] = defaultdict(Counter)
    for cell in cells:
        runs[cell.column][cell.run_id] += 1
    for column, counter in runs.items():
        if len(counter) > 1:
            parts = ", ".join(f"{count} of run {run}" for run, count in counter.items())
            yield f"{column} is put together from several runs: {parts}"
