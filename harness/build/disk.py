"""Scratch disks: images that a machine gets as virtio disks, each by its name.

What a guest writes to one is dropped with the machine (snapshot=on), so that one image in the
store serves every boot. The file systems are made by the ordinary mkfs tools, which are
wanted only by who runs scenarios that need them. A disk for swap is empty: its header
depends on the page size, so the guest writes it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec import Struct

from harness.build import InputError
from harness.build.store import Store
from harness.build.tools import clean_environment, digest, output

RECIPE = 2  # raise it when the same kind would have other content
MIB = 1 << 20  # bytes
UUID = "fa017119-e000-4000-8000-000000000001"
TIME = "1700000000"  # seconds; where mkfs can be told the time


class Mkfs(Struct, frozen=True):
    """A program that makes a file system in a file."""

    argv: tuple[str, ...]  # without the file
    version: tuple[str, ...]  # arguments to ask it for its version
    package: str  # Debian package


class Kind(Struct, frozen=True):
    """What is on a disk."""

    size: int  # bytes; the file is sparse
    mkfs: Mkfs | None = None  # None: nothing but zeroes


KINDS = {  # the keys of catalog.needs.DISKS
    "ext4": Kind(
        32 * MIB,
        Mkfs(
            ("mkfs.ext4", "-q", "-F", "-b", "4096", "-U", UUID, "-E",
             f"hash_seed={UUID},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"),
            ("-V",),
            "e2fsprogs",
        ),
    ),
    # btrfs draws some of its identifiers at random: two images are never the same.
    "btrfs": Kind(
        128 * MIB, Mkfs(("mkfs.btrfs", "-q", "-f", "-U", UUID), ("--version",), "btrfs-progs")
    ),
    "gfs2": Kind(
        64 * MIB,
        Mkfs(
            # Kernels before 5.11 know no later format, and later ones take this one.
            (
                *("mkfs.gfs2", "-O", "-q", "-p", "lock_nolock", "-j", "1", "-J", "8", "-U", UUID),
                *("-o", "format=1801"),
            ),
            ("-V",),
            "gfs2-utils",
        ),
    ),
    "swap": Kind(64 * MIB),
    "raw": Kind(64 * MIB),
}  # fmt: skip


def build_disk(kind: str, store: Store) -> Path:
    """The image of a scratch disk (a key of catalog.needs.DISKS), from the store or made now.

    The file is in an entry of kind "disk". Raises BuildError: mkfs is missing, or fails.
    """
    what = KINDS[kind]
    mkfs = what.mkfs
    key = digest("disk", RECIPE, kind, what.size, [*mkfs.argv, _version(mkfs)] if mkfs else [])

    def fill(folder: Path) -> None:
        image = folder / "disk.img"
        with open(image, "wb") as file:
            file.truncate(what.size)
        if mkfs:
            environment = clean_environment() | {"E2FSPROGS_FAKE_TIME": TIME}
            argv = [_program(mkfs), *mkfs.argv[1:], str(image)]
            output(argv, env=environment, failed=f"cannot make the {kind} disk")

    return store.create("disk", key, fill, f"scratch disk {kind}") / "disk.img"


def _version(mkfs: Mkfs) -> str:
    return output([_program(mkfs), *mkfs.version], brief=True).partition("\n")[0]


def _program(mkfs: Mkfs) -> str:
    """The path of the program; those of an administrator are not on everybody's PATH.

    Raises BuildError naming the Debian package.
    """
    tool = mkfs.argv[0]
    found = shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise InputError(f"{tool} is not installed: install the Debian package {mkfs.package}")
    return found
