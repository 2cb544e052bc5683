"""Calling other programs: argument lists, no shell, and errors that say what to install."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import cast

from msgspec import Struct

from harness.build import BuildError, InputError
from harness.lifetime import Process, session

PACKAGES = {  # host tool -> Debian package; cross compilers are declared by each arch
    "make": "make",
    "gcc": "gcc",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "patch": "patch",
    "tar": "tar",
    "xz": "xz-utils",
    "bzip2": "bzip2",
    "cp": "coreutils",
    "git": "git",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
CCACHE = "ccache"
HOST_TOOLS = ("make", "gcc", "flex", "bison", "bc")  # needed for every kernel
OF_DEBIAN = ("apt-get", "dpkg-deb")  # needed for kernels that are Debian packages, only
_CHUNK = 1 << 16  # bytes
_ERROR = re.compile(
    r"\berror:|fatal error|undefined reference|No rule to make target|command not found"
    r"|: not found|No such file or directory|No space left|Killed"
)
FULL = os.strerror(errno.ENOSPC)
_SCARCE = 4 << 20  # bytes: make removes what a step has begun, so that a full disk has room again
HEADERS = {"libelf.h": "libelf-dev"}  # of the host, for objtool of x86


def digest(*parts: object) -> str:
    """A store key: 32 hex digits over the parts (JSON values), in order."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """sha256 of a file's content, hex. Raises OSError."""
    found = hashlib.sha256()
    # hashlib.file_digest() clears a buffer of 256 KiB first: twice the time of a source file.
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.hexdigest()


def walk(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Every file and link below a folder, but not the folders. os.scandir, for 90000 of them."""
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                yield from walk(item.path)
            else:
                yield item


def need(tool: str, packages: Mapping[str, str] = PACKAGES) -> str:
    """The tool's name, if it is there. Raises BuildError naming the Debian package."""
    if shutil.which(tool) is None:
        package = packages.get(tool) or PACKAGES.get(tool)
        hint = f"install the Debian package {package}" if package else "install it"
        raise InputError(f"{tool} is not installed: {hint}")
    return tool


def has_ccache() -> bool:
    return shutil.which(CCACHE) is not None


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change a build behind its key."""
    prefixes = ("KBUILD_", "KCONFIG_", "INSTALL_", "GIT_")
    names = {
        "ARCH", "SUBARCH", "CROSS_COMPILE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES",
        "KCFLAGS", "KAFLAGS", "KCPPFLAGS", "KRUSTFLAGS", "LOCALVERSION", "LLVM", "LLVM_IAS", "CC",
        "HOSTCC", "HOSTCFLAGS", "HOSTLDFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS", "CPATH", "V", "C",
        "M", "O", "W", "C_INCLUDE_PATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH",
        "SOURCE_DATE_EPOCH", "TAR_OPTIONS", "XZ_OPT", "XZ_DEFAULTS", "POSIXLY_CORRECT",
        "PATCH_VERSION_CONTROL", "PATCH_GET", "VERSION_CONTROL", "GREP_OPTIONS",
    }  # fmt: skip
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in names and not name.startswith(prefixes)
    }
    return kept | {"LC_ALL": "C", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}


def called(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
    brief: bool = False,
) -> AbstractContextManager[Process]:
    """Start a program as a session (harness/lifetime.py), its streams as `said` reads them. Raises
    OSError.
    """
    return session(
        [str(part) for part in argv],
        env=env if env is not None else clean_environment(),
        cwd=cwd, keep=keep, stdin=subprocess.PIPE, brief=brief,
    )  # fmt: skip


def output(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    failed: str = "",
    ok: Sequence[int] = (0,),
    typed: str = "",
    keep: Sequence[int] = (),
    brief: bool = False,
) -> str:
    """Run a program and return what it wrote (both streams); `typed` is its stdin, `keep` are
    descriptors that it inherits, and `brief` is one that takes no time. Raises BuildError,
    `failed` first.
    """
    try:
        with called(argv, cwd=cwd, env=env, keep=keep, brief=brief) as process:
            return said(process, failed=failed, ok=ok, typed=typed)
    except FileNotFoundError:
        need(str(argv[0]))
        raise


def said(process: Process, *, failed: str = "", ok: Sequence[int] = (0,), typed: str = "") -> str:
    """Wait for what was `called`: what it wrote. Raises BuildError, `failed` first."""
    text = process.communicate(typed.encode())[0].decode(errors="replace")
    if process.returncode not in ok:
        # Who fails is the compiler, also where ccache calls it.
        program = next(word for word in cast("list[str]", process.args) if word != CCACHE)
        raise BuildError(
            f"{failed or f'{program} failed'} ({program}: exit status {process.returncode})",
            excerpt=excerpt(text),
            output=text,
        )
    return text


def excerpt(text: str, limit: int = 16) -> list[str]:
    """The lines of a compiler's output that tell why it failed: the first error, and around it."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    found = found or [number for number, line in enumerate(lines) if "***" in line]
    if not found:
        return lines[-limit:]
    first = max(0, found[0] - 3)
    return lines[first : first + limit]


def room(folder: Path) -> str:
    """What to add to "it failed" where that disk has hardly any room left, "" where it has. fixdep,
    ar and a shell's printf fail for want of it and name no cause.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    left = (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
    if left < _SCARCE:
        return f", and the disk of {folder} has {left >> 10} KiB left ({FULL})"
    if disk.f_files and not disk.f_favail:
        return f", and the disk of {folder} can take no more files ({FULL})"
    return ""


class Toolchain(Struct, frozen=True):
    """A C compiler and its binutils, by what they say of themselves."""

    prefix: str  # "m68k-linux-gnu-"; "" is the host's own
    compiler: str  # first line of gcc --version
    binutils: str  # first line of ld --version

    @property
    def gcc(self) -> str:
        return f"{self.prefix}gcc"


def toolchain(prefix: str, packages: Mapping[str, str]) -> Toolchain:
    """Ask compiler and linker for their versions. Raises BuildError naming what is missing."""
    for tool in ("gcc", "ld"):
        fallback = "gcc" if tool == "gcc" else "binutils"
        package = (
            packages.get(f"{prefix}{tool}")
            or packages.get(f"{prefix}gcc")
            or (f"{fallback}-{prefix.rstrip('-')}".rstrip("-"))
        )
        need(f"{prefix}{tool}", {f"{prefix}{tool}": package})
    return _ask_toolchain(prefix, os.environ.get("PATH", ""))


@lru_cache
def _ask_toolchain(prefix: str, path: str) -> Toolchain:
    del path  # part of the cache's key: another PATH is another compiler
    compiler, linker = ([f"{prefix}{tool}", "--version"] for tool in ("gcc", "ld"))
    with called(compiler, brief=True) as gcc, called(linker, brief=True) as ld:
        return Toolchain(prefix, said(gcc).splitlines()[0], said(ld).splitlines()[0])
