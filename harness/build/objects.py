"""A kept object folder: what make would not notice is forgotten before it runs.

make compares times. A file that is put back with the time it had (`cp -p`, `mv`, a restored
backup) is older than the object of what stood there meanwhile, and the image would hold that.
So the state of the tree is noted that the last good make has seen, and which files were otherwise
at any time since; what depends on one of them that is not newer than the end of the last make is
removed, and where that cannot be told, everything is. The configuration is made anew only where a
file changed that may decide it: that takes longer than compiling a file. Of a tree in git what git
does not look at, as files that it ignores, counts no more than it does in the tree's digest.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from harness.build import BuildError
from harness.build.own_tree import changed_since, state_now, state_of
from harness.build.store import Store
from harness.build.tools import file_digest, walk
from harness.build.tree import TREE, ResolvedSource, State
from harness.jsontext import NOT_JSON

_NOTE = ".faultline-sources"
_ENDED = ".faultline-made"  # its time; not there while make runs, or after it was killed with us
_CONFIGURED = ".faultline-configured"
_CODE = (".c", ".h", ".S")  # every object's .cmd file names those that it was made from
_IDLE = re.compile(r"^(?:Documentation|tools)/|\.(?:txt|rst|md|patch|diff|orig|rej|yaml|dtsi?)$|~$")


class _Note(msgspec.Struct):
    """What is known of the tree that the objects were made from."""

    state: State  # at the last good make; at the first one, while there is none
    since: set[str] = set()  # the files that were otherwise at any time since


@contextmanager
def kept(source: ResolvedSource, objects: Path, store: Store) -> Iterator[None]:
    """A folder fit for an incremental make of a user's tree, which is made in this block and is to
    be as it was resolved at its end. Raises BuildError.
    """
    now = state_of(source)
    note = _forget_changed(source, objects, now, store) or _Note(now)
    _write(objects, note)
    (objects / _ENDED).unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError, BuildError):  # else nobody has seen the end
            note.since |= changed_since(source, note.state, state_now(source, store), store)
            _write(objects, note)
            (objects / _ENDED).write_bytes(b"")
        raise
    _write(objects, _Note(now))
    (objects / _ENDED).write_bytes(b"")


def _forget_changed(
    source: ResolvedSource, objects: Path, now: State, store: Store
) -> _Note | None:
    """What is known of the objects that are left; None: there are none."""
    tree = source.tree
    try:
        note = msgspec.json.decode((objects / _NOTE).read_bytes(), type=_Note)
        note.since |= changed_since(source, note.state, now, store)
    except (FileNotFoundError, BuildError, *NOT_JSON):  # what these were made from nobody knows
        _clear(objects)
        return None
    code = {name for name in note.since if name.endswith(_CODE)}
    others = {name for name in note.since - code if not _IDLE.search(name)}
    if others:
        (objects / _CONFIGURED).unlink(missing_ok=True)  # a Kconfig, a Makefile, a script
    if any((tree / name).exists() and _unseen(tree / name, objects) for name in others):
        _clear(objects)
        return None
    if not (objects / _ENDED).exists():
        _forget_newer(objects)
    if old := {name for name in code if _unseen(tree / name, objects)}:
        _forget(old, tree, objects)
    return note


def _unseen(file: Path, objects: Path) -> bool:
    """Whether make may take a changed file for older than what was made of it: it is not newer
    than the end of the last make, or nobody saw that end; or it is gone, or no file: the time of
    another repository's folder says nothing.
    """
    try:
        ended = (objects / _ENDED).stat().st_mtime_ns
        return file.is_dir() or file.stat().st_mtime_ns <= ended
    except OSError:
        return True


def _forget_newer(objects: Path) -> None:
    """Remove what a make has written that was killed with us: nobody looked at the tree behind it,
    which may have been edited meanwhile, and put back since.
    """
    began = (objects / _NOTE).stat().st_mtime_ns
    for item in [*walk(objects)]:
        if item.stat(follow_symlinks=False).st_mtime_ns >= began and item.name != _NOTE:
            Path(item.path).unlink()


def _write(objects: Path, note: _Note) -> None:
    (objects / _NOTE).write_bytes(msgspec.json.encode(note))


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
    """Remove all of it."""
    for item in objects.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _forget(code: set[str], tree: Path, objects: Path) -> None:
    """Remove what was made from these files."""
    names = {name.rpartition("/")[2] for name in code}
    tops = (objects.parent / TREE, Path(os.path.realpath(tree)))
    for record in objects.rglob(".*.cmd"):
        for word in record.read_text(errors="replace").split():
            if word.rpartition("/")[2] in names and _named(word, objects, tops) in code:
                record.with_name(record.name.removeprefix(".").removesuffix(".cmd")).unlink(
                    missing_ok=True
                )
                record.unlink()
                break


def _named(word: str, objects: Path, tops: Sequence[Path]) -> str:
    """A path in a .cmd file, as one in the tree, which has these names."""
    path = os.path.normpath(objects / word)
    for top in tops:
        path = path.removeprefix(f"{top}/")
    return path
