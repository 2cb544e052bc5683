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
_ARCHES = {  # e_machine -> what make calls the kernels that are for it
    3: ("i386", "x86", "x86_64"), 4: ("m68k",), 8: ("mips",), 15: ("parisc",), 20: ("powerpc",),
    21: ("powerpc",), 22: ("s390",), 40: ("arm",), 42: ("sh",), 43: ("sparc",),
    62: ("x86_64", "x86"), 183: ("arm64",), 243: ("riscv",), 258: ("loongarch",),
    0x9026: ("alpha",),
}  # fmt: skip
_RAW = (  # images that are no ELF files: (offset, bytes there, e_machine), see Documentation/arch
    (0x202, b"HdrS", 3),  # a bzImage, 32 or 64 bits
    (0x24, bytes.fromhex("18286f01"), 40),  # a zImage
    (0x38, b"ARM\x64", 183),
    (0x38, b"RSC\x05", 243),
)


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
        name = _MACHINES.get(self.machine, f"machine {self.machine}")
        return f"{name}, {self.bits}-bit {self.order}-endian"


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


def check_image(image: Path, kernel_arch: str) -> None:
    """Raises InputError for a kernel image that tells it is for another arch than this (ARCH= of
    make). Not every image tells.
    """
    try:
        elf = read_elf(image)
        with open(image, "rb") as file:
            head = file.read(0x300)
    except OSError as error:
        raise InputError(f"{image}: {error.strerror}") from None
    raw = (found for at, magic, found in _RAW if head.startswith(magic, at))
    machine = elf.machine if elf else next(raw, 0)
    if kernel_arch not in _ARCHES.get(machine, (kernel_arch,)):
        name = _MACHINES[machine]
        raise InputError(f"{image} is a kernel for {name}, not for {kernel_arch}: check --arch")


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
