"""pytest items for the matrix: a column is a collector, a cell an item.

Collection reads YAML only. The first cell of a column builds and boots it; under xdist a
column stays on one worker. Mismatch and stale evidence are FAILED, infrastructure ERROR, a known
bug XFAIL, n/a where it was expected SKIPPED, and a bug that is gone a warning. What the kernel
says after a scenario has ended is an ERROR in its teardown.

With --results each column is a run of its own in that file, from its `run` to its `end` record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.catalog.yamlfile import DeclarationError, load
from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    Record,
    ResultRecord,
    Results,
    ResultsWriter,
    Verdict,
    exit_code,
)
from harness.run.judge import LATE, second_look_is_due
from harness.text import OUTCOME_LIMIT, clean

if TYPE_CHECKING:
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.run.job import CellRunner
    from harness.run.plan import Cell, Column
    from harness.run.ready import Ready

MATRIX_FILE = "matrix.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faultline")
    group.addoption("--arch", action="append", default=[], help="arch, repeatable")
    group.addoption("--kernel", action="append", default=[], help="kernel spec, repeatable")
    group.addoption("--flavour", action="append", default=[], help="flavour, repeatable")
    group.addoption("--store", default=None, help="folder for sources and builds")
    group.addoption("--accel", default="auto", choices=["auto", "tcg", "kvm"], help="accelerator")
    group.addoption("--results", default=None, help="append results to this file")


def pytest_configure(config: pytest.Config) -> None:
    # A column on one worker: with any other distribution each worker would boot each column.
    if config.pluginmanager.hasplugin("xdist") and config.getoption("numprocesses", None):
        config.option.dist = "loadscope"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> MatrixFile | None:
    if file_path.name != MATRIX_FILE:
        return None
    return MatrixFile.from_parent(parent, path=file_path)


def _repeated(config: pytest.Config, name: str) -> list[str]:
    return list(dict.fromkeys(config.getoption(name)))


class MatrixFile(pytest.File):
    """tests/matrix/matrix.yaml: which columns run when the command line names none."""

    def collect(self) -> Iterator[ColumnCollector]:
        try:
            yield from self._columns()
        except DeclarationError as error:
            raise self.CollectError(str(error)) from None

    def _columns(self) -> Iterator[ColumnCollector]:
        from harness.catalog.project import find_root, load_project
        from harness.run.plan import columns

        project = load_project(find_root())
        given = load(self.path).record(optional=("kernels", "arches", "flavours"))

        def chosen(option: str, key: str, default: Iterable[str]) -> list[str]:
            declared = given[key].texts() if key in given else default
            return _repeated(self.config, option) or list(declared)

        for column in columns(
            [
                project.arch(name)
                for name in chosen("--arch", "arches", [arch.name for arch in project.plain_arches])
            ],
            [
                project.kernel(name)
                for name in chosen("--kernel", "kernels", [project.kernels.default])
            ],
            [project.flavour(name) for name in chosen("--flavour", "flavours", ["core"])],
        ):
            yield ColumnCollector.from_parent(
                self, name=column.id, nodeid=column.id, column=column, project=project
            )


class ColumnCollector(pytest.Collector):
    """One column. Its first cell builds and boots it; torn down, it kills the machine."""

    def __init__(self, *, column: Column, project: Project, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.column, self.project = column, project
        self._run_id = ""  # set: the column has been begun, and its run is in the results
        self._records = Results()  # of this run
        self._cells: dict[str, Cell] = {}
        self._runner: CellRunner | None = None
        # Why there is no runner: a build that fails is not tried anew for every cell.
        self._failure = "build: the column could not be prepared"
        self._unavailable = ""  # why there can be no such kernel, where that is declared
        # By scenario the last of those that were amended after their end, and are not told yet.
        self._late: dict[str, ResultRecord] = {}
        self._held = ExitStack()  # what is booted from, so that no prune takes it away

    def collect(self) -> Iterator[CellItem]:
        # Those that need the same machine come one after another: each change of it is a boot.
        scenarios = self.project.matrix.scenarios.values()
        for scenario in sorted(scenarios, key=lambda one: one.machine):
            yield CellItem.from_parent(self, name=scenario.name, scenario=scenario)

    def run(self, scenario: str) -> ResultRecord:
        """Observe one cell; what cannot be built or booted is verdict infra."""
        from harness.build import BuildError
        from harness.machine import QemuError
        from harness.run.records import unconfirmed

        if not self._run_id:
            self._begin()
        failure = self._failure
        if self._runner is not None:
            try:
                return self._runner.run(self._cells[scenario])
            except (QemuError, BuildError, OSError) as error:
                failure = f"{type(error).__name__}: {error}"
        verdict = Verdict.INFRA
        last = self._last(scenario)
        if last is not None and last.observation.outcome and second_look_is_due(last):
            record = unconfirmed(last, failure)
            self._write(record)
            return record
        seen = Observation(scenario=scenario, failure=failure, alive=False)
        if self._unavailable:
            verdict = Verdict.NOT_APPLICABLE
            seen = Observation(
                scenario=scenario, outcome="n/a", cause=self._unavailable, alive=False
            )
        record = ResultRecord(
            run_id=self._run_id,
            column=self.column.id,
            scenario=scenario,
            attempt=last.attempt + 1 if last else 1,
            verdict=verdict,
            observation=seen,
        )
        self._write(record)
        return record

    def _last(self, scenario: str) -> ResultRecord | None:
        """Its last record, if there is one."""
        records = (one for one in self._records.results.values() if one.scenario == scenario)
        return max(records, key=lambda one: one.attempt, default=None)

    def settle(self, scenario: str) -> list[ResultRecord]:
        """The last record of this scenario, if it was amended after it had ended; told once."""
        if self._runner is not None:
            self._runner.settle()
        return [self._late.pop(scenario)] if scenario in self._late else []

    def teardown(self) -> None:
        try:
            if self._runner is not None:
                self._runner.settle()
                self._runner.close()
        finally:
            self._held.close()
            if self._run_id:
                self._end()
        told, self._late = list(self._late.values()), {}
        _fail_late(told)

    def _begin(self) -> None:
        """Build all that the column needs, and write down what is planned."""
        from harness.build import BuildError, Unavailable
        from harness.machine import QemuError
        from harness.run.execute import new_run_id, run_record
        from harness.run.job import CellRunner

        self._run_id = new_run_id()
        self._write(run_record(self._run_id))
        # What -k and node ids left over: only that is planned, and can be missing.
        chosen = [
            item.scenario
            for item in self.session.items
            if isinstance(item, CellItem) and item.parent is self
        ]
        try:
            ready = self._prepare(chosen)
        except (DeclarationError, BuildError, QemuError, OSError) as error:
            self._failure = f"build: {error}"
            self._unavailable = str(error) if isinstance(error, Unavailable) else ""
            self._write(
                ColumnRecord(
                    run_id=self._run_id,
                    column=self.column.id,
                    arch=self.column.arch.name,
                    kernel=self.column.kernel.name,
                    flavour=self.column.flavour,
                    planned=[scenario.name for scenario in chosen],
                )
            )
            return
        self._write(ready.record)
        self._cells = {cell.scenario: cell for cell in ready.cells}
        self._runner = CellRunner(ready.jobs[0], self._write)

    def _prepare(self, scenarios: list[Scenario]) -> Ready:
        from harness.build.store import Store
        from harness.run.options import Options
        from harness.run.prepare import prepare

        place = self.config.getoption("--store")
        store = Store(Path(place) if place else None)
        options = Options(store=store, accel=self.config.getoption("--accel"))
        ready = prepare(
            self._run_id, self.column, scenarios, self.project, options, lambda line: None
        )
        for kind, key in ready.entries:
            self._held.enter_context(store.using(kind, key))
        return ready

    def _end(self) -> None:
        from harness.run.execute import now

        code = exit_code(self._records, ending=self._run_id)
        self._write(EndRecord(run_id=self._run_id, finished=now(), exit_code=code))

    def _write(self, record: Record) -> None:
        self._records.add(record)
        if isinstance(record, ResultRecord) and (
            record.confirmation == LATE or record.scenario in self._late  # or looked at again
        ):
            self._late[record.scenario] = record
        path = self.config.getoption("--results")
        if path:
            with ResultsWriter(Path(path)) as writer:
                writer.write(record)


class CellItem(pytest.Item):
    """One cell: observed in set-up, so that infrastructure is an ERROR, judged in the call."""

    def __init__(self, *, scenario: Scenario, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.record: ResultRecord | None = None

    @property
    def nodeid(self) -> str:
        return f"{self.parent.nodeid}::{self.name}" if self.parent else self.name

    @property
    def column(self) -> ColumnCollector:
        assert isinstance(self.parent, ColumnCollector)
        return self.parent

    def reportinfo(self) -> tuple[Path, int, str]:
        return Path(self.scenario.file), self.scenario.line - 1, self.name

    def setup(self) -> None:
        self.record = self.column.run(self.scenario.name)
        if self.record.verdict is Verdict.INFRA:
            pytest.fail(explain(self.record), pytrace=False)

    def runtest(self) -> None:
        record = self.record
        assert record is not None
        # Stale first: what rests on a text that is gone is not proven, whatever was observed.
        if any(piece.status == "stale" for piece in record.evidence):
            pytest.fail(f"stale evidence\n{explain(record)}", pytrace=False)
        if record.verdict is Verdict.KNOWN_BUG:
            pytest.xfail(f"known bug: {clean(record.bug)}; {_outcome(record)}")
        if record.verdict is Verdict.NOT_APPLICABLE:
            pytest.skip(clean(record.observation.cause) or "n/a")
        if record.verdict is Verdict.NOT_RUN:  # refused: no pass, and nothing is wrong
            pytest.skip(clean(record.observation.failure))
        if record.verdict is Verdict.FIXED:
            text = f"fixed: {record.column} {record.scenario}: {_outcome(record)}"
            self.warn(pytest.PytestWarning(f"{text}; amend {record.declared}"))
        elif record.verdict is not Verdict.MATCH:
            pytest.fail(explain(record), pytrace=False)

    def teardown(self) -> None:
        _fail_late(self.column.settle(self.scenario.name))


def _fail_late(records: list[ResultRecord]) -> None:
    """An ERROR where late words of the kernel turned a result into one that is not expected."""
    fine = (Verdict.MATCH, Verdict.KNOWN_BUG, Verdict.FIXED, Verdict.NOT_APPLICABLE)
    if wrong := [record for record in records if record.verdict not in fine]:
        told = "\n\n".join(map(explain, wrong))
        pytest.fail(f"said by the kernel after the scenario had ended\n{told}", pytrace=False)


def _outcome(record: ResultRecord) -> str:
    return clean(record.observation.outcome, OUTCOME_LIMIT)


def explain(record: ResultRecord) -> str:
    """Everything a reader needs on a cell that is not as expected; guest text made harmless."""
    seen = record.observation
    what = _outcome(record) or "\n    ".join(map(clean, seen.failure.splitlines())) or "nothing"
    lines = [
        f"{record.column} {record.scenario}: {record.verdict.value}",
        f"observed: {what}" + (f" ({clean(seen.cause)})" if seen.cause else ""),
    ]
    if record.confirmation:
        lines.append(f"a second look says: {clean(record.confirmation)}")
    lines.append(f"expected: {' or '.join(record.expected) or 'nothing is declared'}")
    if record.declared:
        lines.append(f"declared: {record.declared}")
        lines.append(f"because:  {record.because}")
    if record.want:
        lines.append(f"correct:  {clean(record.want, OUTCOME_LIMIT)}")
    if record.bug:
        lines.append(f"known bug: {clean(record.bug)}")
    for piece in record.evidence:
        place = f"{piece.file}:{piece.line}" if piece.line else piece.file
        found = f"{piece.id} ({piece.status}): {place} {piece.function}"
        lines.append(f"evidence: {found}: {clean(piece.text)}")
    for key, value in sorted(seen.details.items()):
        lines.append(f"detail:   {clean(key)} = {clean(value)}")
    said = [f"    {clean(line)}" for line in seen.console[-20:]]
    lines += ["console:", *said] if said else ["console:  nothing was said"]
    if record.repeat:
        lines.append(f"repeat:   {record.repeat}")
    return "\n".join(lines)
