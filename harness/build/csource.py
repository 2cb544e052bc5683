"""A program that comes as one file of C: compiled for an arch, and what its addresses are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.build import BuildError, InputError
from harness.build.tools import output, toolchain
from harness.catalog.arches import Arch

FLAGS = ("-O2", "-g", "-static", "-pthread", "-D_GNU_SOURCE")  # as reproducers are compiled
SUFFIX = ".c"


def compile_program(source: Path, arch: Arch, more: Sequence[str], to: Path) -> None:
    """The static program `to` of `source`, by the compiler that `arch` declares for guests; what
    is in `more` stands behind the file. Raises InputError for what it does not compile.
    """
    tools = toolchain(arch.guest_cross or arch.cross, arch.packages)
    file = source.absolute()  # whatever its name begins with
    argv: list[str | Path] = [
        tools.gcc, *FLAGS, *arch.cc_flags, file, *more, *arch.ld_flags, "-o", to,
    ]  # fmt: skip
    try:
        output(argv, failed=f"{source} does not compile for {arch.name}")
    except BuildError as error:
        raise InputError(error.message, excerpt=error.excerpt) from None


def place_of(program: Path, address: int, arch: Arch) -> str:
    """`touch at die.c:12` for an address in a program with debug information; "" where it tells
    nothing.
    """
    prefix = arch.guest_cross or arch.cross
    try:
        said = output([f"{prefix}addr2line", "-f", "-s", "-e", program, hex(address)])
    except (BuildError, OSError):  # a convenience: what it died of is told without
        return ""
    function, _, line = said.partition("\n")
    line = re.sub(r" \(discriminator \d+\)", "", line.strip())
    return "" if "?" in said else f"{function} at {line}"
