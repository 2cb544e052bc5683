"""The guest program `faults`: one static binary an arch, from guest-progs/ and the catalog.

The YAML owns the list of scenarios: `scenarios.inc` is written from it, so a row without a
function does not link, and a function without a row has no prototype, which is an error too.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from harness.build import BuildError, InputError
from harness.build.store import Store
from harness.build.tools import (
    CCACHE,
    Toolchain,
    called,
    digest,
    file_digest,
    has_ccache,
    output,
    said,
    toolchain,
)
from harness.catalog.arches import Arch
from harness.catalog.matrix import Scenario
from harness.lifetime import Process

RECIPE = 1  # raise it when the same inputs would give another binary
BINARY = "faults"
FLAGS = (
    "-O2", "-g0", "-static", "-std=gnu11", "-Wall", "-Wextra", "-Werror",
    "-Werror=missing-prototypes", "-Wl,--build-id=none",
)  # fmt: skip
_IN_SOURCE = re.compile(  # what the compiler says of a line, and not of itself or of a full disk
    r":\d+: (?:[Ee]rror: |fatal error: .*: No such file)|: multiple definition of "
)
_PLAIN = re.compile(r"[ !#->@-\[\]-~]*")  # printable ASCII but for " \ ? (of trigraphs)


def c_string(text: str) -> str:
    """A C string literal; what is not printable ASCII becomes octal escapes of its UTF-8."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    parts = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\?':  # ? for trigraphs
            parts.append(f"\\{char}")
        else:
            parts.append(char if 32 <= byte < 127 else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'


def scenario_table(scenarios: Iterable[Scenario], arch: Arch | None = None) -> str:
    """The text of scenarios.inc, sorted by name.

    What could harm a machine that matters is told for `arch`; without one, only what always could.
    """
    lines = []
    for one in sorted(scenarios, key=lambda scenario: scenario.name):
        name, user, summary = c_string(one.name), c_string(one.user), c_string(one.summary)
        harm = c_string(one.harm_on(arch))
        lines.append(f"SCENARIO({name}, {one.function}, {user}, {summary}, {harm})\n")
    return "".join(lines)


def build_guest(
    root: Path,
    arch: Arch,
    scenarios: Iterable[Scenario],
    store: Store,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The static guest binary, from the store or compiled now, which `say` is told of: it takes
    seconds. Raises BuildError.
    """
    folder = root / "guest-progs"
    header = folder / "arch" / arch.guest_header
    if not header.is_file():
        raise InputError(f"{header} is missing: {arch.name} needs it (see guest-progs/arch/)")
    sources = sorted(folder.glob("*.c"))
    if not sources:
        raise InputError(f"{folder} holds no C files")
    tools = toolchain(arch.guest_cross or arch.cross, arch.packages)
    table = scenario_table(scenarios, arch)
    inputs = [*sources, *sorted(folder.glob("*.h")), *sorted(folder.glob("kmod/*.h")), header]
    key = digest(
        "guest",
        RECIPE,
        [[path.relative_to(folder).as_posix(), file_digest(path)] for path in inputs],
        table,
        [FLAGS, arch.cc_flags, arch.ld_flags, arch.guest_header],
        [tools.compiler, tools.binutils],
    )

    def fill(to: Path) -> None:
        say(f"building the guest program for {arch.name}")
        _compile(to / BINARY, folder, sources, arch, tools, table, store.log("guest", key))

    return store.create("guest", key, fill, f"guest program for {arch.name}") / BINARY


def _compile(
    out: Path,
    folder: Path,
    sources: list[Path],
    arch: Arch,
    tools: Toolchain,
    table: str,
    log: Path,
) -> None:
    scratch = out.parent.parent / "scratch"
    scratch.mkdir()
    (scratch / "scenarios.inc").write_text(table)
    failed = f"the guest program does not compile for {arch.name}"
    # Compiled in the scratch folder, whose name is another each time: none of it is on a command
    # line, so that ccache knows every file that has not changed.
    flags = [
        *FLAGS, f'-DARCH_HEADER="arch/{arch.guest_header}"', "-I.", f"-I{folder}",
        f"-ffile-prefix-map={folder}=guest-progs", *arch.cc_flags,
    ]  # fmt: skip
    ccache = [CCACHE] if has_ccache() else []

    objects = [f"{source.stem}.o" for source in sources]
    cc = [*ccache, tools.gcc, *flags]
    try:
        with ExitStack() as all_of_them:
            running: deque[Process] = deque()
            for source, made in zip(sources, objects, strict=True):
                # One more than there are CPUs: the oldest need not be the first that ends.
                if len(running) > len(os.sched_getaffinity(0)):
                    said(running.popleft(), failed=failed)
                one = called([*cc, "-c", source, "-o", made], cwd=scratch)
                running.append(all_of_them.enter_context(one))
            for process in running:
                said(process, failed=failed)
        output([tools.gcc, *flags, *objects, *arch.ld_flags, "-o", out], cwd=scratch, failed=failed)
    except BuildError as error:
        raise _explain(error, arch, log) from None
    log.unlink(missing_ok=True)


def _explain(error: BuildError, arch: Arch, log: Path) -> BuildError:
    """Say what is behind the errors that people meet; what else the compiler says has a log. What
    it says of the source is an InputError.
    """
    text = error.output
    message = error.message
    if undefined := re.findall(r"undefined reference to `(\w+)'", text):
        names = ", ".join(dict.fromkeys(undefined))
        message += f": scenarios without a function (or libc's): {names}"
    elif prototypes := re.findall(r"no previous prototype for .(\w+).", text):
        message += (
            f": functions without a row in expectations/: {', '.join(dict.fromkeys(prototypes))}"
        )
    elif re.search(r"(stdio|unistd|errno|stddef)\.h: No such file|cannot find -lc\b", text):
        package = arch.packages.get("libc", "the cross compiler's libc")
        message += f": the C library is missing: install the Debian package {package}"
    else:
        log.write_text(text)
        kind = InputError if _IN_SOURCE.search(text) else BuildError
        return kind(message, log=log, excerpt=error.excerpt)
    return InputError(message, excerpt=error.excerpt)
