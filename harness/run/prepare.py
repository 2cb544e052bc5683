"""A column made ready: kernel, guest and initramfs built, expectations looked up, jobs cut."""

from __future__ import annotations

import functools
import os
import platform
import random
import re
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.build import BuildError, InputError, Unavailable
from harness.build.disk import build_disk
from harness.build.evidence import look_up, read_source
from harness.build.git import open_repository
from harness.build.guest import build_guest
from harness.build.initramfs import build_initramfs
from harness.build.kept import Kept
from harness.build.kernel import (
    HOST_TOOLS,
    BuiltKernel,
    build_kernel,
    find_kernel,
    ready_image,
)
from harness.build.module import build_module
from harness.build.patches import check_patches
from harness.build.source import check_tarball
from harness.build.store import Store
from harness.build.tools import need, toolchain
from harness.catalog.arches import Arch
from harness.catalog.kernels import (
    GitSource,
    ImageSource,
    RunningSource,
    TarballSource,
    TreeSource,
)
from harness.catalog.matrix import Facts, Scenario
from harness.catalog.project import Project
from harness.catalog.version import parse_version
from harness.machine import QemuError
from harness.machine.accel import native, prove_kvm
from harness.machine.hand import HandSpec
from harness.machine.qemu import MachineSpec, check_machine, command, qemu_version
from harness.results import ColumnRecord, Evidence
from harness.run.plan import Cell, Column, Job, cell, jobs, machine_spec, without_disks

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done, not what is run."""

    store: Store
    accel: str = "auto"  # auto: KVM where a boot proves it, else TCG
    refresh: bool = False  # resolve the names of kernels anew
    wedging: bool = True  # with the cells that are expected to hang, oops or panic
    snapshots: bool = True  # start machines from snapshots where that is possible
    shuffle: str = ""  # a seed: scenarios in an order of its own, which changes no outcome
    times: int = 1  # how often each cell is observed
    jobs: int = 0  # parallel jobs for builds and boots; 0 = as many as there are CPUs


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A column that can be booted, as plain data."""

    record: ColumnRecord
    jobs: tuple[Job, ...]
    entries: tuple[tuple[str, str], ...]  # (kind, key) in the store that it boots from
    kernel: BuiltKernel | None  # None: it runs already
    spec: MachineSpec | HandSpec  # without what single cells need more

    @property
    def cells(self) -> list[Cell]:
        return [one for job in self.jobs for one in job.cells]

    @property
    def to_boot(self) -> tuple[BuiltKernel, MachineSpec]:
        """For what needs a machine of its own. Raises BuildError where nothing is booted."""
        if self.kernel is None or isinstance(self.spec, HandSpec):
            raise InputError(f"{self.record.column} runs already: name a kernel that can be booted")
        return self.kernel, self.spec

    @property
    def stale(self) -> dict[Evidence, list[str]]:
        """Evidence that no longer stands in the built tree, and where the rows are that use it."""
        found: dict[Evidence, dict[str, None]] = {}
        for one in self.cells:
            for expectation in one.expectations:
                for piece in expectation.evidence:
                    if piece.status == "stale":
                        found.setdefault(piece, {})[expectation.declared] = None
        return {piece: list(rows) for piece, rows in found.items()}


def preflight(columns: Sequence[Column], options: Options, boot: bool = True) -> None:
    """Look for what a run needs and a user can mend, before anything is built or written.

    Raises QemuError, InputError: the tool, file or folder that is missing, and what to do.
    """
    try:
        options.store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "give --store or FAULTLINE_STORE a folder that is writable"
        raise InputError(f"{options.store.root}: {error.strerror}: {hint}") from None
    for column in columns:
        arch, kernel = column.arch, column.kernel
        if isinstance(kernel.source, RunningSource):
            toolchain(arch.cross, arch.packages)
            continue
        if boot:
            _look_at_machine(arch, options)
        for prefix in {arch.cross, arch.guest_cross or arch.cross}:
            toolchain(prefix, arch.packages)
        check_patches(kernel.patches)  # each is named by its file: it may be an option's
        where = f"{kernel.file}:{kernel.line}: " if kernel.file else ""
        try:
            _look_at_source(column, options.store)
        except (BuildError, OSError) as error:
            raise InputError(f"{where}{error}") from None


def _look_at_machine(arch: Arch, options: Options) -> None:
    version = qemu_version(arch.qemu, arch.packages.get(arch.qemu, ""))
    spec = machine_spec(arch, Path(), Path(), "tcg")
    if options.accel == "kvm" and not native(spec):
        raise QemuError(
            f"--accel kvm: {spec.qemu} is not this host's architecture ({platform.machine()}), so "
            f"{arch.name} runs under tcg only: leave --accel out, or choose another --arch"
        )
    made = [shutil.which(spec.qemu), version, command(spec, "")]
    try:  # a QEMU that has made this machine once makes it again
        Kept(options.store).get("machine", lambda: made, lambda: check_machine(spec))
    except QemuError as error:
        hint = "mend `machine`, `cpu`, `smp`, `memory` or `args` there"
        raise QemuError(f"{arch.file}: {error}\n  {hint}") from None


def _look_at_source(column: Column, store: Store) -> None:
    source = column.kernel.source
    if isinstance(source, ImageSource):
        ready_image(column.kernel.name, source, column.arch)
        return
    for tool in HOST_TOOLS:
        need(tool)
    if isinstance(source, TreeSource):
        if not all(os.access(source.path / name, os.R_OK) for name in ("Makefile", "Kconfig")):
            what = "a readable kernel source tree: expected Makefile and Kconfig"
            raise InputError(f"{source.path} is not {what}")
    elif isinstance(source, GitSource):
        open_repository(source.path).commit(source.rev)
    elif isinstance(source, TarballSource):
        check_tarball(source, store)


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
        from harness.run.target import prepare_running  # which stands on this module

        return prepare_running(run_id, column, scenarios, project, options, say)
    arch, timings = column.arch, {}
    version = qemu_version(arch.qemu, arch.packages.get(arch.qemu, ""))
    started = time.monotonic()
    guest_binary(arch, project, options.store)  # seconds; what is wrong there is told first
    timings["build_guest"] = time.monotonic() - started
    started = time.monotonic()
    built = build(column, options, say)
    timings["build_kernel"] = time.monotonic() - started
    started = time.monotonic()
    module = _module(column, scenarios, project, built, options.store, say)
    initrd = guest_initramfs(arch, project, options.store, module)
    timings["build_guest"] += time.monotonic() - started
    spec, why = _accelerated(
        machine_spec(arch, built.image, initrd, "tcg"), arch.accel_cpu, options
    )
    template = Job(
        run_id=run_id,
        column=column.id,
        arch=arch.name,
        kernel=column.kernel.name,
        flavour=column.flavour,
        spec=spec,
        cells=(),
        store=options.store.root if options.snapshots else None,
        times=options.times,
    )
    cells = _cells(column, scenarios, project, built, spec, version, options)
    if options.shuffle:
        random.Random(options.shuffle).shuffle(cells)
    cells, disks = _disks(cells, scenarios, options.store, say)
    template = replace(template, spec=replace(spec, disks=disks))
    return Ready(
        record=ColumnRecord(
            run_id=run_id,
            column=column.id,
            arch=arch.name,
            kernel=column.kernel.name,
            flavour=column.flavour,
            version=built.version,
            provenance={**built.provenance, **_machine_provenance(spec, version, why)},
            timings={name: round(seconds, 3) for name, seconds in timings.items()},
            planned=[one.scenario for one in cells],
        ),
        jobs=tuple(jobs(cells, template)),
        entries=(
            *([("kernel", built.key)] if built.key else []),
            ("initramfs", initrd.parents[1].name),
            *(("disk", image.parents[1].name) for _, image in disks),
        ),
        kernel=built,
        spec=spec,
    )


def _machine_provenance(spec: MachineSpec, qemu: str, why: str) -> dict[str, str]:
    return {
        "qemu": qemu,
        "sandbox": "seccomp" if spec.sandbox else "none: QEMU was built without",
        "accel": spec.accel,
        "accel_reason": why,
        "cpu": spec.cpu,
        "machine": spec.machine,
        "smp": str(spec.smp),
        "memory_mib": str(spec.memory),
        # As one would paste it: the harness has sockets where this has null.
        "command": shlex.join(command(spec, "0" * 16)),
    }


def build(column: Column, options: Options, say: Say) -> BuiltKernel:
    """The kernel of a column, from the store or compiled now.

    Raises BuildError; Unavailable where it is declared that there can be none.
    """
    _check_available(column)

    def progress(stage: str, compiled: int) -> None:
        say(f"{compiled} objects compiled" if stage == "compile" else stage)

    return build_kernel(
        column.kernel, column.arch, column.flavour, options.store, progress,
        refresh=options.refresh, jobs=options.jobs,
    )  # fmt: skip


def _check_available(column: Column) -> None:
    if because := column.kernel.unavailable.get(column.arch.name):
        raise Unavailable(f"{column.kernel.name} cannot be had for {column.arch.name}: {because}")


def foresee(
    column: Column, scenarios: Sequence[Scenario], project: Project, options: Options
) -> list[Cell] | None:
    """The cells of a column with what is expected of them under TCG, nothing built or booted.

    None: the kernel is not built yet, so neither its version nor its .config is known, or it runs
    already and has not been asked. Raises Unavailable, BuildError, QemuError.
    """
    _check_available(column)
    if isinstance(column.kernel.source, RunningSource):
        return None
    arch = column.arch
    built = find_kernel(column.kernel, arch, column.flavour, options.store)
    if built is None:
        return None
    version = qemu_version(arch.qemu, arch.packages.get(arch.qemu, ""))
    spec = machine_spec(arch, built.image, Path(), "tcg")
    return _cells(column, scenarios, project, built, spec, version, options)


def guest_initramfs(arch: Arch, project: Project, store: Store, module: Path | None = None) -> Path:
    """The initramfs with the guest of an arch: all scenarios, so that one serves any selection."""
    return build_initramfs(guest_binary(arch, project, store), store, module)


def guest_binary(arch: Arch, project: Project, store: Store) -> Path:
    """The guest program of an arch, with all scenarios."""
    return build_guest(project.root, arch, list(project.matrix.scenarios.values()), store)


def _module(
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    built: BuiltKernel,
    store: Store,
    say: Say,
) -> Path | None:
    """The kernel module, where a scenario asks for it and it can be had for this kernel."""
    loads = (_read_config(built.config) or {}).get("CONFIG_MODULES") == "y"
    if built.source is None or not loads or not any(one.needs.module for one in scenarios):
        return None
    return build_module(project.root, column.arch, built, store, lambda stage, _: say(stage))


def _disks(
    cells: Sequence[Cell], scenarios: Sequence[Scenario], store: Store, say: Say
) -> tuple[list[Cell], tuple[tuple[str, Path], ...]]:
    """The scratch disks that cells need, as (name, image), and the cells: those whose disk
    cannot be made here get none, and n/a is expected of them.
    """
    images, unmade = {}, {}
    for name in sorted({name for one in cells for name in one.disks}):
        try:
            images[name] = build_disk(name, store)
        except BuildError as error:
            unmade[name] = f"needs the scratch disk {name}: {error}"
            say(unmade[name])
    declared = {one.name: one.needs.declared for one in scenarios}
    return [
        without_disks(one, unmade[name], declared[one.scenario])
        if (name := next((name for name in one.disks if name in unmade), ""))
        else one
        for one in cells
    ], tuple(images.items())


def _accelerated(spec: MachineSpec, cpu: str, options: Options) -> tuple[MachineSpec, str]:
    """The spec with its accelerator, and the reason for it."""
    if options.accel == "tcg":
        return spec, "asked for"
    kvm = replace(spec, accel="kvm", cpu=cpu or spec.cpu)
    if options.accel == "kvm":
        return kvm, "asked for"
    usable, why = prove_kvm(kvm, options.store.root / "kvm.json")
    return kvm if usable else spec, why


def _cells(
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    built: BuiltKernel,
    spec: MachineSpec,
    qemu: str,
    options: Options,
) -> list[Cell]:
    version = parse_version(built.version)
    config = _read_config(built.config)
    facts = Facts(
        arch=column.arch,
        version=version,
        flavour=column.flavour,
        source=functools.partial(_source, built.source),
        config=config,
        cpu=spec.cpu,
        page_size=page_size(config),
        accel=spec.accel,
        module=built.source is not None,
        qemu=qemu,
    )

    rows = [row for scenario in scenarios for row in scenario.rows if column.arch.matches(row.arch)]
    names = dict.fromkeys(name for row in rows for name in row.evidence)
    decisions = [project.matrix.decisions[name] for name in names]
    kept = Kept(options.store)
    evidence = look_up(built.source, decisions, column.arch, version, kept)
    cells = [cell(scenario, facts, evidence.__getitem__) for scenario in scenarios]
    return [one for one in cells if options.wedging or not one.wedges]


def _source(tree: Path | None, file: str) -> str | None:
    """Text of a file of the tree: "" when the tree has no such file, None without a tree."""
    return None if tree is None else read_source(tree, file) or ""


def page_size(config: Mapping[str, str] | None) -> int | None:
    """Bytes a page by the .config; None where it does not say."""
    if config is None:
        return None
    if config.get("CONFIG_PAGE_SHIFT", "").isdigit():  # since 6.9
        return 1 << int(config["CONFIG_PAGE_SHIFT"])
    found = (
        re.fullmatch(r"CONFIG_\w+_(\d+)K_PAGES|CONFIG_PAGE_SIZE_(\d+)KB", name) for name in config
    )
    return next((1024 * int(match[1] or match[2]) for match in found if match), None)


def _read_config(path: Path | None) -> dict[str, str] | None:
    """Symbols of a .config, see `config_symbols`."""
    return None if path is None else config_symbols(path.read_text("utf-8", errors="replace"))


def config_symbols(text: str) -> dict[str, str]:
    """`CONFIG_X` -> `y` of a .config's text; those that are not set are absent."""
    found = (re.fullmatch(r"(CONFIG_\w+)=(.*)", line) for line in text.splitlines())
    return {match[1]: match[2] for match in found if match}
