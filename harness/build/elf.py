"""What an ELF program says of the machine it is for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from harness.build import InputError

_MACHINES = {
    3: "i386", 4: "m68k", 8: "mips", 15: "parisc", 20: "ppc", 21: "ppc64", 22: "s390", 40: "arm",
    42: "sh", 43: "sparc64", 62: "x86-64", 183: "arm64", 243: "riscv", 258: "loongarch",
    0x9026: "alpha",
}  # fmt: skip
_PT_INTERP = 3


@dataclass(frozen=True)
class Elf:
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
        if (
            len(head) < 52
            or head[:4] != b"\x7fELF"
            or head[4] not in (1, 2)
            or head[5] not in (1, 2)
        ):
            return None
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        if wide and len(head) < 64:
            return None
        (machine,) = struct.unpack_from(f"{order}H", head, 18)
        offset = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)[0]
        size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
        interpreter = ""
        for index in range(count):
            file.seek(offset + index * size)
            entry = file.read(size)
            if len(entry) < (40 if wide else 20):
                break
            if struct.unpack_from(f"{order}I", entry)[0] != _PT_INTERP:
                continue
            at, length = (
                struct.unpack_from(f"{order}Q", entry, 8)[0] if wide
                else struct.unpack_from(f"{order}I", entry, 4)[0],
                struct.unpack_from(f"{order}{'Q' if wide else 'I'}", entry, 32 if wide else 16)[0],
            )  # fmt: skip
            file.seek(at)
            name = file.read(min(length, 4096)).split(b"\0")[0]
            interpreter = name.decode(errors="replace") or "unknown"
    return Elf(64 if wide else 32, "little" if head[5] == 1 else "big", machine, interpreter)


def check_static(path: Path, guest: Path, arch: str) -> None:
    """Raises BuildError unless `path` can run where the guest binary `guest` does: an ELF
    program for the same machine, statically linked.
    """
    try:
        found, like = read_elf(path), read_elf(guest)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    assert like is not None
    if found is None:
        raise InputError(f"{path} is no ELF program: expected one for {arch} ({like})")
    if not found.runs_like(like):
        raise InputError(f"{path} is for {found}, and {arch} runs {like}: compile it for {arch}")
    if found.interpreter:
        raise InputError(
            f"{path} is dynamically linked (it needs {found.interpreter}): link it with -static, "
            "or bring the interpreter and its libraries with --file"
        )
