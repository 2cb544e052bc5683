"""What a kernel image tells of itself: the arch that it is for, and its version."""

from __future__ import annotations

import re
from pathlib import Path

from harness.build import InputError
from harness.build.elf import machine_name, read_elf

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
        raise InputError(
            f"{image} is a kernel for {machine_name(machine)}, not for {kernel_arch}: check --arch"
        )


def image_version(image: Path) -> str | None:
    """The release that an uncompressed image's banner or a bzImage's header tells."""
    data = image.read_bytes()
    if data[0x202:0x206] == b"HdrS":  # the x86 boot protocol: a pointer to the release
        at = int.from_bytes(data[0x20E:0x210], "little") + 0x200
        text = data[at : at + 100].split(b"\0")[0].split(b" ")[0]
    else:
        match = re.search(rb"Linux version ([0-9]+\.[0-9]+[^ \0]{0,60}) ", data)
        text = match[1] if match else b""
    return text.decode(errors="replace") or None
