"""A kept object folder: what make would not notice is forgotten before it runs.

make compares times. A file that is put back with the time it had (`cp -p`, `mv`, a restored
backup) is older than the object of what stood there meanwhile, and the image would hold that.
So the files are listed before every make; what depends on one whose size or time differs from
the list before is removed, and where that cannot be told, everything is. The configuration is
made anew only where a file changed that may decide it: that takes longer than compiling a file.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.build.tools import file_digest
from harness.build.tree import Listing, listing
from harness.jsontext import NOT_JSON

_LIST = ".faultline-sources"
_CONFIGURED = ".faultline-configured"
_CODE = (".c", ".h", ".S")  # every object's .cmd file names those that it was made from
_IDLE = re.compile(r"^(?:Documentation|tools)/|\.(?:txt|rst|md|patch|diff|orig|rej|yaml|dtsi?)$|~$")


def forget_changed(tree: Path, objects: Path) -> None:
    """Make a folder fit for an incremental make of the tree as it is now. Raises BuildError."""
    now = listing(tree)
    before, when = _read(objects / _LIST)
    changed = {name for name, *_ in set(now) ^ set(before)} if before else set()
    code = {name for name in changed if name.endswith(_CODE)}
    times = {name: mtime for name, _, mtime in now}
    if not all(_IDLE.search(name) for name in changed - code):
        (objects / _CONFIGURED).unlink(missing_ok=True)  # a Kconfig, a Makefile, a script
    if any(times.get(name, when) < when and not _IDLE.search(name) for name in changed - code):
        _clear(objects)
    elif code:
        _forget(code, Path(os.path.realpath(tree)), objects)
    (objects / _LIST).write_bytes(msgspec.json.encode(now))


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


def _read(path: Path) -> tuple[Listing, int]:
    """The list of the last make, and when that was (ns)."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Listing)
        return found, path.stat().st_mtime_ns
    except FileNotFoundError:
        _clear(path.parent)  # nothing tells what these objects were made from
    except NOT_JSON:  # torn: killed while it was written
        _clear(path.parent)
    return [], 0


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
