"""What an ELF program says of the machine it is for."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from harness.build import InputError

_MACHINES = {
    3: "i386", 4: "m68k", 8: "mips", 15: "parisc", 20: "ppc", 21: "ppc64", 22: "s390", 40: "arm",
    42: "sh", 43: "sparc64", 62: "x86-64", 183: "arm64", 243: "riscv", 258: "loongarch",
    0x9026: "alpha",
}  # fmt: skip
_PT_INTERP = 3
_BITS = {b"\1": 32, b"\2": 64}  # e_ident[EI_CLASS]
_ORDERS = {b"\1": "little", b"\2": "big"}  # e_ident[EI_DATA]
_HEADER_SIZE = {32: 52, 64: 64}  # bytes
_HEADER = {32: "18xH8xI10xHH", 64: "18xH12xQ14xHH"}  # e_machine, e_phoff, e_phentsize, e_phnum
_PROGRAM = {32: "II8xI", 64: "I4xQ16xQ"}  # p_type, p_offset, p_filesz
_SOURCE = (".c", ".cc", ".cpp", ".S", ".rs", ".go")


class Elf(Struct, frozen=True):
    """The part of an ELF header that decides whether a kernel can run it."""

    bits: int  # 32 or 64
    order: str  # "little" or "big"
    machine: int  # e_machine
    interpreter: str  # of a dynamically linked program, "" if there is none

    def runs_like(self, other: Elf) -> bool:
        """Whether both are for the same machine."""
        return (self.bits, self.order, self.machine) == (other.bits, other.order, other.machine)

    def __str__(self) -> str:
        return f"{machine_name(self.machine)}, {self.bits}-bit {self.order}-endian"


def machine_name(machine: int) -> str:
    """What people call an e_machine."""
    return _MACHINES.get(machine, f"machine {machine}")


def read_elf(path: Path) -> Elf | None:
    """The header of a program; None if it is no ELF file. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(64)
        bits, order = _BITS.get(head[4:5]), _ORDERS.get(head[5:6])
        if head[:4] != b"\x7fELF" or bits is None or order is None:
            return None
        if len(head) < _HEADER_SIZE[bits]:
            return None
        mark = "<" if order == "little" else ">"
        machine, offset, size, count = struct.unpack_from(mark + _HEADER[bits], head)
        places = range(offset, offset + count * size, size or 1)
        interpreter = _interpreter(file, places, mark, bits)
    return Elf(bits, order, machine, interpreter)


def _interpreter(file: BinaryIO, places: Iterable[int], mark: str, bits: int) -> str:
    """What the program headers at these offsets (bytes) name, "" if none does."""
    program = struct.Struct(mark + _PROGRAM[bits])
    for place in places:
        entry = _read_at(file, place, program.size)
        if len(entry) < program.size:
            break
        kind, offset, length = program.unpack(entry)
        if kind == _PT_INTERP:
            name = _read_at(file, offset, min(length, 4096)).split(b"\0")[0]
            return name.decode(errors="replace") or "unknown"
    return ""


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """Fewer bytes where the file has no more: an offset may be any number."""
    if offset >= os.fstat(file.fileno()).st_size:
        return b""
    file.seek(offset)
    return file.read(length)


def check_static(path: Path, guest: Path, arch: str) -> None:
    """Raises BuildError unless `path` can run where the guest binary `guest` does: an ELF
    program for the same machine, statically linked.
    """
    try:
        found, like = read_elf(path), read_elf(guest)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    assert like is not None
    if found is None and path.suffix in _SOURCE:
        raise InputError(
            f"{path} is source: compile it with a compiler for {arch} and -static first"
        )
    if found is None:
        raise InputError(f"{path} is no ELF program: expected one for {arch} ({like})")
    if not found.runs_like(like):
        raise InputError(f"{path} is for {found}, and {arch} runs {like}: compile it for {arch}")
    if found.interpreter:
        raise InputError(
            f"{path} is dynamically linked (it needs {found.interpreter}): link it with -static, "
            "or bring the interpreter and its libraries with --file"
        )
