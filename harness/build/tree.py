"""A kernel source tree: one exact version of it, what its Makefile says, the files that count."""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError, InputError
from harness.build.tools import digest

RECIPE = 1  # raise it when the same source would be unpacked differently
TREE = "linux"  # the tree's folder in a source entry
Listing = list[tuple[str, int, int]]
"""(path in the tree, size in bytes, mtime in ns) of every file, sorted."""
State = str | Listing
"""What a user's tree held at one time: git's name of that, else its files."""


class ResolvedSource(Struct, frozen=True):
    """One exact version of a kernel's source."""

    version: str  # "6.12.117-1~deb12u1" of a package, "6.13.0-rc2" of a tree's Makefile
    digest: str  # equal digests are equal sources
    tree: Path  # the unpacked tree; a user's own is never written to
    key: str = ""  # of the store's `source` entry; "" for a user's tree
    provenance: dict[str, str] = {}


def package_key(name: str, version: str, sha256: str) -> str:
    """Of the store's `source` entry of a Debian package."""
    return digest("source", RECIPE, "debian", name, version, sha256)


def tarball_key(sha256: str) -> str:
    """Of the store's `source` entry of a tarball."""
    return digest("source", RECIPE, "tarball", sha256)


def makefile_version(tree: Path, name: str = "") -> str:
    """X.Y.Z with EXTRAVERSION, from a kernel tree's Makefile; `name` is what users call the tree.
    Raises BuildError.
    """
    name = name or str(tree)
    try:
        with open(tree / "Makefile", errors="replace") as file:
            head = file.read(4000)
    except OSError as error:
        raise InputError(f"{name} is no kernel tree: Makefile: {error.strerror}") from error
    found: dict[str, str] = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(\S*)[ \t]*$", head, re.MULTILINE))
    numbers = [found.get(part, "") for part in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not all(number.isdigit() for number in numbers):
        raise InputError(f"{name} is no kernel tree: its Makefile has no VERSION = number")
    return ".".join(numbers) + found.get("EXTRAVERSION", "")


def listing(tree: Path) -> Listing:
    """The files of a tree that could be source. Raises BuildError."""
    found: Listing = []
    top = len(str(tree)) + 1

    def look(folder: str) -> None:
        with os.scandir(folder) as items:
            entries = list(items)
        skipped = not_source(folder, [item.name for item in entries])
        for item in entries:
            if item.name in skipped:
                continue
            if item.is_dir(follow_symlinks=False):
                look(item.path)
            else:
                stat = item.stat(follow_symlinks=False)
                found.append((item.path[top:], stat.st_size, stat.st_mtime_ns))

    try:
        look(str(tree))
    except OSError as error:
        raise BuildError(f"cannot read {error.filename}: {error.strerror}") from error
    return sorted(found)


def not_source(folder: str, names: list[str]) -> set[str]:
    """Names in a folder that no make reads: git's own, and all where .gitignore says `*`, such
    as a folder of results.
    """
    if ".gitignore" in names:
        try:
            if Path(folder, ".gitignore").read_bytes().strip() == b"*":
                return set(names)
        except OSError:
            pass
    return {".git"} & set(names)
