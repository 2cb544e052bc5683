"""Standard output whose reader went away, as in `faultline list | head`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def drop(stream: TextIO) -> None:
    """Nobody reads it: what is still buffered goes nowhere, without an error at exit."""
    _drop(stream.fileno())


def _drop(fd: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def drop_stdout() -> None:
    drop(sys.stdout)


def drop_unread() -> None:
    """Where nobody reads any more, as of a terminal that was closed, writing fails no more."""
    written = select.poll()
    for fd in (1, 2):
        written.register(fd, 0)  # trouble is told unasked
    for fd, trouble in written.poll(0):
        if trouble & (select.POLLHUP | select.POLLERR):
            _drop(fd)


@contextmanager
def whoever_reads() -> Iterator[None]:
    """What is printed in a block: a reader who has gone ends the printing, and is no reason for
    another exit code.
    """
    try:
        yield
    except BrokenPipeError:
        drop_stdout()


def settle_stdout() -> None:
    """After a failed write: when Python ends it would write what is buffered once more, fail at
    that as well, and end with a status of its own.
    """
    try:
        sys.stdout.flush()
    except OSError:
        drop_stdout()
