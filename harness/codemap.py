"""The code of one source file in a vmlinux: the line of each address, where its branches lead.

Read from the line table and the disassembly by the binutils of the arch (`readelf`, `nm`,
`addr2line`, `objdump`, with its prefix), in a kernel that has line tables for the files asked for.
Addresses are those that the kernel is linked to.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.build.tools import output

_HEAD = re.compile(r"^(?:CU: )?(\S+):$|^(\S+\.[chS]):(?:\[\+\+\])?$")
_ROW = re.compile(r"^(\S+)\s+(\d+|-)\s+(0x[0-9a-f]+|0)\b")
_CODE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)[ \t]*(.*)$", re.MULTILINE)
_TARGET = re.compile(r"(?:0x)?([0-9a-f]+) <[^>]*>[^<]*$")
_SYMBOL = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) [tTwW] ", re.MULTILINE)
_PLACE = re.compile(r"^(.*):(\d+|\?)(?: \(discriminator \d+\))?$")
_CONDITION = {  # what objdump calls the branches that go one of two ways, by the kernel's arch
    "x86": r"j(?!mp)\w+|loop\w*",
    "arm64": r"b\.\w+|cbn?z|tbn?z",
    "arm": r"bl?(?:eq|ne|[ch]s|cc|lo|mi|pl|v[sc]|hi|ls|ge|lt|gt|le)(?:\.[nw])?",
    "alpha": r"f?b(?:eq|ne|lt|le|gt|ge)|blb[cs]",
    "m68k": r"(?:f?b|db)(?:hi|ls|c[cs]|ne|eq|v[sc]|pl|mi|ge|lt|gt|le|f)[bswl]?",
    "riscv": r"b(?:eq|ne|lt|ge|gt|le)[zu]?",
}


@dataclass(frozen=True)
class Span:
    """Code of one line: [start, end) in bytes of the kernel's address space."""

    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Way:
    """One of the two ways that a conditional branch can go."""

    line: int  # of the file, that decides
    next: int  # line of the file that it leads to; 0: it leaves the file
    inlined: str  # the function of another file that `line` calls and that decides for it, or ""
    branch: int  # address
    to: int  # address


def spans(vmlinux: Path, cross: str, tree: str, file: str) -> list[Span]:
    """The code that the line table gives to a source file (inlined into others, too).

    `tree` is the last part of the path of the source tree, which the line table's paths contain.
    """
    argv = [f"{cross}readelf", "--debug-dump=decodedline", "--wide", str(vmlinux)]
    found: list[Span] = []
    last: tuple[int, int] | None = None  # (line, address) of this file, until the next address
    unit = ""
    name = Path(file).name
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for text in process.stdout:
            row = _ROW.match(text)
            if row is None:
                head = _HEAD.match(text.strip())
                unit = (head[1] or head[2]) if head else unit
                continue
            address = int(row[3], 16)
            if last is not None and address != last[1]:
                if address > last[1]:  # else another section begins
                    found.append(Span(last[0], last[1], address))
                last = None
            ours = row[1] == name and _is(unit, tree, file)
            if row[2] == "-":  # the end of a section's part
                last = None
            elif ours:
                last = (int(row[2]), address)
    return found


def _is(path: str, tree: str, file: str) -> bool:
    return path == file or path.endswith(f"/{tree}/{file}")


def ways(
    vmlinux: Path, arch: tuple[str, str], tree: str, file: str, found: Sequence[Span]
) -> list[Way]:
    """Of each conditional branch that lines of `found` decide, both. `arch` is the kernel's name of
    it and the prefix of its binutils; of an arch that is not known here there are none.
    Raises BuildError.
    """
    kernel_arch, cross = arch
    if kernel_arch not in _CONDITION:
        return []
    condition = re.compile(_CONDITION[kernel_arch])
    pairs = [
        (branch, to)
        for start, end in extents(vmlinux, cross, found)
        for branch, *both in _branches(vmlinux, cross, condition, start, end)
        for to in both
    ]
    places = _places(vmlinux, cross, tree, file, {address for pair in pairs for address in pair})
    lines = {span.line for span in found}
    return [
        Way(line, places[to][0], inlined, branch, to)
        for branch, to in pairs
        for line, inlined in [places[branch]]
        if line in lines
    ]


def extents(vmlinux: Path, cross: str, found: Sequence[Span]) -> list[tuple[int, int]]:
    """[start, end) of the functions that hold the spans, sorted, none overlapping: code that the
    file has from elsewhere decides for its lines, too.
    """
    text = output([f"{cross}nm", "--defined-only", "--print-size", vmlinux], failed="no symbols")
    starts = sorted(span.start for span in found)
    parts = [(span.start, span.end) for span in found]
    for start, size in ((int(one[1], 16), int(one[2], 16)) for one in _SYMBOL.finditer(text)):
        at = bisect_left(starts, start)
        if at < len(starts) and starts[at] < start + size:
            parts.append((start, start + size))
    return list(joined(sorted(parts)))


def joined(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = parts[0]
    for start, end in parts[1:]:
        if start > last:
            yield first, last
            first, last = start, end
        last = max(last, end)
    yield first, last


def _branches(
    vmlinux: Path, cross: str, condition: re.Pattern[str], start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """The address of each conditional branch, where it leads to, and what stands behind it."""
    argv = [f"{cross}objdump", "-d", "--no-show-raw-insn", f"--start-address={start:#x}"]
    text = output([*argv, f"--stop-address={end:#x}", vmlinux], failed="cannot disassemble")
    code = [(int(one[1], 16), one[2], one[3]) for one in _CODE.finditer(text)]
    for (address, name, operands), (behind, _, _) in pairwise(code):
        target = _TARGET.search(operands)
        if condition.fullmatch(name) and target and int(target[1], 16) != behind:
            yield address, int(target[1], 16), behind


def _places(
    vmlinux: Path, cross: str, tree: str, file: str, addresses: Collection[int]
) -> dict[int, tuple[int, str]]:
    """The line of the file that each address belongs to (0: none), and the function that is inlined
    there from elsewhere, if it comes from one.
    """
    argv = [f"{cross}addr2line", "-a", "-f", "-i", "-e", str(vmlinux)]
    typed = "".join(f"{address:#x}\n" for address in addresses)
    text = output(argv, typed=typed, failed="cannot look up lines")
    places = dict.fromkeys(addresses, (0, ""))
    for block in re.split(r"^0x", text, flags=re.MULTILINE)[1:]:
        address, *frames = block.splitlines()
        inlined = ""
        for function, place in zip(frames[::2], frames[1::2], strict=True):  # innermost first
            where = _PLACE.match(place)
            if where and where[2] != "?" and _is(where[1], tree, file):
                places[int(address, 16)] = (int(where[2]), inlined)
                break
            inlined = function
    return places
