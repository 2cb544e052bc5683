"""What the kernel says beside an outcome: one defect, met by many scenarios of a family.

    beside:
      bad-page:
        kernel: "<5.16"             # and the other selectors of a row
        says: warn(bad-page)
        because: why the kernel says it
        ref: reference of the defect

A scenario that says ``beside: bad-page`` has, where the selectors match, each outcome of its rows
with ``| kernel: warn(bad-page)``. That is a bug: wanted is what the rows say without it.
"""

from __future__ import annotations

import dataclasses

from msgspec import Struct
from msgspec.structs import replace

from harness.catalog.decisions import check_name
from harness.catalog.outcome import Outcome, Step, Task, Trouble, parse
from harness.catalog.rows import SELECTORS, Bug, Facts, Known, Row, read_outcome, select
from harness.catalog.yamlfile import Node


class Beside(Struct, frozen=True):
    """What is said, where and why."""

    says: Trouble
    ref: str
    row: Row  # its selectors, reason and evidence; it has no outcome of its own

    def rows(self, found: list[Row], facts: Facts) -> list[Row]:
        """The rows that may count in a column, of those that may without it."""
        holds = self.row.matches(facts)
        said = [] if holds is False else [self._said(row) for row in found]
        return said if holds else said + found

    def _said(self, row: Row) -> Row:
        if not all(outcome.tasks for outcome in row.outcomes):  # n/a
            return row
        return dataclasses.replace(
            row,
            outcomes=tuple(self._outcome(outcome) for outcome in row.outcomes),
            because=f"{row.because}; and {self.row.because}",
            evidence=(*row.evidence, *self.row.evidence),
            bug=Bug(self.ref, row.bug.want if row.bug else row.outcomes),
        )

    def _outcome(self, outcome: Outcome) -> Outcome:
        tasks = [replace(task, name=task.name or "A") for task in outcome.tasks]
        return Outcome((*tasks, Task("kernel", (Step("", self.says),))))


def read_besides(node: Node, known: Known) -> dict[str, Beside]:
    """The value of a family's ``beside:``. Raises DeclarationError."""
    found = {}
    for name, item in node.mapping().items():
        check_name(name, "thing that the kernel says", item)
        fields = item.record(required=("says", "because", "ref"), optional=SELECTORS)
        row = Row(
            outcomes=(),
            because=fields["because"].text(),
            file=item.file,
            line=item.line,
            **select(fields, known),
        )
        found[name] = Beside(_trouble(fields["says"]), fields["ref"].text(), row)
    return found


def _trouble(node: Node) -> Trouble:
    outcome = read_outcome(node, parse)
    if len(outcome.results) == 1 and isinstance(outcome.results[0], Trouble):
        return outcome.results[0]
    raise node.error("expected what a kernel says, as warn(bad-page)")
