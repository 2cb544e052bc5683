"""A column made ready: kernel, guest and initramfs built, expectations looked up, jobs cut."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from msgspec.structs import replace

from harness.build.kernel import find_kernel
from harness.catalog.arches import Arch
from harness.catalog.kernels import RunningSource
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
from harness.machine.accel import prove_kvm
from harness.machine.qemu import MachineSpec, command, qemu_version
from harness.results import ColumnRecord
from harness.run.facts import cells_of, facts_of, files_read
from harness.run.images import check_available, give_disks, make_images
from harness.run.options import Options, Say
from harness.run.plan import Cell, Column, Job, jobs, machine_for, machine_spec, ordered
from harness.run.ready import Ready
from harness.run.target import prepare_running


def prepare(
    run_id: str,
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    options: Options,
    say: Say,
) -> Ready:
    """Build what a column needs and cut it into jobs.

    Raises BuildError (kernel or guest does not build), QemuError (no QEMU), DeclarationError.
    """
    if isinstance(column.kernel.source, RunningSource):
        return prepare_running(run_id, column, scenarios, project, options, say)
    qemu = _qemu_version(column.arch)
    images = make_images(column, scenarios, project, options, say)
    built = images.kernel
    spec, why = accelerated(
        machine_spec(column.arch, built.image, images.initramfs, "tcg"),
        column.arch.accel_cpu,
        options,
    )
    facts = facts_of(column, built, spec.cpu, spec.accel, qemu)
    cells = ordered(cells_of(scenarios, facts, project, built.source, options), options.shuffle)
    cells, disks = give_disks(cells, scenarios, options.store, say)
    record = ColumnRecord(
        run_id=run_id,
        column=column.id,
        arch=column.arch.name,
        kernel=column.kernel.name,
        flavour=column.flavour,
        version=built.version,
        provenance={**built.provenance, **_machine_provenance(spec, qemu, why)},
        timings={name: round(seconds, 3) for name, seconds in images.timings.items()},
        planned=[one.scenario for one in cells],
    )
    kept = options.store.root if options.snapshots else None
    template = Job.of(record, replace(spec, disks=disks), store=kept, times=options.times)
    entries = [("initramfs", images.initramfs), *(("disk", image) for _, image in disks)]
    return Ready(
        record=record,
        jobs=tuple(jobs(cells, template)),
        entries=(
            *([("kernel", built.key)] if built.key else []),
            *((kind, path.parents[1].name) for kind, path in entries),
        ),
        kernel=built,
        spec=spec,
    )


def _qemu_version(arch: Arch) -> str:
    return qemu_version(arch.qemu, arch.packages.get(arch.qemu, ""))


def _machine_provenance(spec: MachineSpec, qemu: str, why: str) -> dict[str, str]:
    return {
        "qemu": qemu,
        "sandbox": "seccomp" if spec.sandbox else "none: QEMU was built without",
        "accel_reason": why,
        **machine_facts(machine_for(spec, Cell(scenario="", expectations=()))),
    }


def machine_facts(spec: MachineSpec) -> dict[str, str]:
    """What is on record of a machine itself."""
    return {
        "accel": spec.accel,
        "cpu": spec.cpu,
        "machine": spec.machine,
        "smp": f"1 of {spec.smp}" if spec.one_cpu else str(spec.smp),
        "memory_mib": str(spec.memory),
        # As one would paste it: the harness has sockets where this has null.
        "command": shlex.join(command(spec, "0" * 16)),
    }


def foresee(
    column: Column, scenarios: Sequence[Scenario], project: Project, options: Options
) -> list[Cell] | None:
    """The cells of a column with what is expected of them under TCG, nothing built or booted.

    None: the kernel is not built yet, so neither its version nor its .config is known, or it runs
    already and has not been asked. Raises Unavailable, BuildError, QemuError.
    """
    check_available(column)
    if isinstance(column.kernel.source, RunningSource):
        return None
    reads = files_read(scenarios, column.arch, project)
    built = find_kernel(column.kernel, column.arch, column.flavour, options.store, reads)
    if built is None:
        return None
    facts = facts_of(column, built, column.arch.cpu, "tcg", _qemu_version(column.arch))
    return cells_of(scenarios, facts, project, built.source, options)


def accelerated(spec: MachineSpec, cpu: str, options: Options) -> tuple[MachineSpec, str]:
    """The spec with its accelerator, and the reason for it."""
    if options.accel == "tcg":
        return spec, "asked for"
    kvm = replace(spec, accel="kvm", cpu=cpu or spec.cpu)
    usable, why = prove_kvm(kvm, options.store.root / "kvm.json")
    if (
        options.accel == "kvm"
    ):  # where it does not work, that is told before it is tried for minutes
        return kvm, f"asked for{':' if usable else ', but'} {why}"
    return kvm if usable else spec, why
