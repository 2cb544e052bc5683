"""Processes that do not outlive the one that started them, however that one ends."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.interrupt import held_back

_PR_SET_PDEATHSIG = 1
_TO_END = 5.0  # seconds that a program has after SIGTERM
_libc = ctypes.CDLL(None)  # loaded here: nothing may be imported after fork
_File = int | IO[bytes] | None
Process = subprocess.Popen[bytes]


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """In a forked child: the kernel sends `number` when the *thread* that forked it ends.

    So who forks must be a thread that lives as long as the child is to.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)


@contextmanager
def session(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    keep: Sequence[int] = (),
    stdin: _File = subprocess.DEVNULL,
    stdout: _File = subprocess.PIPE,
    stderr: _File = subprocess.STDOUT,
    brief: bool = False,
) -> Iterator[Process]:
    """A program as a session of its own, waited for. Whatever ends the block early ends it and all
    that it has started; who is left of its process group when it has ended by itself is killed
    then. Wait for it at the end of the block: once it was waited for only those who are left keep
    others from getting the group's number, and after some 32768 forks it may be somebody else's.

    If we are killed it gets a SIGTERM, as make heeds, which ends what it has started; the
    descriptors to `keep` are open in them to their end. A `brief` one, as one that is only asked
    for its version, then ends by itself: it is started by vfork, which takes 2 ms less. Raises
    OSError if it cannot be started.
    """
    with_us = functools.partial(end_with, os.getpid(), signal.SIGTERM)
    with ExitStack() as ended:
        with held_back():  # or a program runs that nobody knows
            process = subprocess.Popen(
                argv, cwd=cwd, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr,
                pass_fds=keep, start_new_session=True,
                preexec_fn=None if brief else with_us,
            )  # fmt: skip
            ended.callback(_kill_group, process)
            ended.enter_context(process)
            ended.push(lambda kind, *_: end_session(process) if kind else None)
        yield process


def end_session(process: Process) -> None:
    """End a program of `session`, and all that it started, unless it has ended."""
    if process.returncode is not None:
        return
    try:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_TO_END)
    finally:
        _kill_group(process)  # who does not heed it, and who lost its parent by it


def _kill_group(process: Process) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left, or nobody of ours
        os.killpg(process.pid, signal.SIGKILL)
