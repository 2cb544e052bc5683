"""What a column boots from: kernel, guest program, initramfs, module, disks."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError, Unavailable
from harness.build.disk import build_disk
from harness.build.guest import build_guest
from harness.build.initramfs import build_initramfs
from harness.build.kernel import BuiltKernel, build_kernel
from harness.build.module import build_module
from harness.build.store import Store
from harness.catalog.arches import Arch
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
from harness.run.facts import config_of, files_read
from harness.run.options import Options, Say
from harness.run.plan import Cell, Column, without_disks


class Images(Struct, frozen=True):
    """The kernel and the initramfs of a column, and the seconds that each took to build."""

    kernel: BuiltKernel
    initramfs: Path
    timings: dict[str, float]


def make_images(
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    options: Options,
    say: Say,
) -> Images:
    """Build what a column boots from, as far as the store does not have it. Raises BuildError."""
    arch, store = column.arch, options.store
    timings = {"build_guest": 0.0, "build_kernel": 0.0}
    with _added(timings, "build_guest"):
        guest = guest_binary(arch, project, store, say)  # what is wrong there is told first
    with _added(timings, "build_kernel"):
        kernel = build(column, options, say, files_read(scenarios, arch, project))
    with _added(timings, "build_guest"):
        module = _module(column, scenarios, project, kernel, options, say)
        initramfs = build_initramfs(guest, store, module)
    return Images(kernel, initramfs, timings)


@contextmanager
def _added(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] += time.monotonic() - started


def build(
    column: Column, options: Options, say: Say, reads: Collection[str] | None = ()
) -> BuiltKernel:
    """The kernel of a column, from the store or compiled now; `reads` are files of its source, as
    for `build_kernel`.

    Raises BuildError; Unavailable where it is declared that there can be none.
    """
    check_available(column)

    def progress(stage: str, compiled: int) -> None:
        say(f"{compiled} objects compiled" if stage == "compile" else stage)

    return build_kernel(
        column.kernel, column.arch, column.flavour, options.store, progress,
        refresh=options.refresh, jobs=options.jobs, reads=reads,
    )  # fmt: skip


def check_available(column: Column) -> None:
    """Raises Unavailable, with the reason, where it is declared that a kernel cannot be had."""
    if because := column.kernel.unavailable.get(column.arch.name):
        raise Unavailable(f"{column.kernel.name} cannot be had for {column.arch.name}: {because}")


def guest_initramfs(arch: Arch, project: Project, store: Store, module: Path | None = None) -> Path:
    """The initramfs with the guest of an arch: all scenarios, so that one serves any selection."""
    return build_initramfs(guest_binary(arch, project, store), store, module)


def guest_binary(arch: Arch, project: Project, store: Store, say: Say = lambda _: None) -> Path:
    """The guest program of an arch, with all scenarios."""
    return build_guest(project.root, arch, list(project.matrix.scenarios.values()), store, say)


def _module(
    column: Column,
    scenarios: Sequence[Scenario],
    project: Project,
    built: BuiltKernel,
    options: Options,
    say: Say,
) -> Path | None:
    """The kernel module, where a scenario asks for it and it can be had for this kernel."""
    wanted = built.source is not None and any(one.needs.module for one in scenarios)
    if not wanted or (config_of(built) or {}).get("CONFIG_MODULES") != "y":
        return None

    def look() -> BuiltKernel:
        return build(column, options, say, reads=None)

    return build_module(
        project.root, column.arch, built, options.store, lambda stage, _: say(stage), look
    )


def give_disks(
    cells: Sequence[Cell], scenarios: Sequence[Scenario], store: Store, say: Say
) -> tuple[list[Cell], tuple[tuple[str, Path], ...]]:
    """The scratch disks that cells need, as (name, image), and the cells: those whose disk
    cannot be made here get none, and n/a is expected of them.
    """
    images, unmade = {}, {}
    for name in sorted({name for one in cells for name in one.machine.disks}):
        try:
            images[name] = build_disk(name, store)
        except BuildError as error:
            unmade[name] = f"needs the scratch disk {name}: {error}"
            say(unmade[name])
    declared = {one.name: one.needs.declared for one in scenarios}
    return [
        without_disks(one, unmade[name], declared[one.scenario])
        if (name := next((name for name in one.machine.disks if name in unmade), ""))
        else one
        for one in cells
    ], tuple(images.items())
