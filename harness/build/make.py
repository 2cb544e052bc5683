"""The kernel's make: how it is called, watched and ended, and what it says of an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from io import RawIOBase
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError, Progress
from harness.build.tools import CCACHE, clean_environment, excerpt, has_ccache, room
from harness.catalog.arches import Arch
from harness.lifetime import session

_COMPILED = re.compile(rb" {2}(?:CC|AS) ")


def command(arch: Arch, tree: Path, objects: Path, jobs: int = 0) -> list[str]:
    """make for a tree and an object folder, without targets; `jobs` compilers at a time, 0: as many
    as there are CPUs.
    """
    ccache = f"{CCACHE} " if has_ccache() else ""
    return [
        "make", "-C", str(tree), f"O={objects}", f"ARCH={arch.kernel_arch}",
        f"CROSS_COMPILE={arch.cross}", f"CC={ccache}{arch.cross}gcc", f"HOSTCC={ccache}gcc",
        f"-j{jobs or len(os.sched_getaffinity(0))}", "--output-sync=target",
        "--no-print-directory",
    ]  # fmt: skip


def environment(store: Path) -> dict[str, str]:
    """What make runs with: nothing by which equal input would give another image."""
    ours = {
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER": "faultline",
        "KBUILD_BUILD_HOST": "faultline",
        "KBUILD_BUILD_VERSION": "1",
        # No git: an image, and the release that its modules must be for, depend on files alone,
        # not on how they were committed.
        "GIT_DIR": os.devnull,
        # Paths below the store are seen relative to the object folder, and scratch folders have
        # other names each time: without these two ccache would never hit.
        "CCACHE_BASEDIR": str(store),
        "CCACHE_NOHASHDIR": "1",
    }
    return clean_environment() | ours


class Make(Struct):
    """Runs make for one kernel; its output goes to the log and is counted."""

    label: str  # of the kernel
    argv: list[str]  # without targets
    env: dict[str, str]
    log: Path
    keep: tuple[int, ...]  # descriptors that make keeps open
    names: Mapping[str, str]  # what its output says, and is to say instead
    progress: Progress
    compiled: int = 0  # objects so far

    def run(self, stage: str, targets: Sequence[str]) -> None:
        """Make targets. Raises BuildError with the lines that tell why it failed."""
        argv = [*self.argv, *targets]
        self.progress(stage, self.compiled)
        with open(self.log, "ab", buffering=0) as log:
            log.write(f"$ {' '.join(argv)}\n".encode())
            start = log.tell()
            status = self._watch(argv, log, stage)
        if status != 0:
            text = self.log.read_bytes()[start:].decode(errors="replace")
            what = f"{self.label}: make {' '.join(targets)} failed{room(self.log.parent)}"
            raise BuildError(what, log=self.log, excerpt=excerpt(text))

    def _watch(self, argv: list[str], log: RawIOBase, stage: str) -> int:
        """The exit status; whatever ends the wait ends make as well."""
        with session(argv, env=self.env, keep=self.keep) as process:
            assert process.stdout is not None
            for line in process.stdout:
                for said, name in self.names.items():
                    line = line.replace(said.encode(), name.encode())
                log.write(line)
                if _COMPILED.match(line):
                    self.compiled += 1
                    self.progress(stage, self.compiled)
            return process.wait()
