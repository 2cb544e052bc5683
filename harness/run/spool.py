"""Jobs for processes that were forked, without a pipe that somebody has to read."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """Where something lies in a Spool: as short as it is, it fits into any pipe."""

    fd: int
    offset: int
    length: int

    def open(self) -> T:
        """What was put there; in the process that has the Spool, or one it has forked since."""
        found: T = pickle.loads(os.pread(self.fd, self.length, self.offset))
        return found


class Spool:
    """A file in memory for what is handed to forked workers.

    The queue of a ProcessPoolExecutor is a pipe of 64 KiB. Once no worker is left to read it, the
    thread that writes a longer job there blocks for ever, and shutdown() waits for that thread
    (CPython issue 94777, mended in later releases than Debian 12 has).
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.memfd_create("faultline-jobs"), "r+b", 0)
        self._end = 0

    def close(self) -> None:
        """Let go of it; once more does nothing."""
        self._file.close()

    def put(self, what: T) -> Parcel[T]:
        data = pickle.dumps(what)
        fd = self._file.fileno()
        parcel: Parcel[T] = Parcel(fd, self._end, len(data))
        while data:
            written = os.pwrite(fd, data, self._end)
            self._end, data = self._end + written, data[written:]
        return parcel
