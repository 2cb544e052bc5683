"""A whole run: prepare its columns, give their jobs to an executor, follow the results."""

from __future__ import annotations

import datetime
import functools
import multiprocessing
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

from harness import __version__
from harness.build import BuildError, InputError, Unavailable
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
from harness.lifetime import end_with
from harness.machine import QemuError
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
    decode_lines,
    exit_code,
    read_results,
)
from harness.run.job import BOOT, run_job, surprising
from harness.run.plan import Column, Job, repeat_command, spread
from harness.run.prepare import Options, Ready, prepare
from harness.run.spool import Parcel, Spool

POLL = 0.1  # seconds between looks at the results file while jobs run


class Progress(Protocol):
    """What a run tells people while it goes on."""

    def say(self, line: str) -> None: ...

    def stage(self, column: str, what: str) -> None: ...

    def expect(self, cells: int) -> None: ...

    def result(self, record: ResultRecord) -> None: ...


class Interrupted(Exception):
    """SIGINT or SIGTERM came."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def new_run_id() -> str:
    """Sorts by time, and does not collide between machines."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def execute(
    project: Project,
    columns: Sequence[Column],
    scenarios: Sequence[Scenario],
    options: Options,
    out: Path,
    progress: Progress,
    run_id: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Run `scenarios` in `columns`, appending records to the results file `out`.

    `meanwhile` is done when all machines are on their way. Returns the exit code (design: 0, 1,
    2, 3, 130, 143). What was observed is in `out` whatever happens; the end record says how it
    ended. Raises InputError for what is wrong in a declaration and could not be seen before.
    """
    timings: dict[str, float] = {}
    with ResultsWriter(out) as writer, _signals(), ExitStack() as held:
        writer.write(run_record(run_id))
        code, reason = 3, "failed"
        follow = Follower(out, run_id, progress)
        try:
            with (
                Dispatcher(out, options.jobs, follow, progress) as dispatcher,
                _timed(timings, "run"),
            ):
                with _timed(timings, "prepare"):
                    _prepare_all(
                        run_id,
                        project,
                        columns,
                        scenarios,
                        options,
                        writer,
                        follow,
                        dispatcher,
                        held,
                    )
                meanwhile()
                dispatcher.finish()
            code, reason = exit_code(read_results([out]), ending=run_id), ""
        except Interrupted as stop:
            code, reason = stop.exit_code, str(stop)
        except InputError as error:
            code, reason = 2, str(error)
            raise
        finally:
            rounded = {name: round(seconds, 3) for name, seconds in timings.items()}
            writer.write(
                EndRecord(
                    run_id=run_id, finished=now(), exit_code=code, reason=reason, timings=rounded
                )
            )
    return code


def run_record(run_id: str) -> RunRecord:
    host = {
        "machine": platform.machine(),
        "system": platform.release(),
        "cpus": str(os.cpu_count()),
    }
    return RunRecord(run_id=run_id, started=now(), harness=__version__, command=sys.argv, host=host)


# -- before the boots ----------------------------------------------------------------------


def _prepare_all(
    run_id: str,
    project: Project,
    columns: Sequence[Column],
    scenarios: Sequence[Scenario],
    options: Options,
    writer: ResultsWriter,
    follow: Follower,
    dispatcher: Dispatcher,
    held: ExitStack,
) -> None:
    """Prepare every column, and have it booted while the next is prepared.

    One that does not build is recorded, and does not stop the rest; a wrong declaration does:
    it raises InputError.
    """
    progress = follow.progress

    def say(column: str, what: str) -> None:
        progress.stage(column, what)
        follow.look()

    free = max(1, dispatcher.workers // len(columns))  # CPUs for each column
    # Machines with more CPUs take longer under emulation: first, so that they end with the rest.
    for column in sorted(columns, key=lambda column: -column.arch.smp):
        try:
            ready = prepare(
                run_id, column, scenarios, project, options, functools.partial(say, column.id)
            )
        except InputError:
            raise
        except (BuildError, QemuError) as error:
            progress.say(f"{column.id}: {error}")
            progress.expect(len(scenarios))
            _record_unbuilt(run_id, column, scenarios, error, writer)
            continue
        for kind, key in ready.entries:  # no prune takes them away under a boot
            held.enter_context(options.store.using(kind, key))
        writer.write(ready.record)
        _announce(ready, progress)
        dispatcher.submit(spread(ready.jobs, free))


def _announce(ready: Ready, progress: Progress) -> None:
    record, facts = ready.record, ready.record.provenance
    if record.target == "qemu":
        how = f"QEMU {facts['qemu']}, {facts['accel']} ({facts['accel_reason']})"
    else:
        how = f"not booted: {facts['source']}"
    progress.say(f"{record.column}: Linux {record.version}, {how}")
    if skipped := facts.get("patches_skipped"):
        progress.say(f"{record.column}: skipped, its change is in the tree already: {skipped}")
    for piece, rows in ready.stale.items():
        more = f" and {len(rows) - 1} more" if rows[1:] else ""
        progress.say(
            f"{rows[0]}{more}: stale evidence {piece.id!r}: {piece.file} of {record.version} does "
            f"not have {piece.text!r} exactly once in {piece.function or 'the file'}\n"
            f"  read the source anew, then mend expectations/decisions.yaml"
        )
    progress.expect(len(ready.cells))


def _record_unbuilt(
    run_id: str,
    column: Column,
    scenarios: Sequence[Scenario],
    error: Exception,
    writer: ResultsWriter,
) -> None:
    """Every cell of a column that cannot be booted: n/a where that is declared, else infra."""
    names = [scenario.name for scenario in scenarios]
    declared = isinstance(error, Unavailable)
    arch, kernel, flavour = column.arch.name, column.kernel.name, column.flavour
    writer.write(
        ColumnRecord(
            run_id=run_id,
            column=column.id,
            arch=arch,
            kernel=kernel,
            flavour=flavour,
            planned=names,
        )
    )
    for name in names:
        if declared:
            seen = Observation(scenario=name, outcome="n/a", cause=str(error), alive=False)
        else:
            seen = Observation(scenario=name, failure=f"build: {error}"[:2000], alive=False)
        repeat = repeat_command(kernel, arch, flavour, name)
        writer.write(
            ResultRecord(
                run_id=run_id,
                column=column.id,
                scenario=name,
                verdict=Verdict.NOT_APPLICABLE if declared else Verdict.INFRA,
                observation=seen,
                repeat=repeat,
            )
        )


# -- the boots -----------------------------------------------------------------------------


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


class Follower:
    """Reads a results file as it grows: what an executor's workers did, wherever they are."""

    def __init__(self, path: Path, run_id: str, progress: Progress) -> None:
        self._path, self._run_id, self.progress = path, run_id, progress
        self._offset = path.stat().st_size if path.exists() else 0
        self._done: set[tuple[str, str]] = set()
        self._boots_fail: dict[str, bool] = {}

    def look(self) -> None:
        """Report the results that came since the last look."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for record in decode_lines(whole.splitlines()):
            if isinstance(record, ResultRecord) and record.run_id == self._run_id:
                self._note(record)
                self.progress.result(record)

    def _note(self, record: ResultRecord) -> None:
        failed = record.observation.failure.startswith(BOOT)
        self._boots_fail[record.column] = self._boots_fail.get(record.column, True) and failed
        if record.confirmation or not surprising(record):  # else a second look is due
            self._done.add((record.column, record.scenario))

    def boots_fail(self, column: str) -> bool:
        """Whether all that is known of a column is that its machines do not come up."""
        return self._boots_fail.get(column, False)

    def undone(self, job: Job) -> Job:
        """The job with the cells that have no result yet."""
        left = [cell for cell in job.cells if (job.column, cell.scenario) not in self._done]
        return replace(job, cells=tuple(left))


def _work(parcel: Parcel[Job], out: Path) -> None:
    """A job in a worker. On SIGTERM its machine is ended and reaped before the worker is."""
    try:
        run_job(parcel.open(), out)
    except SystemExit as stop:  # which the pool would take for the job's own failure
        os._exit(int(str(stop.code)))


def _end_worker(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # the pool sends another to what has not gone yet
    sys.exit(128 + number)


def _worker(parent: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    end_with(parent)  # QEMU does so with us


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted inside the block."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        timings[name] = time.monotonic() - started
