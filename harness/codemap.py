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
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from harness.build.tools import output

_HEAD = re.compile(r"^(?:CU: )?(\S+):$|^(\S+\.[chS]):(?:\[\+\+\])?$")
_ROW = re.compile(r"^(\S+)\s+(\d+|-)\s+(0x[0-9a-f]+|0)\b")
_CODE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)[ \t]*(.*)$", re.MULTILINE)
_TARGET = re.compile(r"(?:0x)?([0-9a-f]+) <[^>]*>[^<]*$")
_SYMBOL = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) [tTwW] ", re.MULTILINE)
_PLACE = re.compile(r"^(.*):(\d+|\?)(?: \(discriminator \d+\))?$")
_CONDITION = re.compile(  # objdump's names of branches that go one of two ways, on any arch
    r"""j(?:n?(?:[abgl]e?|[ceopsz])|p[eo]|[er]?cxz) | loop(?:n?[ez])?[lqw]?    # x86
      | (?:f?b|db|bl|bc?\.)                          # m68k has `dbne`, arm `blne`, arm64 `b.ne`
        (?:eq|ne|[ch]s|c[cs]|l[eost]|g[et]|hi|mi|pl|v[cs])
        (?:\.[nw] | [bswl] | [uz])?                  # arm's width, m68k's, riscv's `bltu`, `bnez`
      | dbf | blb[cs] | [ct]bn?z                     # m68k, alpha, arm64
      | b(?: dn?z | ns | so)                         # powerpc, which has `bne` as well
      | (?: jg? | cl?g?[ir]j ) n? (?: [ehlmopz] | he | l[eh] )                 # s390
      | (?:br|j)ct[gh]? | brx(?:h|le|hg|lg)
    """,
    re.VERBOSE,
)


class Span(Struct, frozen=True):
    """Code of one line: [start, end) in bytes of the kernel's address space."""

    line: int
    start: int
    end: int


class Way(Struct, frozen=True):
    """One of the two ways that a conditional branch can go."""

    line: int  # of the file, that decides
    next: int  # line of the file that it leads to; 0: it leaves the file
    inlined: str  # the function of another file that `line` calls and that decides for it, or ""
    branch: int  # address
    to: int  # address


class Vmlinux(Struct, frozen=True):
    """A kernel with its symbols, and with line tables for the files asked for."""

    path: Path
    cross: str  # the prefix of its arch's binutils
    tree: str  # the last part of the path of the source tree, which the line table's paths contain

    def spans(self, file: str) -> list[Span]:
        """The code that the line table gives to a source file (inlined into others, too)."""
        argv = [f"{self.cross}readelf", "--debug-dump=decodedline", "--wide", str(self.path)]
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
                ours = row[1] == name and self._is(unit, file)
                if row[2] == "-":  # the end of a section's part
                    last = None
                elif ours:
                    last = (int(row[2]), address)
        return found

    def ways(self, file: str, found: Sequence[Span]) -> list[Way]:
        """Of each conditional branch that lines of `found` decide, both. Raises BuildError."""
        pairs = [
            (branch, to)
            for start, end in self.extents(found)
            for branch, *both in self._branches(start, end)
            for to in both
        ]
        places = self._places(file, {address for pair in pairs for address in pair})
        lines = {span.line for span in found}
        return [
            Way(line, places[to][0], inlined, branch, to)
            for branch, to in pairs
            for line, inlined in [places[branch]]
            if line in lines
        ]

    def extents(self, found: Sequence[Span]) -> list[tuple[int, int]]:
        """[start, end) of the functions that hold the spans, sorted, none overlapping: code that
        the file has from elsewhere decides for its lines, too. Raises BuildError.
        """
        argv = [f"{self.cross}nm", "--defined-only", "--print-size", str(self.path)]
        text = output(argv, failed="no symbols")
        starts = sorted(span.start for span in found)
        parts = [(span.start, span.end) for span in found]
        for start, size in ((int(one[1], 16), int(one[2], 16)) for one in _SYMBOL.finditer(text)):
            at = bisect_left(starts, start)
            if at < len(starts) and starts[at] < start + size:
                parts.append((start, start + size))
        return joined(sorted(parts))

    def _branches(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The address of each conditional branch, where it leads to, and what stands behind it."""
        argv = [f"{self.cross}objdump", "-d", "--no-show-raw-insn", f"--start-address={start:#x}"]
        text = output([*argv, f"--stop-address={end:#x}", self.path], failed="cannot disassemble")
        code = [(int(one[1], 16), one[2], one[3]) for one in _CODE.finditer(text)]
        for (address, name, operands), (behind, _, _) in pairwise(code):
            target = _TARGET.search(operands)
            if is_conditional(name, self.cross) and target and int(target[1], 16) != behind:
                yield address, int(target[1], 16), behind

    def _places(self, file: str, addresses: Collection[int]) -> dict[int, tuple[int, str]]:
        """The line of the file that each address belongs to (0: none), and the function that is
        inlined there from elsewhere, if it comes from one.
        """
        argv = [f"{self.cross}addr2line", "-a", "-f", "-i", "-e", str(self.path)]
        typed = "".join(f"{address:#x}\n" for address in addresses)
        text = output(argv, typed=typed, failed="cannot look up lines")
        places = dict.fromkeys(addresses, (0, ""))
        for block in re.split(r"^0x", text, flags=re.MULTILINE)[1:]:
            address, *frames = block.splitlines()
            inlined = ""
            for function, place in zip(frames[::2], frames[1::2], strict=True):  # innermost first
                where = _PLACE.match(place)
                if where and where[2] != "?" and self._is(where[1], file):
                    places[int(address, 16)] = (int(where[2]), inlined)
                    break
                inlined = function
        return places

    def _is(self, path: str, file: str) -> bool:
        return path == file or path.endswith(f"/{self.tree}/{file}")


def is_conditional(mnemonic: str, cross: str) -> bool:
    """Whether objdump's name is that of a branch that goes one of two ways. One table for all
    arches: what is such a branch on one has no target on another, or is one there as well. Only
    `jg`, "if greater" on x86, is a long jump on s390; `cross` is the prefix of the tools.
    """
    if mnemonic == "jg" and cross.startswith("s390"):
        return False
    return _CONDITION.fullmatch(mnemonic.rstrip("+-")) is not None  # powerpc: which way is likely


def joined(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, of sorted [start, end), where those that touch are one."""
    made: list[tuple[int, int]] = []
    for start, end in parts:
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made
