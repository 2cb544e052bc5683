"""The report as one JSON document: what the terminal and the page show, for programs.

The records are those of the results file; `harness.report.schema` publishes the schema of
both. Text in it is as hostile as the guest that wrote it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from harness.report.model import Kind, Report, build, shown_outcome
from harness.results import ColumnRecord, ResultRecord, Results, RunRecord, Verdict

SCHEMA: Final = 1

ExitCode = Annotated[int, msgspec.Meta(extra_json_schema={"enum": [0, 1, 2, 3]})]


class ColumnDocument(msgspec.Struct, frozen=True):
    """A column, and how many of its cells got which verdict."""

    record: ColumnRecord
    counts: dict[Verdict, int]


class GroupDocument(msgspec.Struct, frozen=True):
    """The columns that had one outcome, the largest group first."""

    outcome: str
    columns: list[str]


class ScenarioDocument(msgspec.Struct, frozen=True):
    """A scenario over all columns; `kind` is the word that the summary counts it under."""

    name: str
    kind: Kind
    groups: list[GroupDocument]
    cells: dict[str, ResultRecord]  # by column


class ChangeDocument(msgspec.Struct, frozen=True):
    """A scenario whose outcome is not the same on all kernels."""

    scenario: str
    where: list[str]  # arches, with target and flavour where they are special
    outcomes: dict[str, str]  # by kernel


class ReportDocument(msgspec.Struct, frozen=True, tag_field="type", tag="report"):
    """Everything that a report says."""

    schema: Literal[1]
    exit_code: ExitCode
    runs: list[RunRecord]
    kernels: list[str]
    columns: list[ColumnDocument]
    scenarios: list[ScenarioDocument]
    changes: list[ChangeDocument]
    notes: list[str]


def render_json(results: Results) -> str:
    """The whole report, indented, one string that ends in a newline."""
    encoded = msgspec.json.encode(document(build(results)))
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def document(report: Report) -> ReportDocument:
    return ReportDocument(
        schema=SCHEMA,
        exit_code=report.exit_code,
        runs=list(report.runs),
        kernels=list(report.kernels),
        columns=[
            ColumnDocument(column.record, dict(sorted(column.counts.items())))
            for column in report.columns
        ],
        scenarios=[
            ScenarioDocument(
                scenario.name,
                scenario.kind,
                [GroupDocument(group.outcome, group.columns) for group in scenario.groups],
                scenario.cells,
            )
            for scenario in report.scenarios
        ],
        changes=[
            ChangeDocument(
                change.scenario,
                list(change.where),
                {kernel: shown_outcome(cell) for kernel, cell in change.cells.items()},
            )
            for change in report.changes
        ],
        notes=list(report.notes),
    )
