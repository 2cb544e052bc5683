"""What a run needs and a user can mend, looked for before anything is built or written."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.build import BuildError, InputError
from harness.build.git import open_repository
from harness.build.kept import Kept
from harness.build.kernel import ready_image
from harness.build.patches import check_patches
from harness.build.store import Store
from harness.build.tools import HOST_TOOLS, need, toolchain
from harness.catalog.arches import Arch
from harness.catalog.kernels import (
    GitSource,
    ImageSource,
    RunningSource,
    TarballSource,
    TreeSource,
)
from harness.machine import QemuError
from harness.machine.accel import native
from harness.machine.qemu import check_machine, command, qemu_version
from harness.run.options import Options
from harness.run.plan import Column, machine_spec


def preflight(columns: Sequence[Column], options: Options, boot: bool = True) -> None:
    """Look for what a run needs and a user can mend, before anything is built or written.

    Raises QemuError, InputError: the tool, file or folder that is missing, and what to do.
    """
    try:
        options.store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "give --store or FAULTLINE_STORE a folder that is writable"
        raise InputError(f"{options.store.root}: {error.strerror}: {hint}") from None
    booted: list[Arch] = []
    for column in columns:
        arch, kernel = column.arch, column.kernel
        if isinstance(kernel.source, RunningSource):
            toolchain(arch.cross, arch.packages)
            continue
        for prefix in {arch.cross, arch.guest_cross or arch.cross}:
            toolchain(prefix, arch.packages)
        booted.append(arch)
        check_patches(kernel.patches)  # each is named by its file: it may be an option's
        where = f"{kernel.file}:{kernel.line}: " if kernel.file else ""
        try:
            _look_at_source(column, options.store)
        except (BuildError, OSError) as error:
            raise InputError(f"{where}{error}") from None
    for arch in booted if boot else ():  # last, since QEMU takes its time to say its version
        _look_at_machine(arch, options)


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
        from harness.build.fetch import check_tarball  # with it apt: most kernels are no tarball

        check_tarball(source, store)
