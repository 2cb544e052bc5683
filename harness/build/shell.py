"""The shell of guests: busybox from Debian's source package, static, compiled for each arch.

One archive for all arches, its sha256 declared; the key of a binary is the hash of that, of the
configuration and of the toolchain. What is in the store needs no network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from packaging.version import Version

from harness.build import BuildError, InputError
from harness.build import kconfig as kc
from harness.build.apt import PrivateApt
from harness.build.archive import unpack_archive
from harness.build.store import Store
from harness.build.tools import Toolchain, digest, file_digest, need, output, toolchain
from harness.catalog.arches import Arch
from harness.catalog.shell import ShellSource

RECIPE = 1  # raise it when the same inputs would give another binary
BINARY = "busybox"
_ANSWERS = "\n" * 5000  # to what oldconfig asks: the default, each time
# Of a .config without anything: what gets its default, and what is told by us.
_OURS = re.compile(r"^(# CONFIG_(FEATURE|ASH|SH)_\w+ is not set|CONFIG_EXTRA_\w+=.*)\n", re.M)


def build_shell(shell: ShellSource, arch: Arch, store: Store) -> Path:
    """The static busybox, from the store or compiled now. Raises BuildError."""
    tools = toolchain(arch.guest_cross or arch.cross, arch.packages)
    requests = kc.merge([shell.config], kc.Scope(Version(shell.version)))
    flags = [
        f'CONFIG_EXTRA_CFLAGS="{" ".join(arch.cc_flags)}"',
        f'CONFIG_EXTRA_LDFLAGS="{" ".join(arch.ld_flags)}"',
    ]
    wanted = sorted(str(request) for request in requests.values())
    key = digest(
        "shell", RECIPE, shell.sha256, wanted, flags, [tools.prefix, tools.compiler, tools.binutils]
    )

    def fill(to: Path) -> None:
        archive = _archive(shell, store)
        store.say(f"compiling {shell} for {arch.name}")
        source, objects = to.parent / "source", to.parent / "objects"
        unpack_archive(archive, source)
        objects.mkdir()
        try:
            _compile(source, objects, tools, requests, flags)
        except BuildError as error:
            raise BuildError(
                f"{shell} for {arch.name}: {error.message}", excerpt=error.excerpt
            ) from None
        (objects / BINARY).rename(to / BINARY)

    return store.create("shell", key, fill, f"{shell} for {arch.name}") / BINARY


def _archive(shell: ShellSource, store: Store) -> Path:
    """The source archive, from the store or fetched now and checked."""

    def fill(to: Path) -> None:
        where = f"package lists of suite {shell.suite}, sources"
        with store.folder("apt", digest("apt", shell.suite, "sources"), where) as folder:
            store.say(f"fetching {shell}")
            apt = PrivateApt(folder.path, shell.suite, sources=True)
            apt.update()
            archive = apt.download_source(shell.package, to)
        if (found := file_digest(archive)) != shell.sha256:
            raise InputError(
                f"{archive.name}: its sha256 is {found}, and shell/shell.yaml declares "
                f"{shell.sha256} for {shell.version}"
            )
        archive.rename(to / "archive")

    key = digest("archive", shell.sha256)
    return store.create("archive", key, fill, f"source of {shell}") / "archive"


def _compile(
    source: Path,
    objects: Path,
    tools: Toolchain,
    requests: dict[str, kc.Request],
    flags: list[str],
) -> None:
    for tool in ("make", "gcc"):
        need(tool)
    config = objects / ".config"
    # Without the time, equal input is an equal binary.
    make = ["make", "-s", "-C", str(source), f"O={objects}", f"-j{len(os.sched_getaffinity(0))}",
            f"CROSS_COMPILE={tools.prefix}", "KCONFIG_NOTIMESTAMP=1"]  # fmt: skip
    output([*make, "allnoconfig"], failed="it cannot be configured")
    config.write_text(kc.apply(_OURS.sub("", config.read_text()), requests) + "\n".join(flags))
    output([*make, "oldconfig"], typed=_ANSWERS, failed="it cannot be configured")
    text = config.read_text()
    if lost := kc.lost(text, requests):
        reasons = [kc.describe_lost(request, text, source) for request in lost]
        raise BuildError("symbols that are asked for are not there", excerpt=reasons)
    output([*make, BINARY], failed="it does not compile")
