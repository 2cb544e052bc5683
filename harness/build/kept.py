"""What follows from files alone, kept between runs: the matrix read, evidence looked up.

A value is found by a hash of all that decides it: its inputs, the code that computes it and the
libraries it is made with. So it is never stale; it is only there or not, and where the store
cannot be written it is computed each time.

Values are pickles, which run code when they are read. The store holds programs that are run here
as well (object folders, the guest natively), so that asks for no new trust; all the same, what
another user has written is not read.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from harness.build import StoreError
from harness.build.store import Store
from harness.build.tools import digest, file_digest

KIND = "kept"
VALUE = "value"
CODE = ("catalog/*.py", "build/evidence.py", "results.py")  # what computes kept values
LIBRARIES = ("yaml", "packaging", "msgspec")  # what reads declarations, or lies in the pickles

T = TypeVar("T")


class Kept:
    """Values of this store. `get` raises what `make` does, and nothing of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, what: str, inputs: Callable[[], object], make: Callable[[], T]) -> T:
        """The value that `make` computes, only where it is not there yet; `what` it is.

        `inputs` gives a JSON value that names all that `make` reads, files by their digest. Where
        they change while it reads nothing is kept: nobody knows what the value was made from.
        """
        before = inputs()
        key = digest(KIND, _code(), what, before)
        with suppress(StoreError, OSError):
            entry = self._store.entry(KIND, key)
            if entry is not None and (entry / VALUE).stat().st_uid == os.geteuid():
                value: T = pickle.loads((entry / VALUE).read_bytes())
                return value
        made = make()
        if inputs() == before:
            with suppress(StoreError):
                self._store.create(KIND, key, lambda to: _write(to, made), what)
        return made


def _write(to: Path, value: object) -> None:
    (to / VALUE).write_bytes(pickle.dumps(value, 5))


@cache
def _code() -> list[object]:
    """The code behind the values, by content; of the libraries the files that Python would load,
    as its own cache knows them.
    """
    package = Path(__file__).parents[1]
    files = sorted(path for glob in CODE for path in package.glob(glob))
    own = [[path.relative_to(package).as_posix(), file_digest(path)] for path in files]
    found = [spec.origin for name in LIBRARIES if (spec := find_spec(name)) and spec.origin]
    stats = [(origin, Path(origin).stat()) for origin in found]
    return [sys.version, own, [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]]
