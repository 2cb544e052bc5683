"""Processes that run jobs: a pool that is there, and warm, before the first job is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from harness.interrupt import ENDING, ending, interrupting
from harness.lifetime import end_with
from harness.run.spool import Parcel, Spool

JOBS = "harness.run.job:run_job"


class Workers:
    """As many as there are CPUs, or `jobs`, at most `cells`; for a `with` block, which none
    of them outlives. It may be entered once more inside: they are gone when the inner block ends.

    They load what a machine needs by themselves, each on a CPU of its own, while the run is
    prepared in this process. That is why `work`, a function of what is submitted and of a path, is
    named as MODULE:FUNCTION and not imported here, and why they are forked first.
    """

    def __init__(self, jobs: int = 0, cells: int = sys.maxsize, work: str = JOBS) -> None:
        self._work = work
        self.count = max(1, min(jobs or len(os.sched_getaffinity(0)), cells))
        self._spool = Spool()
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("fork")  # milliseconds, nothing to import
        pool = ProcessPoolExecutor(
            self.count, context, initializer=_worker, initargs=(os.getpid(), self._work)
        )
        # A signal that comes to a worker before it is itself would be lost: Python forgets what is
        # pending when it forks. Kept back, it comes when _worker lets it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pool.submit(os.getpid)  # the first forks them all
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            for child in multiprocessing.active_children():
                child.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._spool.close()

    def submit(self, job: Any, out: Path) -> Future[None]:
        """Have a job run, what comes of it in the file `out`. Raises BrokenProcessPool once one of
        these processes has died, as the future does.
        """
        return self._pool.submit(_run, self._work, self._spool.put(job), out)

    def renew(self) -> None:
        """Other processes for these, when those that are left have done what they had."""
        self._pool.shutdown()
        self._pool = self._started()


def _run(work: str, parcel: Parcel[Any], out: Path) -> None:
    """A job in a worker. On SIGTERM its machine is ended and reaped before the worker is; the pool
    sends another to what has not gone yet.

    The worker ends also where the job goes on as if nothing had been: it may not come back to the
    queue, whose lock one that was ended there has taken with it.
    """
    try:
        with interrupting(signal.SIGTERM, once=True):
            _function(work)(parcel.open(), out)
    finally:
        if ending():
            os._exit(128 + signal.SIGTERM)


def _worker(parent: int, work: str) -> None:
    """In a worker: leave what comes of a terminal, a Ctrl-C or its end, to the parent, do not
    outlive it, load what `work` needs.

    Between jobs SIGTERM ends it at once, and with the lock of the queue, should it hold that:
    another worker would go on reading in the middle of what this one has not read to its end. The
    kernel does that, and no handler of Python's: one that comes just before the worker sleeps, for
    the lock that nobody will ever give back, would not be run before it wakes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    end_with(parent)  # QEMU does so with us
    _function(work)


def _function(work: str) -> Callable[[Any, Path], None]:
    """What MODULE:FUNCTION names; pkgutil, which can tell as well, is milliseconds to import."""
    module, _, name = work.partition(":")
    found: Callable[[Any, Path], None] = getattr(import_module(module), name)
    return found
