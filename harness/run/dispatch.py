"""Jobs given to workers as they come, and again where a worker died."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from msgspec.structs import replace

from harness.build import BuildError
from harness.results import Observation, ResultsWriter
from harness.run.follow import Follower, Progress
from harness.run.plan import Job
from harness.run.workers import Workers

POLL = 0.1  # seconds between looks at the results file while jobs run


class Dispatcher:
    """Gives jobs to workers, the wedging ones of a column after its others.

    A job that fails is the infrastructure of its own cells. When a worker dies, what was left
    undone is tried once more in fresh ones; what is left after that stays without a result, and so
    counts as missing.
    """

    def __init__(self, out: Path, workers: Workers, follow: Follower, progress: Progress) -> None:
        self._out, self._follow, self._progress = out, follow, progress
        self.workers = workers
        self._all: list[Job] = []
        self._wedging: dict[str, list[Job]] = {}  # by column: wait for its ordinary jobs
        self._running: dict[Future[None], Job] = {}
        self._broken = False  # a worker died, and the others with it

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
        try:
            self._running[self.workers.submit(job, self._out)] = job
        except OSError as error:  # no room to put it down
            self._failed(job, error)

    def _drain(self) -> None:
        while self._running or self._wedging:
            self._release()
            done, _ = wait(self._running, POLL, FIRST_COMPLETED)
            self._follow.look()
            for future in done:
                job = self._running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    raise
                except Exception as error:
                    self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        """What ends a job does not end the run: the cells that it left are on record, and why."""
        from harness.run.judge import second_look_is_due
        from harness.run.records import make_record, unconfirmed

        why = f"the job failed: {type(error).__name__}: {error}"
        known = isinstance(error, BuildError | OSError)  # by words that tell a user enough
        self._progress.say("\n".join([f"{job.column}: {why}", *([] if known else _trace(error))]))
        self._follow.look()
        with ResultsWriter(self._out) as writer:
            for cell in self._follow.undone(job).cells:
                if cell.seen and cell.seen.observation.outcome and second_look_is_due(cell.seen):
                    writer.write(unconfirmed(cell.seen, why))
                    continue
                seen = Observation(scenario=cell.scenario, failure=why[:2000], alive=False)
                attempt = cell.seen.attempt + 1 if cell.seen else 1
                writer.write(make_record(job, cell, seen, attempt))

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
        self.workers.renew()
        self._running, self._wedging, self._broken = {}, {}, False
        self._follow.look()


def _trace(error: Exception) -> list[str]:
    """Where in its worker that was."""
    return [f"  {line}" for line in str(error.__cause__ or "").splitlines()]


def _wedges(job: Job) -> bool:
    return any(cell.wedges for cell in job.cells)
