"""A tree to try things on: a copy of a kernel's source, with its objects kept beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path

from harness.build import BuildError
from harness.build.ctext import NO_CODE
from harness.build.entry import Check
from harness.build.patches import apply_patch, patched
from harness.build.source import resolve
from harness.build.store import Store
from harness.build.tools import digest, output
from harness.build.tree import ResolvedSource
from harness.catalog.arches import Arch
from harness.catalog.kernels import Kernel, TreeSource

_MADE = "complete"  # a file that is there when the tree is
_MARK = re.compile(r"[()\0\n]|#if|#el|#endif")
_ELSE = re.compile(rb"[ \t]*#[ \t]*(?:el|endif)")


class Workbench:
    """The tree of one arch; what was changed in it is put back. Who writes to it keeps open the
    descriptors to `keep`, as the lock of its folder: should we be killed, it stays with them.
    """

    def __init__(self, pristine: Path, folder: Path, keep: Sequence[int] = ()) -> None:
        self.tree, self._keep = folder / "linux", keep
        self._pristine, self._note = pristine, folder / "touched"
        if not is_made(folder):
            shutil.rmtree(self.tree, ignore_errors=True)
            words = ["cp", "-al", "--", str(pristine), str(self.tree)]
            output(words, failed="cannot copy the source tree", keep=keep)
            (folder / _MADE).touch()
        self.restore()

    @property
    def kernel(self) -> Kernel:
        return Kernel(f"tree:{self.tree}", TreeSource(self.tree))

    def touch(self, paths: Sequence[str]) -> None:
        """These files are about to be changed, and are nobody else's from here on.

        Raises BuildError for one that is not in the tree.
        """
        for name in paths:
            if not (self._pristine / name).is_file():
                raise BuildError(f"{name} is not in the tree")
        self._note.write_text("\n".join(paths))
        for name in paths:
            self._renew(name)

    def apply(self, patch: Path) -> None:
        """To files that are touched, and to no other: it would stay changed. Raises BuildError."""
        apply_patch(self.tree, patch, self._keep, self._touched())

    def keep_lines(self, paths: Sequence[str]) -> None:
        """What a change has moved in these files says which line it was. WARN and BUG hold theirs:
        so an image differs by what a change does, and not by how long it is.
        """
        for name in paths:
            file = self.tree / name
            if file.suffix in (".c", ".h", ".S") and file.is_file():
                before = (self._pristine / name).read_bytes().splitlines(keepends=True)
                after = file.read_bytes().splitlines(keepends=True)
                file.write_bytes(b"".join(numbered(before, after)))

    def restore(self) -> None:
        """What was changed last is as it was, with a new time so that make sees it."""
        for name in self._touched():
            self._renew(name)
        self._note.unlink(missing_ok=True)

    def _touched(self) -> list[str]:
        return self._note.read_text().split() if self._note.exists() else []

    def _renew(self, name: str) -> None:
        file = self.tree / name
        if not file.parent.resolve().is_relative_to(self.tree.resolve()):
            raise BuildError(f"{name} is not in the tree")
        file.unlink(missing_ok=True)  # it was a hard link to the original
        shutil.copy(self._pristine / name, file)


def numbered(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[bytes]:
    """The lines `after` a change of C, with a #line where other numbers than `before` it begin, or
    as soon as there can be one.
    """
    same = 0  # lines, which are most of a file
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    yield from after[:same]
    moved: int | None = 0  # by how many lines, as the compiler knows; None: nobody knows if it does
    told, fit = False, between(after)
    blocks = SequenceMatcher(None, before[same:], after[same:], autojunk=False).get_opcodes()
    for kind, old, _, new, end in blocks:
        for number, line in enumerate(after[same + new : same + end], same + new):
            if kind == "equal" and old - new != moved and fit[number]:
                told, moved = True, old - new
                yield b"#line %d\n" % (number + moved + 1)
            yield line
            if told and _ELSE.match(line):  # what was above may be left out, and a #line with it
                moved = None


def between(lines: Sequence[bytes]) -> list[bool]:
    """Of each line of C whether a directive may stand before it: no comment, literal, directive or
    parenthesis from above goes on there. A #line among the arguments of a macro is undefined, and
    nobody knows here what is a macro.
    """

    def bare(token: re.Match[str]) -> str:
        word = f"#{token['word']}" if token["word"] else ""
        return word + "\0" * token[0].count("\n")

    text = b"".join(lines).decode("latin-1")  # one character a byte, whatever it is encoded in
    fit, depth, depths = [True], 0, [0]  # of parentheses: here, and where each #if was
    for what in _MARK.findall(NO_CODE.sub(bare, text)):
        if what in "()":
            depth = max(0, depth + (1 if what == "(" else -1))
        elif what in "\0\n":
            fit.append(what == "\n" and depth == 0)
        elif what == "#if":
            depths.append(depth)
        elif what == "#el":  # the other branch of it
            depth = depths[-1]
        elif len(depths) > 1:
            depths.pop()
    return fit


def is_made(folder: Path) -> bool:
    """Whether the tree of a workbench is there, and all of it."""
    return (folder / _MADE).exists()


@contextmanager
def workbench(kernel: Kernel, arch: Arch, store: Store) -> Iterator[Workbench]:
    """The one of this kernel and arch, held. Raises BuildError."""

    def source(check: Check | None = None) -> ResolvedSource:
        return patched(kernel, resolve(kernel, store, check=check), arch, store, check).source

    found = source()
    key = digest("mutants", found.key, arch.name)
    label = f"tree of mutants, {kernel.name} {arch.name}"
    with store.folder("objects", key, label) as folder:
        if not is_made(folder.path):
            found = source("full")  # what is wrong in it would stay in the copy
        yield Workbench(found.tree, folder.path, (folder.lock,))
