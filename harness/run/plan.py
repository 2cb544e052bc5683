"""What is to be run: columns, their cells with expectations, and the jobs made of them."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel
from harness.catalog.matrix import Facts, Machine, Row, Scenario
from harness.catalog.wanted import Wanted
from harness.machine.hand import HandSpec
from harness.machine.qemu import MachineSpec, qemu_sandbox
from harness.results import ColumnRecord, Evidence, ResultRecord
from harness.run.judge import Expectation, Expectations

CORE = "core"
WORTH_A_MACHINE = 100  # cells; to start one costs about as much as half of them

# A decision id -> its evidence in the tree of one column; empty where no point covers the arch.
Look = Callable[[str], Sequence[Evidence]]


class Column(Struct, frozen=True, kw_only=True):
    """One column of the matrix: where the scenarios run."""

    arch: Arch
    kernel: Kernel
    flavour: str = CORE

    @property
    def id(self) -> str:
        """ "debian-6.12,m68k", and the flavour where it is not core."""
        parts = [self.kernel.name, self.arch.name]
        return ",".join(parts if self.flavour == CORE else [*parts, self.flavour])


class Cell(Struct, frozen=True, kw_only=True):
    """One scenario in one column."""

    scenario: str
    expectations: Expectations
    summary: str = ""  # what it does, in a sentence
    machine: Machine = Machine()
    refused: str = ""  # why it is not run here
    lacks: str = ""  # what is known not to be there: n/a without a look
    wedges: bool = False  # expected to hang, oops or panic: has a boot of its own
    seen: ResultRecord | None = None  # the last on record of a worker that did not come to its end


class Job(Struct, frozen=True, kw_only=True):
    """One boot's worth: plain picklable data."""

    run_id: str
    column: str
    arch: str
    kernel: str
    flavour: str
    spec: MachineSpec | HandSpec  # with the disks of all cells: see machine_for
    cells: tuple[Cell, ...]
    store: Path | None = None  # root of the store that keeps snapshots; None: every boot is made
    times: int = 1  # how often each cell is observed

    @classmethod
    def of(
        cls,
        record: ColumnRecord,
        spec: MachineSpec | HandSpec,
        cells: Iterable[Cell] = (),
        *,
        times: int,
        store: Path | None = None,
    ) -> Job:
        """A job of the column that the record is about."""
        return cls(
            run_id=record.run_id,
            column=record.column,
            arch=record.arch,
            kernel=record.kernel,
            flavour=record.flavour,
            spec=spec,
            cells=tuple(cells),
            store=store,
            times=times,
        )


def columns(
    arches: Iterable[Arch], kernels: Iterable[Kernel], flavours: Iterable[str] = (CORE,)
) -> list[Column]:
    """All columns, kernel by kernel. A ready image belongs to one arch only."""
    return [
        Column(arch=arch, kernel=kernel, flavour=flavour)
        for kernel in kernels
        for arch in arches
        for flavour in flavours
        if (getattr(kernel.source, "arch", None) or arch.name) == arch.name
    ]


def ordered(cells: Sequence[Cell], seed: str) -> list[Cell]:
    """As they were declared; with a seed in an order of its own."""
    return random.Random(seed).sample(cells, len(cells)) if seed else list(cells)


def expectation(row: Row, evidence: Sequence[Evidence], page_size: int) -> Expectation:
    """The expectation a row gives in a column where its evidence was looked up.

    ``page_size`` is in bytes; rows say `lsb=page` where its bits are meant.
    """

    def text(outcome: Wanted) -> str:
        return str(outcome).replace("lsb=page", f"lsb={page_size.bit_length() - 1}")

    return Expectation(
        outcomes=tuple(map(text, row.outcomes)),
        because=row.because,
        want=tuple(map(text, row.bug.want)) if row.bug else (),
        bug=row.bug.ref if row.bug else "",
        evidence=tuple(evidence),
        declared=f"{row.file}:{row.line}",
    )


def cell(scenario: Scenario, facts: Facts, look: Look) -> Cell:
    """The cell of one scenario in a column with these facts.

    A row for every arch counts only where its evidence was found: it says nothing about an
    arch that none of its decision points covers.
    """
    found = [
        (row, [piece for name in row.evidence for piece in look(name)])
        for row in scenario.rows_for(facts)
    ]
    rows = [(row, pieces) for row, pieces in found if row.arch or pieces or not row.evidence]
    page = facts.page_size or facts.arch.page_size
    met = scenario.needs.met(facts)
    if met is False:
        return Cell(
            scenario=scenario.name,
            expectations=(_lacking(scenario, facts),),
            lacks=scenario.needs.lacking(facts),
        )
    # The last counts where none fits: a row, if there is one; without any, nothing is expected
    # of a guest that does find what it needs.
    unsure = [replace(_lacking(scenario, facts), may=True)] if met is None else []
    return Cell(
        scenario=scenario.name,
        expectations=(*unsure, *(expectation(row, pieces, page) for row, pieces in rows)),
        machine=machine_of(scenario, facts.arch),
        wedges=any(outcome.wedges for row, _ in rows for outcome in row.outcomes),
    )


def _lacking(scenario: Scenario, facts: Facts) -> Expectation:
    """What is expected where a prerequisite is not there."""
    return _not_applicable(scenario.needs.lacking(facts), scenario.needs.declared)


def _not_applicable(why: str, declared: str) -> Expectation:
    return Expectation(outcomes=("n/a",), because=why, declared=declared)


def machine_of(scenario: Scenario, arch: Arch) -> Machine:
    """What it runs on, on an arch whose machine may have no more than one CPU."""
    wanted = scenario.machine
    return wanted._replace(all_cpus=wanted.all_cpus and arch.smp > 1)


def without_disks(cell: Cell, why: str, declared: str) -> Cell:
    """A cell whose scratch disks cannot be had."""
    machine = cell.machine._replace(disks=())
    expected = (_not_applicable(why, declared),)
    return replace(cell, machine=machine, wedges=False, expectations=expected)


def jobs(cells: Iterable[Cell], template: Job) -> list[Job]:
    """Cut a column's cells into boots: those that need the same machine share one, but for
    those that wedge.
    """
    shared: dict[Machine, list[Cell]] = {}
    alone: list[Cell] = []
    for one in cells:
        if one.wedges:
            alone.append(one)
        else:
            shared.setdefault(one.machine, []).append(one)
    # Several CPUs want several of the host's: last, when other machines of the column have ended.
    last = sorted(shared, key=lambda machine: machine.all_cpus)
    groups = [*(shared[machine] for machine in last), *([one] for one in alone)]
    return [replace(template, cells=tuple(group)) for group in groups]


def spread(jobs: Iterable[Job], machines: int) -> list[Job]:
    """The jobs on up to so many machines at a time, where they are long enough to be worth it.

    Each machine takes every n-th cell: those of a family are alike in what they cost.
    """
    parts = []
    for job in jobs:
        count = max(1, min(machines, sum(not cell.lacks for cell in job.cells) // WORTH_A_MACHINE))
        # There is one machine at hand, and those with several CPUs would wait for each other.
        if isinstance(job.spec, HandSpec) or job.cells[0].machine.all_cpus:
            count = 1
        parts += [replace(job, cells=job.cells[first::count]) for first in range(count)]
    return parts


def machine_for(spec: MachineSpec, cell: Cell) -> MachineSpec:
    """The machine of a column that a cell runs on: with its memory, and its disks only, and one CPU
    where it does not want all: an idle one costs half as much again under TCG, and two machines
    of two CPUs each wait for each other where the host has no more.
    """
    disks = tuple(disk for disk in spec.disks if disk[0] in cell.machine.disks)
    memory = max(spec.memory, cell.machine.memory)
    one_cpu = spec.smp > 1 and not cell.machine.all_cpus
    return replace(spec, memory=memory, disks=disks, one_cpu=one_cpu)


def repeat_command(kernel: str, arch: str, flavour: str, scenario: str) -> str:
    """The command that repeats just this cell."""
    words = ["faultline run", scenario, "--kernel", shlex.quote(kernel), "--arch", arch]
    return " ".join(words if flavour == CORE else [*words, "--flavour", flavour])


def machine_spec(arch: Arch, image: Path, initrd: Path, accel: str) -> MachineSpec:
    """The machine of an arch with this kernel and initramfs. Raises QemuError: no QEMU."""
    package = arch.packages.get(arch.qemu, "")
    return MachineSpec(
        qemu=arch.qemu,
        sandbox=qemu_sandbox(arch.qemu, package),
        machine=arch.machine,
        cpu=arch.accel_cpu or arch.cpu if accel != "tcg" else arch.cpu,
        smp=arch.smp,
        memory=arch.memory,
        snapshot=arch.snapshot,
        console=arch.console,
        port_device=arch.port_device,
        image=image,
        initrd=initrd,
        append=arch.append,
        args=arch.qemu_args,
        accel=accel,
        package=package,
    )
