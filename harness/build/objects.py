"""A kept object folder: what make would not notice is forgotten before it runs.

make compares times. A file that is put back with the time it had (`cp -p`, `mv`, a restored
backup) is older than the object of what stood there meanwhile, and the image would hold that.
So the state of the tree is noted before every make, and when that ended; what depends on a file
that differs from the state before, and is not newer than that end, is removed, and where that
cannot be told, everything is. The configuration is made anew only where a file changed that may
decide it: that takes longer than compiling a file.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.build import BuildError
from harness.build.tools import file_digest
from harness.build.tree import State
from harness.jsontext import NOT_JSON

_STATE = ".faultline-sources"
_ENDED = ".faultline-made"  # its time; not there while make runs, or after it was killed with us
_CONFIGURED = ".faultline-configured"
_CODE = (".c", ".h", ".S")  # every object's .cmd file names those that it was made from
_IDLE = re.compile(r"^(?:Documentation|tools)/|\.(?:txt|rst|md|patch|diff|orig|rej|yaml|dtsi?)$|~$")


@contextmanager
def kept(
    tree: Path, objects: Path, now: State, changed: Callable[[State], set[str]]
) -> Iterator[None]:
    """A folder fit for an incremental make of a tree, while it is made in this block.

    `now` is the state of the tree, `changed` tells the files that differ from an earlier one; it
    raises BuildError where it cannot.
    """
    _forget_changed(tree, objects, changed)
    (objects / _STATE).write_bytes(msgspec.json.encode(now))
    (objects / _ENDED).unlink(missing_ok=True)
    try:
        yield
    finally:
        (objects / _ENDED).write_bytes(b"")


def _forget_changed(tree: Path, objects: Path, changed: Callable[[State], set[str]]) -> None:
    try:
        before = msgspec.json.decode((objects / _STATE).read_bytes(), type=State)
        differ = changed(before)
    except (FileNotFoundError, BuildError, *NOT_JSON):  # what these were made from nobody knows
        _clear(objects)
        return
    code = {name for name in differ if name.endswith(_CODE)}
    others = {name for name in differ - code if not _IDLE.search(name)}
    if others:
        (objects / _CONFIGURED).unlink(missing_ok=True)  # a Kconfig, a Makefile, a script
    if any((tree / name).is_file() and _unseen(tree / name, objects) for name in others):
        _clear(objects)
    elif old := {name for name in code if _unseen(tree / name, objects)}:
        _forget(old, Path(os.path.realpath(tree)), objects)


def _unseen(file: Path, objects: Path) -> bool:
    """Whether make may take a changed file for older than what was made of it: it is not newer
    than the end of the last make, or is gone, or nobody saw that end.
    """
    try:
        return file.lstat().st_mtime_ns <= (objects / _ENDED).stat().st_mtime_ns
    except OSError:
        return True


def is_configured(objects: Path, tools: Sequence[str]) -> bool:
    """Whether the folder still has the .config that was noted, for these tools and this tree."""
    try:
        return (objects / _CONFIGURED).read_bytes() == _configuration(objects, tools)
    except OSError:
        return False


def note_configured(objects: Path, tools: Sequence[str]) -> None:
    (objects / _CONFIGURED).write_bytes(_configuration(objects, tools))


def _configuration(objects: Path, tools: Sequence[str]) -> bytes:
    return msgspec.json.encode([*tools, file_digest(objects / ".config")])


def _clear(objects: Path) -> None:
    for item in objects.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _forget(code: set[str], tree: Path, objects: Path) -> None:
    """Remove what was made from these files."""
    names = {name.rpartition("/")[2] for name in code}
    for record in objects.rglob(".*.cmd"):
        for word in record.read_text(errors="replace").split():
            if word.rpartition("/")[2] in names and _named(word, tree) in code:
                record.with_name(record.name.removeprefix(".").removesuffix(".cmd")).unlink(
                    missing_ok=True
                )
                record.unlink()
                break


def _named(word: str, tree: Path) -> str:
    """A path in a .cmd file, as one in the tree."""
    return word.removeprefix(f"{tree}/").removeprefix("./")
