"""One job: boot, observe every cell, confirm what is surprising, write results as they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from harness.machine import QemuError
from harness.machine.qemu import MachineSpec
from harness.machine.session import BootError, Session, beside_kernel
from harness.results import (
    ColumnRecord,
    Observation,
    Record,
    ResultRecord,
    ResultsWriter,
    Verdict,
)
from harness.run.judge import judge, pick
from harness.run.plan import Cell, Job, repeat_command, with_memory

CONFIRM_SCALE = 4.0  # a second look has four times the time limit
BOOT_TRIES = 2  # a machine that does not come up is tried once more

StartSession = Callable[[MachineSpec], Session]


class CellRunner:
    """Runs cells on a machine of one column, booting anew whenever one has been lost."""

    def __init__(
        self, job: Job, write: Callable[[Record], None], start: StartSession = Session
    ) -> None:
        self._job = job
        self._write = write
        self._start = start
        self._session: Session | None = None
        self._memory = 0
        self._before: list[str] = []  # scenarios that this boot has run
        self._last: tuple[Cell, ResultRecord] | None = None  # of this boot

    def run(self, cell: Cell) -> ResultRecord:
        """Observe one cell and write its result; the last of its records is returned."""
        self._amend_last()
        before = list(self._before) if self._session else []
        seen = self._observe(cell)
        verdict = judge(cell.expectations, seen)
        record = self._record(cell, seen, verdict, 1)
        self._write(record)
        if _surprising(seen, verdict):
            for again in self._confirm(cell, record, before):
                self._write(again)
                record = again
        self._last = (cell, record) if self._session else None
        return record

    def close(self) -> None:
        """End the machine. Raises only what writing a result does."""
        try:
            self._amend_last()
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._before, self._last = None, [], None

    def _amend_last(self) -> None:
        """What the kernel says after a scenario has ended is about that scenario, too."""
        word = self._session.late() if self._session else ""
        if not word:
            return
        if self._last is not None:
            cell, record = self._last
            seen = replace(
                record.observation, outcome=beside_kernel(record.observation.outcome, word)
            )
            late = self._record(cell, seen, judge(cell.expectations, seen), record.attempt + 1)
            self._write(replace(late, confirmation="late"))
        if word in ("oops", "panic"):
            self._drop()

    def _confirm(self, cell: Cell, first: ResultRecord, before: list[str]) -> list[ResultRecord]:
        """Run a surprising cell again: alone, and if it does not come back, after the others."""
        self._drop()
        seen = self._observe(cell, CONFIRM_SCALE)
        again = self._record(cell, seen, judge(cell.expectations, seen), 2)
        if _same(first.observation, seen):
            return [replace(again, confirmation="confirmed")]
        if not before:
            return [replace(again, confirmation="flake")]
        self._drop()
        for name in before:
            self._observe(Cell(scenario=name, expectations=()))
        seen = self._observe(cell, CONFIRM_SCALE)
        third = self._record(cell, seen, judge(cell.expectations, seen), 3)
        if _same(first.observation, seen):
            return [again, replace(third, confirmation=f"order-dependent({before[-1]})")]
        return [replace(again, confirmation="flake")]

    def _observe(self, cell: Cell, scale: float = 1.0) -> Observation:
        try:
            session = self._machine(cell.memory)
        except (BootError, QemuError) as error:
            console = getattr(error, "console", [])
            return Observation(
                scenario=cell.scenario,
                failure=f"boot: {error}",
                console=console,
                alive=False,
            )
        self._before.append(cell.scenario)
        seen = session.observe(cell.scenario, scale)
        if not seen.alive:
            self._amend_last()
            self._drop()
        return seen

    def _machine(self, memory: int) -> Session:
        """The machine at hand, or a fresh boot. Raises BootError, QemuError."""
        spec = with_memory(self._job.spec, memory)
        if self._session is not None and self._memory == spec.memory:
            return self._session
        self._drop()
        for left in reversed(range(BOOT_TRIES)):
            session = self._start(spec)
            try:
                session.boot()
            except BootError:
                session.close()
                if not left:
                    raise
            except BaseException:
                session.close()
                raise
            else:
                break
        self._session, self._memory = session, spec.memory
        self._write(self._column(session))
        return session

    def _column(self, session: Session) -> ColumnRecord:
        """What only a booted machine can tell of its column; the rest was known before."""
        assert session.hello is not None
        return ColumnRecord(
            run_id=self._job.run_id,
            column=self._job.column,
            release=session.hello.release,
            provenance={"guest_version": session.hello.version},
            timings={"boot": round(session.boot_seconds, 3)},
        )

    def _record(
        self, cell: Cell, seen: Observation, verdict: Verdict, attempt: int
    ) -> ResultRecord:
        job, expected = self._job, pick(cell.expectations, seen)
        record = ResultRecord(
            run_id=job.run_id,
            column=job.column,
            scenario=cell.scenario,
            attempt=attempt,
            verdict=verdict,
            observation=seen,
            repeat=repeat_command(job.kernel, job.arch, job.flavour, cell.scenario),
        )
        if expected is None:
            return record
        return replace(
            record,
            expected=list(dict.fromkeys(o for e in cell.expectations for o in e.outcomes)),
            want=expected.want,
            because=expected.because,
            bug=expected.bug,
            evidence=list(expected.evidence),
            declared=expected.declared,
        )


def _surprising(seen: Observation, verdict: Verdict) -> bool:
    """An unexpected end of the machine or of a task; a plain wrong code is not in doubt."""
    if verdict in (Verdict.MATCH, Verdict.KNOWN_BUG, Verdict.NOT_APPLICABLE):
        return False
    return not seen.alive or bool(seen.failure) or "hang(" in seen.outcome


def _same(one: Observation, other: Observation) -> bool:
    """The same outcome; two machines lost are the same whatever their last words."""
    return one.outcome == other.outcome and bool(one.failure) == bool(other.failure)


def run_job(job: Job, out: Path) -> None:
    """Run all cells of a job, appending to the results file `out`."""
    with ResultsWriter(out) as writer:
        runner = CellRunner(job, writer.write)
        try:
            for cell in job.cells:
                runner.run(cell)
        finally:
            runner.close()
