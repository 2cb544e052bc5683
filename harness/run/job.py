"""One job: boot, observe every cell, confirm what is surprising, write results as they come."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from harness.machine import QemuError
from harness.machine.cell import beside_kernel
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
from harness.run.judge import BOOT, judge, pick, surprising
from harness.run.plan import Cell, Job, machine_for, repeat_command
from harness.run.snapshots import StoreSnapshots

CONFIRM_SCALE = 4.0  # a second look has four times the time limit
BOOT_TRIES = 2  # a machine that does not come up is tried once more

StartSession = Callable[..., Session]  # Session itself, or what stands in for it


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
        self._before: list[str] = []  # scenarios that this boot has run
        self._last: tuple[Cell, ResultRecord] | None = None  # of this boot
        self._has_booted = False
        self._dead: BootError | None = None  # this column does not come up at all

    def run(self, cell: Cell) -> ResultRecord:
        """Observe one cell and write its result; the last of its records is returned."""
        if cell.refused:
            return self._refuse(cell)
        if cell.lacks:
            return self._decide(cell)
        self.settle()
        if self._job.times > 1:
            return self._run_often(cell)
        before = list(self._before) if self._session else []
        record = self._attempt(cell, 1)
        self._write(record)
        if surprising(record):
            for again in self._confirm(cell, record, before):
                self._write(again)
                record = again
        self._last = (cell, record) if self._session else None
        return record

    def _run_often(self, cell: Cell) -> ResultRecord:
        """Observe a cell as often as the job says; the last record counts, with the tally.

        Where not all came out alike it is the one that proves most, said again as a flake.
        """
        seen: list[ResultRecord] = []
        for _ in range(self._job.times):
            if seen:
                self._write(seen[-1])  # the last one waits for the tally
            record = self._attempt(cell, seen[-1].attempt + 1 if seen else 1)
            self._last = (cell, record) if self._session else None
            late = self._late_word()
            if late is not None:
                self._write(record)
            seen.append(late or record)
        tally = dict(Counter(one.observation.outcome for one in seen))
        last = seen[-1]
        if len(tally) > 1:
            self._write(last)
            best = max(seen, key=lambda one: (_weight(one), one.attempt))
            last = replace(best, attempt=last.attempt + 1, confirmation="flake")
        last = replace(last, tally=tally)
        self._write(last)
        self._last = (cell, last) if self._session else None
        return last

    def _refuse(self, cell: Cell) -> ResultRecord:
        """It is on record that it was not run, and why."""
        failure = f"not run: {cell.refused}; ask for it by its name"
        record = make_record(
            self._job, cell, Observation(scenario=cell.scenario, failure=failure), 1
        )
        record = replace(record, verdict=Verdict.NOT_RUN)
        self._write(record)
        return record

    def _decide(self, cell: Cell) -> ResultRecord:
        """What it needs is not there, which was known before the boot: the guest is not asked."""
        seen = Observation(scenario=cell.scenario, outcome="n/a", cause=f"not run: {cell.lacks}")
        record = make_record(self._job, cell, seen, 1)
        self._write(record)
        return record

    def close(self) -> None:
        """End the machine. Raises only what writing a result does."""
        try:
            self.settle()
        finally:
            self._drop()

    def settle(self) -> None:
        """What the kernel has said after the last scenario ended is about that one: amend it."""
        late = self._late_word()
        if late is not None:
            self._write(late)

    def _late_word(self) -> ResultRecord | None:
        """The last record once more, with what the kernel has said since; None: nothing."""
        word = self._session.late() if self._session else ""
        if not word:
            return None
        late = None
        if self._last is not None:
            cell, record = self._last
            outcome = beside_kernel(record.observation.outcome, word)
            seen = replace(record.observation, outcome=outcome)
            late = make_record(self._job, cell, seen, record.attempt + 1)
            late = replace(late, confirmation="late", tally=_amended(record, outcome))
        if word in ("oops", "panic"):
            self._drop()
        return late

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._before, self._last = None, [], None

    def _confirm(self, cell: Cell, first: ResultRecord, before: list[str]) -> list[ResultRecord]:
        """Run a surprising cell again: alone, and if it does not come back, after the others.

        The last record returned is the one that counts.
        """
        self._drop()
        start, self._start = self._start, self._boot  # from a boot: a snapshot is in doubt, too
        try:
            return self._repeat(cell, first, before)
        finally:
            self._start = start

    def _repeat(self, cell: Cell, first: ResultRecord, before: list[str]) -> list[ResultRecord]:
        second = self._attempt(cell, 2, CONFIRM_SCALE)
        if _same(first, second):
            return [replace(second, confirmation="confirmed")]
        if not before:
            return _strongest("flake", first, second)
        self._drop()
        for name in before:
            self._observe(
                Cell(scenario=name, expectations=(), memory=cell.memory, disks=cell.disks)
            )
        third = self._attempt(cell, 3, CONFIRM_SCALE)
        if _same(first, third):
            self._drop()  # what they did to this machine is not to be met by those that follow
            others = f"order-dependent(after {len(before)} others, {before[-1]} the last)"
            if third.observation.failure and second.observation.outcome:  # alone it was observed
                return [second, third, replace(second, attempt=4, confirmation=others)]
            return [second, replace(third, confirmation=others)]
        return _strongest("flake", first, second, third)

    def _attempt(self, cell: Cell, attempt: int, scale: float = 1.0) -> ResultRecord:
        return make_record(self._job, cell, self._observe(cell, scale), attempt)

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
        if not seen.alive:
            self.settle()
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
            except BootError as error:
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
                "started": "from a snapshot" if session.restored else "by a boot",
            },
            timings={"boot": round(session.boot_seconds, 3)},
        )


def make_record(job: Job, cell: Cell, seen: Observation, attempt: int) -> ResultRecord:
    """An observation, judged."""
    expected = pick(cell.expectations, seen)
    record = ResultRecord(
        run_id=job.run_id,
        column=job.column,
        scenario=cell.scenario,
        summary=cell.summary,
        attempt=attempt,
        verdict=judge(cell.expectations, seen),
        observation=seen,
        repeat=repeat_command(job.kernel, job.arch, job.flavour, cell.scenario),
    )
    if expected is None:
        return record
    return replace(
        record,
        expected=list(dict.fromkeys(o for e in cell.expectations for o in e.outcomes)),
        want=" or ".join(expected.want),
        because=expected.because,
        bug=expected.bug,
        evidence=list(expected.evidence),
        declared=expected.declared,
    )


def _same(one: ResultRecord, other: ResultRecord) -> bool:
    """The same outcome, or the same kind of failure."""
    a, b = one.observation, other.observation
    return a.outcome == b.outcome and a.failure.partition(":")[0] == b.failure.partition(":")[0]


def _amended(record: ResultRecord, outcome: str) -> dict[str, int]:
    """The tally of a record after its last observation turned out otherwise."""
    tally = Counter(record.tally)
    if tally:
        tally[record.observation.outcome] -= 1
        tally[outcome] += 1
    return {name: count for name, count in tally.items() if count}


_WEIGHTS = {Verdict.MISMATCH: 3, Verdict.NO_EXPECTATION: 2, Verdict.INFRA: 0}


def _weight(record: ResultRecord) -> tuple[int, int]:
    """Of several observations of a cell the one that is not as expected counts."""
    return _WEIGHTS.get(record.verdict, 1), _strength(record)


def _strength(record: ResultRecord) -> int:
    """How much an observation proves. What a slow host can bring about proves least."""
    seen = record.observation
    if seen.failure:
        return 0
    if any(word in seen.outcome for word in ("hang(", "silent", "lost")):
        return 1
    return 3 if any(word in seen.outcome for word in ("oops", "panic")) else 2


def _strongest(confirmation: str, *records: ResultRecord) -> list[ResultRecord]:
    """All attempts but the first, which is written, and at the end the one that counts.

    An oops that does not come back has been seen all the same.
    """
    best = max(records, key=lambda record: (_strength(record), record.attempt))
    if best is not records[-1]:
        records = (*records, replace(best, attempt=records[-1].attempt + 1))
    return [*records[1:-1], replace(records[-1], confirmation=confirmation)]


def run_job(job: Job, out: Path) -> None:
    """Run all cells of a job, appending to the results file `out`."""
    with ResultsWriter(out) as writer:
        runner = CellRunner(job, writer.write)
        try:
            for cell in job.cells:
                runner.run(cell)
        finally:
            runner.close()
