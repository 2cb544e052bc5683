"""From declarations to files: kernel sources, kernel images, guest binaries, initramfs, store.

    sources    source: what a kernel's name resolves to; fetch, apt, archive: from elsewhere;
               own_tree, git: a user's own; tree: what all have in common; patches
    kernels    blueprint: what decides an image; kernel: it, from the store or made; compile, make,
               kconfig, objects: how; image: what one tells of itself; module; symbols
    guests     guest, disk, initramfs, shell; elf: what a program of somebody else's is for
    the store  store; entry: whether one is whole; prune: keeping house; kept: what is computed
    evidence   does the text that decides an outcome still stand in the source?

Every failure a user can do something about is a `BuildError`: it says which file, what was
expected there and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Say = Callable[[str], None]
"""Receives one line of news for the user: what is being fetched, rebuilt, waited for."""


def silent(line: str) -> None:
    """The `Say` of callers who do not want to hear."""


Progress = Callable[[str, int], None]
"""Hears (stage, objects compiled): "configure", "compile", "collect"."""


def no_progress(stage: str, done: int) -> None:
    """The `Progress` of callers who do not want to hear."""


class BuildError(Exception):
    """Something could not be built; str() is the message, then the excerpt, then the log."""

    def __init__(
        self,
        message: str,
        *,
        log: Path | None = None,
        excerpt: Sequence[str] = (),
        output: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.log = log  # the whole log, kept
        self.excerpt = list(excerpt)  # the lines of it that matter
        self.output = output  # all that a program wrote, where nobody has kept it yet

    def __str__(self) -> str:
        lines = [self.message, *(f"    {line}" for line in self.excerpt)]
        if self.log is not None:
            lines.append(f"  the whole log: {self.log}")
        return "\n".join(lines)


def brief(error: Exception) -> str:
    """For where the report will have all of it: the message, and what the compiler said first."""
    if not isinstance(error, BuildError):
        return str(error)
    first = next((line for line in error.excerpt if "error: " in line), "")
    return f"{error.message}\n    {first}" if first else error.message


class InputError(BuildError):
    """What was given is wrong, or a tool is missing: to be mended before anything can be built."""


class Unavailable(BuildError):
    """A kernel that cannot be had for an arch, and is declared so: no failure, but n/a."""


class StoreError(BuildError):
    """The store cannot be used: not writable, disk full, a name that is no name."""
