"""Keeping house in the store: what is there, what of it is damaged, and removing what is not used.

Nothing is removed that somebody makes or uses: whoever does holds the lock of its key.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from harness.build.entry import Damage, check_entry, read_header
from harness.build.store import KEY, KIND, RESERVED, Store
from harness.build.tools import walk

_DAY = 86400  # seconds


class Entry(Struct, frozen=True):
    """One line of `faultline store list`: an entry, a folder that changes, or a log."""

    kind: str
    key: str
    label: str
    size: int  # bytes
    used: float  # seconds since the epoch
    path: Path  # its folder, or the log itself
    sealed: bool = False  # it has a manifest to be compared with

    @property
    def lock(self) -> tuple[str, str]:
        """(kind, key) that is locked by who works on it; a log is its entry's."""
        kind, dash, key = self.key.partition("-")
        return (kind, key) if self.kind == "logs" and dash else (self.kind, self.key)


def entries(store: Store) -> Sequence[Entry]:
    """Everything in the store, by kind, the last used first."""
    kinds = (path for path in _inside(store.base) if path.name not in RESERVED)
    homes = (home for kind in kinds if KIND.fullmatch(kind.name) for home in _inside(kind))
    found = [_describe(home) for home in (*homes, *_inside(store.base / "logs"))]
    there = [entry for entry in found if entry is not None]
    return sorted(there, key=lambda entry: (entry.kind, -entry.used, entry.key))


def _describe(home: Path) -> Entry | None:
    """None if it vanished meanwhile."""
    kind, key = home.parent.name, home.name
    try:
        used = home.stat().st_mtime
        if home.is_file():
            return Entry(kind, home.stem, key, home.stat().st_size, used, home)
        if (label := home / "label").exists():
            size = sum(item.stat(follow_symlinks=False).st_size for item in walk(home))
            return Entry(kind, key, label.read_text(), size, used, home)
        header = read_header(home)
    except FileNotFoundError:
        return None
    except Damage as damage:
        return Entry(kind, key, f"damaged: {damage}", 0, used, home, sealed=True)
    return Entry(kind, key, header.label, header.size, used, home, sealed=True)


def verify(store: Store) -> Sequence[tuple[Entry, str]]:
    """Check every file of every entry; returns what is damaged and why."""
    damaged = []
    for entry in entries(store):
        if entry.sealed:
            try:
                check_entry(entry.path, entry.kind, "full")
            except Damage as damage:
                damaged.append((entry, str(damage)))
    return damaged


def prune(
    store: Store,
    *,
    kinds: Collection[str] = (),
    unused_for: float | None = None,
    dry_run: bool = False,
) -> Sequence[Entry]:
    """Remove (or with `dry_run` only name) entries; returns them.

    `kinds` limits to these kinds, `unused_for` to entries last used that many seconds ago or more;
    without limits everything goes, but for what is in use. Leftovers of dead writers go in any
    case.
    """
    now = time.time()
    gone = [
        entry
        for entry in entries(store)
        if (not kinds or entry.kind in kinds)
        and (unused_for is None or now - entry.used >= unused_for)
        and _remove(store, entry, dry_run)
    ]
    if not dry_run:
        _sweep(store)
    return gone


def _remove(store: Store, entry: Entry, dry_run: bool) -> bool:
    """False: it is in use."""
    with store.lock(*entry.lock, wait=False) as descriptor:
        if descriptor < 0:
            return False
        if not dry_run:
            store.remove(entry.path)
        return True


def _sweep(store: Store) -> None:
    """Remove scratch folders whose writer is dead, that is, whose key nobody has locked."""
    for path in _inside(store.base / "tmp"):
        kind, _, rest = path.name.partition("--")
        key, dashes, _ = rest.rpartition("--")
        if not dashes:  # no key: scratch of milliseconds, or on its way out already
            if kind == "removed" or _age(path) > _DAY:
                shutil.rmtree(path, ignore_errors=True)
        elif KIND.fullmatch(kind) and KEY.fullmatch(key):
            with store.lock(kind, key, wait=False) as descriptor:
                if descriptor >= 0:
                    shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Seconds."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _inside(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return
