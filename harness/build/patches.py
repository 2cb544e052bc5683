"""Patched trees: hard-link copies of a pristine one, with a kernel's patches applied.

`patch` replaces the files it changes, so the pristine tree keeps its own. A patch whose change
is in the tree already is skipped; one that neither applies nor is there is an error.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.build import BuildError, InputError
from harness.build.entry import Check
from harness.build.store import Store
from harness.build.tools import called, digest, file_digest, need, output, said
from harness.build.tree import TREE, ResolvedSource
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel, Patch
from harness.catalog.version import parse_version

RECIPE = 1
_NAMES = re.compile(r"^(?:---|\+\+\+|rename to|rename from|copy to) ([^\t\n]+)", re.MULTILINE)
_HUNK = re.compile(r"^@@ .*$", re.MULTILINE)
_COUNTS = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_INDENTED = re.compile(  # what patch(1) reads as if nothing stood before it
    r"(?:[ \tX]|- (?=-))+(?:(?:---|\+\+\+) \S|@@ -|diff --git |Index:"
    r"|(?:old|new|new file|deleted file) mode |(?:rename|copy) (?:from|to) )"
)
_LINK_MODE = re.compile(  # patch(1) makes a file of any of these modes, the old ones as well
    r"^[ \tX]*(?:(?:old|new|new file|deleted file) mode|index \S+)[^\S\n]+12", re.MULTILINE
)
_CHANGED = re.compile(r"^(?:checking|patching) (?:file|symbolic link) (.*)$", re.MULTILINE)
_LINKS = re.compile(r"^(?:checking|patching) symbolic link (.*)$", re.MULTILINE)


class PatchedSource(Struct, frozen=True):
    source: ResolvedSource
    applied: tuple[str, ...] = ()  # patch file names
    skipped: tuple[str, ...] = ()  # the change was in the tree already


def applicable(kernel: Kernel, source: ResolvedSource, arch: Arch) -> list[Patch]:
    """The patches that a kernel declares for this arch and version."""
    version = parse_version(source.version)
    return [patch for patch in kernel.patches if patch.applies(arch, version)]


def remedies(kernel: Kernel, source: ResolvedSource, arch: Arch) -> list[Patch]:
    """Patches that would apply to a tree and that declared kernels of its version need.

    None where patch(1) is not installed: this is advice.
    """
    if shutil.which("patch") is None:
        return []
    version = parse_version(source.version)
    return [
        patch
        for patch in kernel.remedies
        if patch.applies(arch, version)
        and _patch(source.tree, patch.file, "--dry-run", "--fuzz=0")[0]
    ]


def patched(
    kernel: Kernel, source: ResolvedSource, arch: Arch, store: Store, check: Check | None = None
) -> PatchedSource:
    """The source with the patches for this arch; itself if there are none. Raises BuildError."""
    patches = applicable(kernel, source, arch)
    if not patches:
        return PatchedSource(source)
    key = digest("patched", RECIPE, source.key, patch_digests(patches))
    notes = f"patched {key}"

    def fill(to: Path) -> None:
        store.say(f"{kernel.name}: patching a copy for {arch.name}")
        tree = to / TREE
        output(["cp", "-al", "--", source.tree, tree], failed="cannot copy the source tree")
        outcome = [(patch.file.name, apply_patch(tree, patch.file)) for patch in patches]
        names = {
            word: "\n".join(name for name, applied in outcome if applied == (word == "applied"))
            for word in ("applied", "skipped")
        }
        store.remember(notes, names)

    label = f"{source.provenance.get('source', kernel.name)} with {len(patches)} patches"
    with store.using("source", source.key) as pristine:
        entry = store.create("source", key, fill, label, base=pristine, check=check)
    told = store.recall(notes) or {}
    return PatchedSource(
        replace(source, tree=entry / TREE, key=key),
        tuple(told.get("applied", "").splitlines()),
        tuple(told.get("skipped", "").splitlines()),
    )


def patch_digests(patches: Sequence[Patch]) -> list[str]:
    """What of patches goes into keys. Raises BuildError for one that is not readable."""
    try:
        return [file_digest(patch.file) for patch in patches]
    except OSError as error:
        raise InputError(f"cannot read the patch {error.filename}: {error.strerror}") from error


def check_patches(patches: Sequence[Patch]) -> None:
    """Read patches as far as that can be done without a tree. Raises InputError."""
    patch_digests(patches)
    for patch in patches:
        check_names(patch.file.read_text(errors="replace"), patch.file)


def apply_patch(
    tree: Path, file: Path, keep: Sequence[int] = (), only: Collection[str] | None = None
) -> bool:
    """Apply a unified diff (names as with `patch -p1`). False: its change is already there. `keep`
    are descriptors that patch(1) inherits, `only` the files that it may change; None: all.

    Exact context decides first, in both directions: a change that is there does not apply
    again, and one that is not cannot be taken back. Then a fuzz of 2 is tried, for a tree
    whose context has moved on. Raises BuildError with the file and the hunk.
    """
    text = file.read_text(errors="replace")
    check_names(text, file)
    need("patch")
    fuzz = "--fuzz=0"
    applies, words = _patch(tree, file, "--dry-run", fuzz)
    if not applies:
        if _patch(tree, file, "--dry-run", fuzz, "--reverse")[0]:
            return False
        fuzz = "--fuzz=2"
        applies, words = _patch(tree, file, "--dry-run", fuzz)
    if not applies:
        raise BuildError(
            f"{file}: neither applies to the source nor is its change there: "
            f"{_failed_hunks(text, words)}",
            excerpt=words[-8:],
        )
    if link := _LINKS.search("\n".join(words)):  # by patch's own words, however it was asked for
        raise InputError(f"{file}: makes or changes a symbolic link, {link[1]}, which is refused")
    if only is not None:
        _check_changed(file, words, only)
    applies, words = _patch(tree, file, fuzz, keep=keep)
    if not applies:
        raise BuildError(f"{file}: could not be applied", excerpt=words[-8:])
    return True


def _patch(
    tree: Path, file: Path, *options: str, keep: Sequence[int] = ()
) -> tuple[bool, list[str]]:
    """Run patch(1): whether all hunks apply, and what it said."""
    argv = ["patch", "--strip=1", "--unified", "--force", "--no-backup-if-mismatch",
            "--reject-file=-", f"--directory={tree}", f"--input={file.absolute()}",
            *options]  # fmt: skip
    with called(argv, keep=keep) as process:
        text = said(process, ok=range(256))
    return process.returncode == 0, text.splitlines()


def _check_changed(file: Path, words: Sequence[str], only: Collection[str]) -> None:
    """By patch's own words, as it finds names where nobody else does. Raises InputError."""
    changed = _CHANGED.findall("\n".join(words))
    if not changed:
        raise InputError(f"{file}: patch(1) does not say what it changes", excerpt=words[-8:])
    for name in changed:
        if name not in only:
            known = ", ".join(sorted(only))
            raise InputError(f"{file}: would change {name} as well, expected no more than {known}")


def check_names(text: str, file: Path) -> None:
    """Refuse what could change anything but regular files below the tree. Raises BuildError."""
    names = [name for name in _NAMES.findall(text) if name != "/dev/null"]
    if not names:
        raise InputError(f"{file}: expected a unified diff, with --- and +++ lines")
    for name in names:
        if name.startswith(("/", '"')) or ".." in name.split("/"):
            raise InputError(f"{file}: names {name!r}, which could lie outside the source")
    if _LINK_MODE.search(text):
        raise InputError(f"{file}: makes or changes a symbolic link, which is refused")
    for number, line in _beside_hunks(text):
        if _INDENTED.match(line):
            raise InputError(
                f"{file}: line {number}, {line!r}, is a part of the patch to patch(1): "
                "take away what stands before it, or the line"
            )


def _beside_hunks(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are no text of a file, with their numbers."""
    old = new = 0  # lines of the hunk that are to come
    for number, line in enumerate(text.split("\n"), 1):
        if old > 0 or new > 0:
            old -= line[:1] not in ("+", "\\")
            new -= line[:1] not in ("-", "\\")
        elif counts := _COUNTS.match(line):
            old, new = (int(count or 1) for count in counts.groups())
        else:
            yield number, line


def _failed_hunks(text: str, complaint: list[str]) -> str:
    """ "arch/x/fault.c hunk 1 (@@ -239,7 +239,6 @@)" from what patch complained of."""
    failed, name = [], ""
    sections = re.split(r"^--- ", text, flags=re.MULTILINE)[1:]
    for line in complaint:
        if match := re.match(r"(?:checking|patching) file (\S+)", line):
            name = match[1]
        elif match := re.match(r"Hunk #(\d+) FAILED", line):
            section = next((part for part in sections if f"/{name}" in part[:600]), "")
            hunks = _HUNK.findall(section)
            number = int(match[1])
            header = f" ({hunks[number - 1]})" if number <= len(hunks) else ""
            failed.append(f"{name} hunk {number}{header}")
        elif line.startswith("can't find file"):
            failed.append("a file that it changes is not there")
    return "; ".join(failed) or "see what patch says"
