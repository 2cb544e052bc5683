"""Jobs given to processes of their own, as many at a time as there are CPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Self

from harness.lifetime import end_with
from harness.run.follow import Follower, Progress
from harness.run.job import run_job
from harness.run.plan import Job
from harness.run.spool import Parcel, Spool

POLL = 0.1  # seconds between looks at the results file while jobs run


class Dispatcher:
    """Gives jobs to an executor as they come, the wedging ones of a column after its others.

    When a worker dies, what was left undone is tried once more in a fresh pool; what is left
    after that stays without a result, and so counts as missing.
    """

    def __init__(self, out: Path, jobs: int, follow: Follower, progress: Progress) -> None:
        self._out, self._follow, self._progress = out, follow, progress
        self.workers = jobs or len(os.sched_getaffinity(0))
        self._pool: Executor | None = None
        self._spool = Spool()
        self._all: list[Job] = []
        self._wedging: dict[str, list[Job]] = {}  # by column: wait for its ordinary jobs
        self._running: dict[Future[None], Job] = {}
        self._broken = False  # a worker died, and its pool with it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Whatever ends the block, no worker goes on after it."""
        with self._spool:
            if self._pool is None:
                return
            if error is not None:
                for child in multiprocessing.active_children():
                    child.terminate()
            self._pool.shutdown(cancel_futures=True)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start what can share a machine now; keep what wedges one for later."""
        self._all.extend(jobs)
        ordinary = [job for job in jobs if not _wedges(job)]
        for job in jobs:
            if _wedges(job):
                self._wedging.setdefault(job.column, []).append(job)
        self._attempt(ordinary)

    def finish(self) -> None:
        """Run all that is left and wait for it."""
        self._attempt([], to_the_end=True)
        if self._broken:
            self._progress.say("a worker process died; what it left undone is tried once more")
            self._renew()
            left = [job for job in map(self._follow.undone, self._all) if job.cells]
            self._attempt(left, to_the_end=True)
        if self._broken:
            self._progress.say("a worker process died again; what is left counts as missing")
        self._follow.look()

    def _attempt(self, jobs: Sequence[Job], to_the_end: bool = False) -> None:
        if self._broken:
            return
        try:
            for job in jobs:
                self._start(job)
            if to_the_end:
                self._drain()
        except BrokenProcessPool:
            self._broken = True

    def _start(self, job: Job) -> None:
        if self._pool is None:
            context = multiprocessing.get_context("fork")  # milliseconds, nothing to import
            self._pool = ProcessPoolExecutor(
                self.workers, context, initializer=_worker, initargs=(os.getpid(),)
            )
        self._running[self._pool.submit(_work, self._spool.put(job), self._out)] = job

    def _drain(self) -> None:
        while self._running or self._wedging:
            self._release()
            done, _ = wait(self._running, POLL, FIRST_COMPLETED)
            self._follow.look()
            for future in done:
                del self._running[future]
                future.result()

    def _release(self) -> None:
        """Start the wedging jobs of columns whose ordinary ones are done.

        They come last so that they hold up nothing; and where no machine of the column has come
        up, the first of them shows whether that has changed, for all.
        """
        busy = {job.column for job in self._running.values()}
        for column in [name for name in self._wedging if name not in busy]:
            jobs = self._wedging.pop(column)
            if self._follow.boots_fail(column):
                jobs = [replace(jobs[0], cells=tuple(c for job in jobs for c in job.cells))]
            for job in jobs:
                self._start(job)

    def _renew(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._running, self._broken = None, {}, False
        self._wedging = {}
        self._follow.look()


def _wedges(job: Job) -> bool:
    return any(cell.wedges for cell in job.cells)


def _work(parcel: Parcel[Job], out: Path) -> None:
    """A job in a worker. On SIGTERM its machine is ended and reaped before the worker is."""
    try:
        signal.signal(signal.SIGTERM, _end_job)
        try:
            run_job(parcel.open(), out)
        finally:
            signal.signal(signal.SIGTERM, _leave)
    except SystemExit as stop:  # which the pool would take for the job's own failure
        os._exit(int(str(stop.code)))


def _end_job(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # the pool sends another to what has not gone yet
    sys.exit(128 + number)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Between jobs: at once, and with the lock of the pool's queue, should it hold that. Another
    worker would go on reading in the middle of what this one has not read to its end.
    """
    os._exit(128 + number)


def _worker(parent: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    end_with(parent)  # QEMU does so with us
