"""A process that does not outlive the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded here: nothing may be imported after fork


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """In a forked child: the kernel sends `number` when the *thread* that forked it ends.

    So who forks must be a thread that lives as long as the child is to.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)
