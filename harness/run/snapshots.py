"""Snapshots of machines in the store: see machine/snapshot.py."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.build import StoreError
from harness.build.store import Store
from harness.machine.snapshot import STATE
from harness.text import clean_lines

KIND = "snapshot"


def _say(line: str) -> None:
    """On a worker's stderr, which is that of the run."""
    print(clean_lines(line), file=sys.stderr, flush=True)


@functools.cache
def _say_once(line: str) -> None:
    """A job after the other meets the same trouble."""
    _say(line)


class StoreSnapshots:
    """The `Snapshots` of machine/snapshot.py, as store entries.

    An entry is read whole and compared with its checksums before a machine starts from it: a
    flipped bit in a guest's memory would look like a kernel bug. A store that cannot be read or
    written keeps no snapshots; that is said once, and every boot is made.
    """

    def __init__(self, root: Path) -> None:
        self._store = Store(root, say=_say)
        self._usable = True

    def find(self, key: str) -> BinaryIO | None:
        if self.refused(key):
            return None
        with self._or_none():
            entry = self._store.entry(KIND, key, "full")
            return open(entry / STATE, "rb") if entry else None
        return None

    def keep(self, key: str, fill: Callable[[Path], None], label: str) -> None:
        with self._or_none():
            self._store.create(KIND, key, fill, label)

    def refuse(self, key: str, why: str) -> None:
        with self._or_none():
            self._store.remember(self._name(key), {"refused": why})

    def refused(self, key: str) -> bool:
        with self._or_none():
            return not self._usable or self._store.recall(self._name(key)) is not None
        return True

    @contextmanager
    def _or_none(self) -> Iterator[None]:
        try:
            yield
        except (StoreError, OSError) as error:
            if self._usable:
                _say_once(f"no snapshots are kept, machines are booted: {error}")
            self._usable = False

    @staticmethod
    def _name(key: str) -> str:
        return f"{KIND} {key}"
