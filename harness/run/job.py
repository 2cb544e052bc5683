"""One job: boot, observe every cell, confirm what is surprising, write results as they come."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.machine import QemuError
from harness.machine.cell import Words
from harness.machine.console import FATAL
from harness.machine.hand import HandSpec
from harness.machine.hand_session import HandSession
from harness.machine.qemu import MachineSpec
from harness.machine.session import BootError, Session
from harness.results import (
    ColumnRecord,
    Observation,
    Record,
    ResultRecord,
    ResultsWriter,
    Verdict,
)
from harness.run.judge import BOOT, LATE, surprising
from harness.run.plan import Cell, Job, machine_for
from harness.run.records import amended_tally, make_record, same, strongest, weight, with_late
from harness.run.snapshots import StoreSnapshots

CONFIRM_SCALE = 4.0  # a second look has four times the time limit
LATE_LIMIT = 2.0  # seconds that a second look waits for words that came late
BOOT_TRIES = 3  # firmware loses a race now and then: docs/qemu.md

StartSession = Callable[..., Session]  # Session itself, or what stands in for it


class Look(Struct):
    """What was seen of a cell. What the kernel says late amends it."""

    cell: Cell
    record: ResultRecord
    before: list[str]  # scenarios that its machine had run
    written: bool = False


class CellRunner:
    """Runs cells on a machine of one column, booting anew whenever one has been lost."""

    def __init__(
        self, job: Job, write: Callable[[Record], None], start: StartSession = Session
    ) -> None:
        self._job = job
        self._write = write
        if isinstance(job.spec, HandSpec) and start is Session:
            start = HandSession
        self._start = self._boot = start
        if job.store is not None:
            self._start = functools.partial(start, snapshots=StoreSnapshots(job.store))
        self._session: Session | None = None
        self._spec: MachineSpec | HandSpec | None = None  # of the session
        self._before: list[str] = []  # scenarios that the last machine has run
        self._last: Look | None = None  # the last cell on this machine: late words are about it
        self._due: list[Look] = []  # amended by late words, and to be looked at again
        self._attempts: Counter[str] = Counter()  # on record, by scenario
        self._has_booted = False
        self._dead: BootError | QemuError | None = None  # this column does not come up at all

    def run(self, cell: Cell) -> ResultRecord:
        """Observe one cell and write its result; the last of its records is returned."""
        if cell.refused:
            return self._refuse(cell)
        if cell.lacks:
            return self._decide(cell)
        self.settle()
        if cell.seen is not None:
            self._attempts[cell.scenario] = cell.seen.attempt
        if self._job.times > 1:
            return self._run_often(cell)
        if cell.seen is not None:
            look = Look(cell, cell.seen, [], written=True)
        else:
            look = self._look(cell)
            self._put(look)
        if surprising(look.record):
            self._confirm(look)
        return look.record

    def _run_often(self, cell: Cell) -> ResultRecord:
        """Observe a cell as often as the job says; the last record counts, with the tally.

        Where not all came out alike it is the one that proves most, said again as a flake.
        """
        looks: list[Look] = []
        for _ in range(self._job.times):
            if looks and not looks[-1].written:
                self._put(looks[-1])  # the last one waits for the tally
            looks.append(self._look(cell))
            self.settle()
        tally = dict(Counter(one.record.observation.outcome for one in looks))
        last = looks[-1]
        if len(tally) == 1:
            last.record = replace(last.record, tally=tally)
            self._put(last)
            return last.record
        if not last.written:
            self._put(last)
        best = max((one.record for one in reversed(looks)), key=weight)
        flake = Look(cell, replace(best, confirmation="flake", tally=tally), last.before)
        self._put(flake)
        last.record = replace(last.record, tally=tally)  # what is heard late amends this
        return flake.record

    def _refuse(self, cell: Cell) -> ResultRecord:
        """It is on record that it was not run, and why."""
        failure = f"not run: {cell.refused}; ask for it by its name"
        record = make_record(self._job, cell, Observation(scenario=cell.scenario, failure=failure))
        record = replace(record, verdict=Verdict.NOT_RUN)
        self._write(record)
        return record

    def _decide(self, cell: Cell) -> ResultRecord:
        """What it needs is not there, which was known before the boot: the guest is not asked."""
        seen = Observation(scenario=cell.scenario, outcome="n/a", cause=f"not run: {cell.lacks}")
        record = make_record(self._job, cell, seen)
        self._write(record)
        return record

    def close(self) -> None:
        """End the machine. Raises only what writing a result does."""
        try:
            self._hear()
        finally:
            self._drop()

    def settle(self) -> None:
        """What the kernel has said after the last scenario ended is about that one: amend it. Whose
        words they are is in doubt: where they are not as expected, look again.
        """
        self._hear()
        while self._due:
            self._confirm(self._due.pop(0))

    def _hear(self) -> None:
        if self._session is not None:
            self._amend(self._session.late())

    def _amend(self, words: Words) -> None:
        """What was heard late is about the last cell of this machine, which is not used again."""
        look = self._last
        if words.word and look is not None:
            if not look.written:
                self._put(look)
            seen = with_late(look.record.observation, words)
            tally = amended_tally(look.record, seen.outcome)
            record = make_record(self._job, look.cell, seen)
            look.record = replace(record, confirmation=LATE, tally=tally)
            self._put(look)
            if self._job.times == 1 and surprising(look.record):
                self._due.append(look)
        if words.word:
            self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._last = None, None

    def _put(self, look: Look) -> None:
        """Write a record, as the next attempt at its cell."""
        name = look.cell.scenario
        self._attempts[name] += 1
        look.record, look.written = replace(look.record, attempt=self._attempts[name]), True
        self._write(look.record)

    def _confirm(self, look: Look) -> None:
        """Run a surprising cell again: alone, and if it does not come back, after the others.

        The last record written is the one that counts.
        """
        self._drop()
        start, self._start = self._start, self._boot  # from a boot: a snapshot is in doubt, too
        try:
            for record in self._repeat(look.cell, look.record, look.before):
                look.record = record
                self._put(look)
        finally:
            self._start = start
        self._last = look if self._session else None

    def _repeat(self, cell: Cell, first: ResultRecord, before: list[str]) -> list[ResultRecord]:
        late = first.confirmation == LATE
        second = self._look_again(cell, late)
        if same(first, second):
            return [replace(second, confirmation="confirmed")]
        if not before:
            return strongest("flake", first, second)
        self._drop()
        for name in before:
            self._observe(replace(cell, scenario=name))
        third = self._look_again(cell, late)
        if same(first, third):
            self._drop()  # what they did to this machine is not to be met by those that follow
            others = f"order-dependent(after {len(before)} others, {before[-1]} the last)"
            if third.observation.failure and second.observation.outcome:  # alone it was observed
                return [second, third, replace(second, confirmation=others)]
            return [second, replace(third, confirmation=others)]
        return strongest("flake", first, second, third)

    def _look_again(self, cell: Cell, late: bool) -> ResultRecord:
        """With a longer time limit; where words came `late`, they are waited for, and if there are
        none the machine is asked whether it still is one.
        """
        record = self._look(cell, CONFIRM_SCALE).record
        if not late or self._session is None:
            return record
        words = self._session.late(LATE_LIMIT)
        if not words.word:
            again = self._session.observe(cell.scenario, CONFIRM_SCALE)
            fatal = next((word for word in FATAL if word in again.outcome), "")
            words = self._session.overdue if self._session.overdue.word else Words(fatal)
        self._drop()
        return make_record(self._job, cell, with_late(record.observation, words))

    def _look(self, cell: Cell, scale: float = 1.0) -> Look:
        record = make_record(self._job, cell, self._observe(cell, scale))
        look = Look(cell, record, self._before[:-1])
        self._last = look if self._session else None
        return look

    def _observe(self, cell: Cell, scale: float = 1.0) -> Observation:
        try:
            session = self._machine(cell)
        except (BootError, QemuError) as error:
            console = getattr(error, "console", [])
            return Observation(
                scenario=cell.scenario,
                failure=f"{BOOT}{error}",
                console=console,
                alive=False,
            )
        self._before.append(cell.scenario)
        seen = session.observe(cell.scenario, scale)
        if session.overdue.word:  # it was run on a machine that was not what it had been
            self._amend(session.overdue)
            return self._observe(cell, scale)
        if not seen.alive:
            self._drop()
        return seen

    def _machine(self, cell: Cell) -> Session:
        """The machine at hand, or a fresh boot. Raises BootError, QemuError."""
        spec = self._job.spec
        if isinstance(spec, MachineSpec):  # what runs already is what it is
            spec = machine_for(spec, cell)
        if self._session is not None and self._spec == spec:
            return self._session
        if self._dead is not None:
            raise self._dead
        self._drop()
        for left in reversed(range(BOOT_TRIES)):
            session = self._start(spec)
            try:
                session.boot()
            except (BootError, QemuError) as error:
                session.close()
                if not left:
                    # Where nothing has come up, nothing will: the rest need not wait for it.
                    self._dead = None if self._has_booted else error
                    raise
            except BaseException:
                session.close()
                raise
            else:
                break
        self._session, self._spec, self._has_booted = session, spec, True
        self._before = []
        self._write(self._column(session))
        return session

    def _column(self, session: Session) -> ColumnRecord:
        """What only a booted machine can tell of its column; the rest was known before."""
        assert session.hello is not None
        return ColumnRecord(
            run_id=self._job.run_id,
            column=self._job.column,
            release=session.hello.release,
            provenance={
                "guest_version": session.hello.version,
                "cpu_features": session.hello.cpu.strip(),
                "started": "from a snapshot" if session.restored else "by a boot",
                **({"boot_said": session.boot_word} if session.boot_word else {}),
            },
            timings={"boot": round(session.boot_seconds, 3)},
        )


def run_job(job: Job, out: Path) -> None:
    """Run all cells of a job, appending to the results file `out`."""
    with ResultsWriter(out) as writer:
        runner = CellRunner(job, writer.write)
        try:
            for cell in job.cells:
                runner.run(cell)
            runner.settle()
        finally:
            runner.close()
