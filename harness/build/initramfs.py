"""An initramfs without root: the newc cpio format, written so that equal input is equal bytes.

The format is Documentation/driver-api/early-userspace/buffer-format.rst: each member is 13
fields of 8 hex digits behind the magic, the name, and the data, name and data padded to 4 bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from harness.build import BuildError, InputError
from harness.build.store import Store
from harness.build.tools import digest, file_digest

RECIPE = 2  # raise it when the content changes for the same input
FOLDERS = ("dev", "etc", "proc", "sys", "tmp")
DEVICES = {"dev/console": (5, 1), "dev/null": (1, 3)}  # before devtmpfs, if there is one
# Those that LTP and kselftest ask for by name, with Debian's numbers but for nobody, who is 65534
# to the kernel, too.
PASSWD = """\
root:x:0:0:root:/:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
bin:x:2:2:bin:/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
users:x:100:
nogroup:x:65534:
"""


class _Member(Struct, frozen=True):
    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def _header(member: _Member, inode: int) -> bytes:
    links = 2 if stat.S_ISDIR(member.mode) else 1
    name = os.fsencode(member.name) + b"\0"
    major, minor = member.device
    fields = (
        inode, member.mode, 0, 0, links, 0, len(member.data), 0, 0, major, minor, len(name), 0,
    )  # fmt: skip
    text = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return text + b"\0" * (-len(text) % 4)


def _write(out: BinaryIO, members: list[_Member]) -> None:
    for inode, member in enumerate(members, 1):
        out.write(_header(member, inode))
        out.write(member.data + b"\0" * (-len(member.data) % 4))
    out.write(_header(_Member("TRAILER!!!", 0), 0))
    out.write(b"\0" * (-out.tell() % 512))  # the block size of cpio(1)


def write_initramfs(out: Path, files: Mapping[str, Path]) -> None:
    """Write an uncompressed initramfs: executable `files` (name in it -> file here), and what
    a PID 1 needs around them. Raises BuildError for a name or a file that cannot be in it.
    """
    members = [_Member(name, stat.S_IFDIR | 0o755) for name in FOLDERS if name != "tmp"]
    members.append(_Member("tmp", stat.S_IFDIR | 0o1777))
    for name, device in DEVICES.items():
        members.append(_Member(name, stat.S_IFCHR | 0o666, device=device))
    for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
        members.append(_Member(name, stat.S_IFREG | 0o644, text.encode()))
    taken = {member.name for member in members}
    for name, path in files.items():
        parts = _parts(name)
        if name in taken:
            raise InputError(f"initramfs: {name!r} stands in it twice")
        if len(parts) > 1 and "/".join(parts[:-1]) not in FOLDERS:
            raise InputError(f"initramfs: {name!r}: its folder is none of {', '.join(FOLDERS)}")
        try:
            members.append(_Member(name, stat.S_IFREG | 0o755, path.read_bytes()))
        except OSError as error:
            raise InputError(f"initramfs: cannot read {path}: {error.strerror}") from error
    members.sort(key=lambda member: member.name)  # "dev" sorts before "dev/null", as it must
    try:
        with open(out, "wb") as file:
            _write(file, members)
    except OSError as error:
        raise BuildError(f"initramfs: cannot write {out}: {error.strerror}") from error


def _parts(name: str) -> list[str]:
    """Folders and file of a path in an initramfs. Raises InputError for what is none."""
    parts = name.split("/")
    if not all(parts) or "." in parts or ".." in parts or "\0" in name:
        raise InputError(f"initramfs: {name!r} cannot be a file's name in it")
    return parts


class Extra(Struct, frozen=True):
    """A file that goes on top of an initramfs: its path in it, and content or link target."""

    name: str  # "bin/sh", without a leading slash
    data: bytes | Path = b""
    mode: int = 0o644
    link: str = ""  # target of a symbolic link, instead of content


def write_overlay(out: Path, base: Path, extras: Iterable[Extra]) -> None:
    """Write the initramfs `base` with `extras` behind it: the kernel unpacks one archive after
    the other. Folders are made as needed. Raises BuildError for a name that cannot be in it.
    """
    folders: dict[str, _Member] = {}
    files: dict[str, _Member] = {}
    for extra in extras:
        parts = _parts(extra.name)
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in FOLDERS:
                folders[folder] = _Member(folder, stat.S_IFDIR | 0o755)
        if extra.link:
            files[extra.name] = _Member(extra.name, stat.S_IFLNK | 0o777, os.fsencode(extra.link))
            continue
        try:
            data = extra.data.read_bytes() if isinstance(extra.data, Path) else extra.data
        except OSError as error:
            raise InputError(f"initramfs: {error.filename}: {error.strerror}") from None
        files[extra.name] = _Member(extra.name, stat.S_IFREG | extra.mode, data)
    for name in files.keys() & folders.keys():
        raise InputError(f"initramfs: {name!r} would be a file and a folder")
    try:
        with open(out, "wb") as file:
            file.write(base.read_bytes())
            file.write(b"\0" * (-file.tell() % 4))
            _write(file, [*sorted(folders.values(), key=lambda m: m.name), *files.values()])
    except OSError as error:
        raise BuildError(f"initramfs: cannot write {out}: {error.strerror}") from error


def busybox_extras(busybox: Path) -> list[Extra]:
    """A shell, and what else busybox is: init makes the links to it."""
    return [
        Extra("bin/busybox", busybox, 0o755),
        Extra("bin/sh", link="busybox"),
        Extra("bin/faults", link="/init"),
    ]


def build_initramfs(binary: Path, store: Store, module: Path | None = None) -> Path:
    """The initramfs with `binary` as /init, and a kernel module where there is one, from the
    store. Raises BuildError.
    """
    files = {"init": binary} | ({module.name: module} if module else {})
    try:
        key = digest("initramfs", RECIPE, *map(file_digest, files.values()))
    except OSError as error:
        raise BuildError(f"initramfs: cannot read {error.filename}: {error.strerror}") from error
    made = store.create(
        "initramfs",
        key,
        lambda folder: write_initramfs(folder / "initramfs.cpio", files),
        label=f"initramfs of {binary.name} ({binary.stat().st_size} bytes)",
    )
    return made / "initramfs.cpio"
