"""Processes that a test looks at from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def lives(pid: int) -> bool:
    """A zombie does not: its parent may be dead as well, and need not care."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether it becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not (so := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return so


def gone(pid: int) -> bool:
    """Whether it has ended, within seconds."""
    return within(10, lambda: not lives(pid))
