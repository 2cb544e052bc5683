"""A whole run: prepare its columns, give their jobs to an executor, follow the results."""

from __future__ import annotations

import ctypes
import datetime
import functools
import multiprocessing
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from harness import __version__
from harness.build import BuildError
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
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
from harness.run.job import run_job
from harness.run.plan import Column, Job, repeat_command
from harness.run.prepare import Options, Ready, prepare

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
) -> int:
    """Run `scenarios` in `columns`, appending records to the results file `out`.

    Returns the exit code (design: 0, 1, 2, 3, 130, 143). What was observed is in `out`
    whatever happens; the end record says how it ended.
    """
    timings: dict[str, float] = {}
    with ResultsWriter(out) as writer, _signals():
        writer.write(run_record(run_id))
        code, reason = 3, "failed"
        try:
            with _timed(timings, "prepare"):
                ready = _prepare_all(run_id, project, columns, scenarios, options, writer, progress)
            with _timed(timings, "run"):
                queue = [job for column in ready for job in column.jobs]
                _run_jobs(queue, run_id, options, out, progress)
            code, reason = exit_code(read_results([out]), ending=run_id), ""
        except Interrupted as stop:
            code, reason = stop.exit_code, str(stop)
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
    progress: Progress,
) -> list[Ready]:
    """Prepare every column. One that does not build is recorded, and does not stop the rest."""
    ready = []
    for column in columns:
        progress.stage(column.id, "preparing")
        try:
            one = prepare(
                run_id,
                column,
                scenarios,
                project,
                options,
                functools.partial(progress.stage, column.id),
            )
        except (BuildError, QemuError) as error:
            progress.say(f"{column.id}: {error}")
            _record_unbuilt(run_id, column, scenarios, error, writer)
            continue
        writer.write(one.record)
        _announce(one, progress)
        ready.append(one)
    return ready


def _announce(ready: Ready, progress: Progress) -> None:
    record, facts = ready.record, ready.record.provenance
    progress.say(
        f"{record.column}: Linux {record.version}, QEMU {facts['qemu']}, "
        f"{facts['accel']} ({facts['accel_reason']})"
    )
    for declared, piece in ready.stale:
        progress.say(
            f"{declared}: stale evidence {piece.id!r}: {piece.file} of {record.version} does not "
            f"have {piece.text!r} exactly once in {piece.function or 'the file'}\n"
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
    names = [scenario.name for scenario in scenarios]
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
        seen = Observation(scenario=name, failure=f"build: {error}"[:2000], alive=False)
        repeat = repeat_command(kernel, arch, flavour, name)
        writer.write(
            ResultRecord(
                run_id=run_id,
                column=column.id,
                scenario=name,
                verdict=Verdict.INFRA,
                observation=seen,
                repeat=repeat,
            )
        )


# -- the boots -----------------------------------------------------------------------------


def _run_jobs(
    queue: Sequence[Job], run_id: str, options: Options, out: Path, progress: Progress
) -> None:
    """Run all jobs; those that wedge a machine last, so that they hold up nothing.

    When a worker dies, what it left undone is tried once more in a fresh pool; what is left
    after that stays without a result, and so counts as missing.
    """
    follow = Follower(out, run_id, progress)
    order = sorted(queue, key=lambda job: any(cell.wedges for cell in job.cells))
    for _ in range(2):
        order = [job for job in map(follow.undone, order) if job.cells]
        if not order:
            break
        workers = min(options.jobs or len(os.sched_getaffinity(0)), len(order))
        context = multiprocessing.get_context("fork")  # starts in milliseconds, nothing to import
        with ProcessPoolExecutor(workers, context, initializer=_worker) as pool, _reaped():
            try:
                _drain(pool, order, out, follow)
                break
            except BrokenProcessPool:
                progress.say("a worker process died; what it left undone is tried once more")
    follow.look()


def _drain(executor: Executor, order: Sequence[Job], out: Path, follow: Follower) -> None:
    pending: set[Future[None]] = {executor.submit(run_job, job, out) for job in order}
    while pending:
        done, pending = wait(pending, timeout=POLL, return_when=FIRST_EXCEPTION)
        follow.look()
        for future in done:
            future.result()


class Follower:
    """Reads a results file as it grows: what an executor's workers did, wherever they are."""

    def __init__(self, path: Path, run_id: str, progress: Progress) -> None:
        self._path, self._run_id, self._progress = path, run_id, progress
        self._offset = path.stat().st_size if path.exists() else 0
        self._seen: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Report the results that came since the last look."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for record in decode_lines(whole.splitlines()):
            if isinstance(record, ResultRecord) and record.run_id == self._run_id:
                self._seen.add((record.column, record.scenario))
                self._progress.result(record)

    def undone(self, job: Job) -> Job:
        """The job with the cells that have no result yet."""
        left = [cell for cell in job.cells if (job.column, cell.scenario) not in self._seen]
        return replace(job, cells=tuple(left))


def _worker() -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; QEMU has it of its own


@contextmanager
def _reaped() -> Iterator[None]:
    """Whatever ends the block, no worker goes on after it."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise


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
