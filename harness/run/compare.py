"""One program on several columns, each in a worker process, with what it printed kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
from msgspec import Struct

from harness.build import BuildError, InputError, brief
from harness.build.store import Store
from harness.catalog.project import Project
from harness.machine import QemuError
from harness.machine.session import BootError
from harness.program_record import KEPT, ColumnOutput
from harness.run.options import Options, say_stages
from harness.run.plan import Column
from harness.run.program import Program, printable, run_program
from harness.run.suite import Reading
from harness.run.workers import Workers

WORK = "harness.run.compare:run_one"  # for Workers


class Task(Struct, frozen=True, kw_only=True):
    """One column's share, for a worker."""

    project: Project
    column: Column
    program: Program
    form: str  # of Reading
    stdin: Path | None
    store: Path
    accel: str
    refresh: bool
    jobs: int  # compilers at a time


def run_all(tasks: Sequence[Task], workers: Workers) -> Iterator[ColumnOutput]:
    """What came of each, in the order in which they end. None is lost, whatever a worker does: one
    that dies takes the others along, and what was not seen by then is tried once more. The workers
    are gone when this ends, however it does, and then the folder in which they write.
    """
    with tempfile.TemporaryDirectory(prefix="faultline-compare-") as folder, workers:
        lost: list[Task] = []
        yield from _run_each(tasks, workers, Path(folder), lost)
        if lost:
            workers.renew()
            again, lost = lost, []
            yield from _run_each(again, workers, Path(folder), lost)
        for task in lost:
            yield ColumnOutput(column=task.column.id, failure="a worker process died, twice")


def _run_each(
    tasks: Sequence[Task], workers: Workers, folder: Path, lost: list[Task]
) -> Iterator[ColumnOutput]:
    """What came of each but those that a worker's death left unseen: they are added to `lost`."""
    running: dict[Future[None], tuple[Task, Path]] = {}
    for number, task in enumerate(tasks):
        out = folder / str(number)
        try:
            running[workers.submit(task, out)] = task, out
        except BrokenProcessPool:
            lost.append(task)
        except OSError as error:  # no room to put it down
            yield ColumnOutput(column=task.column.id, failure=f"it was not begun: {error}")
    for future in as_completed(running):
        task, out = running[future]
        try:
            future.result()
            seen = msgspec.json.decode(out.read_bytes(), type=ColumnOutput)
        except BrokenProcessPool:
            lost.append(task)
            continue
        except Exception as error:  # of one column: the others have theirs
            seen = ColumnOutput(column=task.column.id, failure=f"{type(error).__name__}: {error}")
        yield seen


def run_one(task: Task, out: Path) -> None:
    """In a worker: build, boot and run, and write a ColumnOutput to `out`, in whose folder lies
    whatever else it makes: that goes also where somebody kills the worker.
    """
    tempfile.tempdir = str(out.parent)
    out.write_bytes(msgspec.json.encode(_observed(task)))


def _observed(task: Task) -> ColumnOutput:
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    stdin = os.open(task.stdin, os.O_RDONLY | os.O_CLOEXEC) if task.stdin else None
    column = task.column.id
    options = Options(
        store=Store(task.store), accel=task.accel, refresh=task.refresh, jobs=task.jobs
    )
    try:
        sinks = {name: _keep(data) for name, data in kept.items()}
        ran = run_program(
            task.project, task.column, task.program, options, Reading(task.form), sinks, stdin,
            say_stages(f"faultline {column}"),
        )  # fmt: skip
    except (BuildError, QemuError, BootError, OSError) as error:
        refused = isinstance(error, InputError)
        return ColumnOutput(column=column, failure=printable(brief(error)), refused=refused)
    finally:
        if stdin is not None:
            os.close(stdin)
    stdout, stderr = (data.decode(errors="backslashreplace") for data in kept.values())
    return ColumnOutput(column=column, record=ran.record, stdout=stdout, stderr=stderr)


def _keep(data: bytearray) -> Callable[[bytes], None]:
    def take(more: bytes) -> None:
        data.extend(more[: KEPT - len(data)])

    return take
