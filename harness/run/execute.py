"""A whole run: prepare its columns, give their jobs to an executor, follow the results."""

from __future__ import annotations

import datetime
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from harness import __version__
from harness.build import BuildError, InputError, Unavailable, brief
from harness.catalog.matrix import Scenario
from harness.catalog.project import Project
from harness.interrupt import ENDING, Interrupted, interrupting
from harness.machine import QemuError
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    ResultsWriter,
    RunRecord,
    Verdict,
    exit_code,
    read_results,
)
from harness.run.dispatch import Dispatcher
from harness.run.follow import Follower, Progress
from harness.run.options import Options
from harness.run.plan import Column, repeat_command, spread
from harness.run.prepare import prepare
from harness.run.ready import Ready
from harness.run.workers import Workers


def new_run_id() -> str:
    """Sorts by time, and does not collide between machines."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Run(Struct, frozen=True, kw_only=True):
    """What is run, how, and where its results go."""

    project: Project
    columns: Sequence[Column]
    scenarios: Sequence[Scenario]
    options: Options
    out: Path  # results file, which gets records of this run besides those that it has
    id: str


def execute(
    run: Run, progress: Progress, workers: Workers, meanwhile: Callable[[], None] = lambda: None
) -> int:
    """Have a run done by `workers`, its results appended as they come.

    `meanwhile` is done when all machines are on their way. Returns the exit code (design: 0, 1,
    2, 3, 129, 130, 143). What was observed is in the file whatever happens; the end record says how
    it ended. Raises InputError for what is wrong in a declaration and could not be seen before.
    """
    timings: dict[str, float] = {}
    with (
        ResultsWriter(run.out) as writer,
        interrupting(*ENDING, once=True),
        ExitStack() as held,
    ):
        writer.write(run_record(run.id))
        code, reason = 3, "failed"
        follow = Follower(run.out, run.id, progress)
        try:
            with workers, _timed(timings, "run"):  # they end before it is said how the run did
                dispatcher = Dispatcher(run.out, workers, follow, progress)
                with _timed(timings, "prepare"):
                    _prepare_all(run, writer, follow, dispatcher, held)
                meanwhile()
                dispatcher.finish()
            code, reason = exit_code(read_results([run.out]), ending=run.id), ""
        except Interrupted as stop:
            code, reason = stop.exit_code, str(stop)
        except InputError as error:
            code, reason = 2, str(error)
            raise
        finally:
            rounded = {name: round(seconds, 3) for name, seconds in timings.items()}
            writer.write(
                EndRecord(
                    run_id=run.id, finished=now(), exit_code=code, reason=reason, timings=rounded
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


def _prepare_all(
    run: Run, writer: ResultsWriter, follow: Follower, dispatcher: Dispatcher, held: ExitStack
) -> None:
    """Prepare every column, and have it booted while the next is prepared.

    One that does not build is recorded, and does not stop the rest; a wrong declaration does:
    it raises InputError. What is not reached is on record as planned.
    """
    free = max(1, dispatcher.workers.count // len(run.columns))  # CPUs for each column
    left = [*run.columns]
    try:
        while left:
            if ready := _prepare_one(run, left[0], writer, follow, held):
                dispatcher.submit(spread(ready.jobs, free))
            del left[0]
    except BaseException:
        for column in left:
            writer.write(_unprepared(run, column))
        raise


def _prepare_one(
    run: Run, column: Column, writer: ResultsWriter, follow: Follower, held: ExitStack
) -> Ready | None:
    """A column on record, ready to be booted. None: it cannot be, which is on record as well."""
    progress = follow.progress

    def say(what: str) -> None:
        progress.stage(column.id, what)
        follow.look()

    try:
        ready = prepare(run.id, column, run.scenarios, run.project, run.options, say)
        for kind, key in ready.entries:  # no prune takes them away under a boot
            held.enter_context(run.options.store.using(kind, key))
    except InputError:
        raise
    except (BuildError, QemuError, OSError) as error:
        progress.say(f"{column.id}: {brief(error)}")
        progress.expect(len(run.scenarios))
        _record_unbuilt(run, column, error, writer)
        return None
    writer.write(ready.record)
    _announce(ready, progress)
    return ready


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
            f"{rows[0]}{more}: stale evidence {piece.id!r}: {piece.file} of {record.version}, "
            f"{piece.function or 'the file'}, is to have {piece.text!r} once: {piece.why}\n"
            f"  read the source anew, then mend {piece.declared}"
        )
    progress.expect(len(ready.cells))


def _unprepared(run: Run, column: Column) -> ColumnRecord:
    """What is known of a column that was not made ready: nothing but the plan."""
    return ColumnRecord(
        run_id=run.id,
        column=column.id,
        arch=column.arch.name,
        kernel=column.kernel.name,
        flavour=column.flavour,
        planned=[scenario.name for scenario in run.scenarios],
    )


def _record_unbuilt(run: Run, column: Column, error: Exception, writer: ResultsWriter) -> None:
    """Every cell of a column that cannot be booted: n/a where that is declared, else infra."""
    record = _unprepared(run, column)
    declared = isinstance(error, Unavailable)
    writer.write(record)
    for name in record.planned:
        if declared:
            seen = Observation(scenario=name, outcome="n/a", cause=str(error), alive=False)
        else:
            seen = Observation(scenario=name, failure=f"build: {error}"[:2000], alive=False)
        repeat = repeat_command(column.kernel.name, column.arch.name, column.flavour, name)
        writer.write(
            ResultRecord(
                run_id=run.id,
                column=column.id,
                scenario=name,
                verdict=Verdict.NOT_APPLICABLE if declared else Verdict.INFRA,
                observation=seen,
                repeat=repeat,
            )
        )


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        timings[name] = time.monotonic() - started
