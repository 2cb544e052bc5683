"""One cell, by itself: run and kept in memory, or as a machine that a person sits at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.build.evidence import find_functions
from harness.build.kernel import BuiltKernel
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
from harness.machine.qemu import MachineSpec, command
from harness.results import ColumnRecord, Evidence, Record, ResultRecord
from harness.run.images import guest_binary
from harness.run.job import CellRunner
from harness.run.options import Options, Say
from harness.run.plan import Cell, Column, Job, machine_for, machine_of
from harness.run.prepare import prepare


class Case(Struct, frozen=True, kw_only=True):
    """One cell that can be run."""

    scenario: Scenario
    column: ColumnRecord
    job: Job
    cell: Cell
    kernel: BuiltKernel
    guest: Path  # the binary that is /init
    entries: tuple[tuple[str, str], ...]  # (kind, key) in the store that it boots from

    @property
    def machine(self) -> MachineSpec:
        assert isinstance(self.job.spec, MachineSpec)
        return machine_for(self.job.spec, self.cell)


def prepare_case(
    project: Project, column: Column, scenario: Scenario, options: Options, say: Say
) -> Case:
    """Build what the cell needs. Raises what `prepare` does."""
    ready = prepare("repro", column, [scenario], project, options, say)
    kernel, _ = ready.to_boot
    job = ready.jobs[0]
    cell = job.cells[0]
    if cell.lacks:  # who looks at it nevertheless gets the CPUs and the memory that it wants
        cell = replace(cell, machine=machine_of(scenario, column.arch))
    return Case(
        scenario=scenario,
        column=ready.record,
        job=job,
        cell=cell,
        kernel=kernel,
        guest=guest_binary(column.arch, project, options.store),
        entries=ready.entries,
    )


def observe(case: Case) -> list[ResultRecord]:
    """Boot and run the cell, even where it is known what is lacking; the last record counts."""
    records: list[Record] = []
    runner = CellRunner(case.job, records.append)
    try:
        runner.run(replace(case.cell, lacks=""))
        runner.settle()
    finally:
        runner.close()
    return [record for record in records if isinstance(record, ResultRecord)]


def by_hand(spec: MachineSpec, parameter: str, gdb: int = 0, ends_by_key: bool = True) -> list[str]:
    """QEMU's argv for a person: the console on stdio, and no results port to be served.

    `parameter` says what init does instead: faultline.run=NAME, or faultline.shell. ^C ends
    QEMU, or is the guest's.
    """
    words = " ".join(filter(None, (spec.append, parameter)))
    argv = command(replace(spec, append=words), "0" * 16, gdb=gdb)
    return [word.replace("signal=off", "signal=on") for word in argv] if ends_by_key else argv


class Excerpt(Struct, frozen=True):
    """Lines of a file, the first of which has the number `start`; `marked` is the one meant."""

    start: int
    lines: Sequence[str]
    marked: int = 0


def source_excerpt(piece: Evidence) -> Excerpt | None:
    """The source around the line that decides; None where it was not found, or not looked for."""
    if not piece.excerpt:
        return None
    return Excerpt(piece.excerpt_line, piece.excerpt.splitlines(), piece.line)


def guest_source(root: Path, scenario: Scenario) -> list[tuple[Path, Excerpt]]:
    """The C function of a scenario, and behind it those of the same file that it uses."""
    for path in sorted((root / "guest-progs").glob("*.c")):
        text = path.read_text(encoding="utf-8", errors="replace")
        names, shown = [scenario.function], dict[str, Excerpt]()
        while names:
            name = names.pop(0)
            found = _function(text, name)
            if found is None or name in shown:
                continue
            shown[name] = found
            names += re.findall(r"\b[a-z]\w+\b", "\n".join(found.lines))
            if scenario.function not in shown:
                break
        if scenario.function in shown:
            return [(path, excerpt) for excerpt in shown.values()]
    return []


def _function(text: str, name: str) -> Excerpt | None:
    """A function's definition in C, with the comment before it."""
    if name not in text:
        return None
    for start, end in find_functions(text, name):
        if not re.search(rf"\b{name}\s*\([^;{{]*\{{", text[start:end]):
            continue
        comment = re.search(r"(?:/\*(?:[^*]|\*(?!/))*\*/[ \t]*\n|(?://[^\n]*\n)+)\Z", text[:start])
        begin = comment.start() if comment else start
        lines = text[begin:end].strip("\n").splitlines()
        return Excerpt(text.count("\n", 0, begin) + 1, lines)
    return None
