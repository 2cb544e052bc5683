"""A comparison as JSON, for programs."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import msgspec

from harness.report.diff import CellDiff, Diff, Kind
from harness.report.difftext import verdict_line
from harness.results import ResultRecord

SCHEMA: Final = 1


class DetailChange(msgspec.Struct, frozen=True):
    """A difference of the second tier; "-" where a side does not have it."""

    key: str
    old: str
    new: str


class CellDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of both sides."""

    scenario: str
    column: str  # arch, and flavour where it is not core
    kind: Kind
    old: dict[str, int]  # outcome -> how often it was observed; empty: never
    new: dict[str, int]
    flake: bool
    cause: str  # why it was not compared
    old_cause: str  # why it was n/a there; "" where it was not
    new_cause: str
    details: list[DetailChange]


class DiffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `faultline diff --format json` writes."""

    schema: Literal[1]
    old: str
    new: str
    exit_code: Literal[0, 1, 3]
    verdict: str
    counts: dict[Kind, int]  # cells
    details_changed: int | None  # cells with equal outcomes; null without --details
    notes: list[str]  # what else is not known
    cells: list[CellDocument]


def diff_json(diff: Diff) -> str:
    """The comparison as one JSON object."""
    counts = Counter(cell.kind for cell in diff.cells)
    document = DiffDocument(
        schema=SCHEMA,
        old=diff.old,
        new=diff.new,
        exit_code=diff.exit_code,
        verdict=verdict_line(diff),
        counts={kind: counts[kind] for kind in Kind},
        details_changed=len(diff.changed_details) if diff.with_details else None,
        notes=list(diff.notes),
        cells=[_cell(cell) for cell in diff.cells],
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def _cell(cell: CellDiff) -> CellDocument:
    return CellDocument(
        scenario=cell.scenario,
        column=cell.place,
        kind=cell.kind,
        old=dict(cell.was or {}),
        new=dict(cell.now or {}),
        flake=cell.flaky,
        cause=cell.cause,
        old_cause=_cause(cell.old),
        new_cause=_cause(cell.new),
        details=[DetailChange(*change) for change in cell.details],
    )


def _cause(record: ResultRecord | None) -> str:
    return record.observation.cause if record is not None else ""
