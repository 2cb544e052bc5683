"""Snapshots of machines in the store: see machine/snapshot.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from harness.build.store import Store
from harness.machine.snapshot import STATE
from harness.text import clean_lines

KIND = "snapshot"


def _say(line: str) -> None:
    """On a worker's stderr, which is that of the run."""
    print(clean_lines(line), file=sys.stderr, flush=True)


class StoreSnapshots:
    """The `Snapshots` of machine/snapshot.py, as store entries.

    An entry is read whole and compared with its checksums before a machine starts from it: a
    flipped bit in a guest's memory would look like a kernel bug.
    """

    def __init__(self, root: Path) -> None:
        self._store = Store(root, say=_say)

    def find(self, key: str) -> Path | None:
        if self.refused(key):
            return None
        entry = self._store.entry(KIND, key, "full")
        return entry / STATE if entry else None

    def keep(self, key: str, fill: Callable[[Path], None], label: str) -> None:
        self._store.create(KIND, key, fill, label)

    def refuse(self, key: str, why: str) -> None:
        self._store.remember(self._name(key), {"refused": why})

    def refused(self, key: str) -> bool:
        return self._store.recall(self._name(key)) is not None

    @staticmethod
    def _name(key: str) -> str:
        return f"{KIND} {key}"
