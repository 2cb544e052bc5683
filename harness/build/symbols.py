"""A kernel's symbols for a debugger, from what the store keeps of a build."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.build import BuildError
from harness.build.tools import output
from harness.catalog.arches import Arch

_SECTION = re.compile(
    r"^ *\d+ (?P<name>\S+) +(?P<size>[0-9a-f]+) +(?P<vma>[0-9a-f]+) .*\n.*\bCODE\b", re.MULTILINE
)
_FUNCTION = re.compile(r"^([0-9a-f]+) [tTwW] (\S+)$", re.MULTILINE)


def function_names(image: Path) -> frozenset[str]:
    """The functions of the kernel whose `image` lies in the store; empty without System.map."""
    table = image.parent / "System.map"
    if not table.is_file():
        return frozenset()
    return frozenset(name for _, name in _FUNCTION.findall(table.read_text(errors="replace")))


def debug_vmlinux(image: Path, arch: Arch, folder: Path) -> Path | None:
    """An ELF file with the symbols of a kernel in the store; None where there is nothing to
    make it of. Where the store's own was stripped, one is made in `folder`. Raises BuildError.
    """
    vmlinux, table = image.parent / "vmlinux", image.parent / "System.map"
    if not vmlinux.is_file():
        return None
    if re.search(r"^SYMBOL TABLE:\n\S*[0-9a-f]{8}", _objdump(arch, "-t", vmlinux), re.MULTILINE):
        return vmlinux
    if not table.is_file():
        return None
    made, script = folder / "vmlinux", folder / "symbols"
    script.write_text("".join(_symbols(_objdump(arch, "-h", vmlinux), table.read_text())))
    shutil.copyfile(vmlinux, made)
    try:
        output([f"{arch.cross}objcopy", f"@{script}", made])
    except BuildError as error:
        raise BuildError(f"no symbols for the debugger: {error}") from None
    return made


def _objdump(arch: Arch, option: str, file: Path) -> str:
    return output([f"{arch.cross}objdump", option, file])


def _symbols(headers: str, table: str) -> list[str]:
    """objcopy's options that put the functions of System.map back, each into its section."""
    sections = [
        (int(found["vma"], 16), int(found["size"], 16), found["name"])
        for found in _SECTION.finditer(headers)
    ]
    lines = []
    for address, name in _FUNCTION.findall(table):
        at = int(address, 16)
        for start, size, section in sections:
            if start <= at < start + size:
                lines.append(f"--add-symbol={name}={section}:{at - start:#x},function,global\n")
                break
    return lines
