"""pytest items for the matrix: a column is a collector, a cell an item.

Collection reads YAML only. The first cell of a column builds and boots it; under xdist a
column stays on one worker. Mismatch is FAILED, infrastructure ERROR, a known bug XFAIL, n/a
where it was expected SKIPPED.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.catalog.yamlfile import DeclarationError, load
from harness.results import ResultRecord, Verdict

if TYPE_CHECKING:
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.run.job import CellRunner
    from harness.run.plan import Cell, Column

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
            [project.arch(name) for name in chosen("--arch", "arches", project.arches)],
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
    """One column. Set up on its first cell: builds, then boots; torn down: powers off."""

    def __init__(self, *, column: Column, project: Project, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.column, self.project = column, project
        self._runner: CellRunner | None = None

    def collect(self) -> Iterator[CellItem]:
        for scenario in self.project.matrix.scenarios.values():
            yield CellItem.from_parent(self, name=scenario.name, scenario=scenario)

    @functools.cached_property
    def cells(self) -> dict[str, Cell]:
        """The column's cells by scenario, everything they need built. Raises BuildError."""
        ready = self._ready
        return {cell.scenario: cell for cell in ready.cells}

    @functools.cached_property
    def _ready(self) -> Any:
        from harness.build.store import Store
        from harness.run.execute import new_run_id
        from harness.run.prepare import Options, prepare

        store = self.config.getoption("--store")
        options = Options(
            store=Store(Path(store) if store else None), accel=self.config.getoption("--accel")
        )
        scenarios = list(self.project.matrix.scenarios.values())
        run_id = new_run_id()
        ready = prepare(run_id, self.column, scenarios, self.project, options, lambda line: None)
        self._write(ready.record)
        return ready

    @property
    def runner(self) -> CellRunner:
        from harness.run.job import CellRunner

        if self._runner is None:
            self._runner = CellRunner(self._ready.jobs[0], self._write)
        return self._runner

    def _write(self, record: Any) -> None:
        from harness.results import ResultsWriter

        path = self.config.getoption("--results")
        if path:
            with ResultsWriter(Path(path)) as writer:
                writer.write(record)

    def teardown(self) -> None:
        if self._runner is not None:
            self._runner.close()


class CellItem(pytest.Item):
    """One cell: observed in set-up, so that infrastructure is an ERROR, judged in the call."""

    def __init__(self, *, scenario: Scenario, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self.record: ResultRecord | None = None

    @property
    def nodeid(self) -> str:
        return f"{self.parent.nodeid}::{self.name}" if self.parent else self.name

    def reportinfo(self) -> tuple[Path, int, str]:
        return Path(self.scenario.file), self.scenario.line - 1, self.name

    def setup(self) -> None:
        from harness.build import BuildError
        from harness.machine import QemuError

        column = self.parent
        assert isinstance(column, ColumnCollector)
        problem = ""
        try:
            self.record = column.runner.run(column.cells[self.scenario.name])
        except (DeclarationError, BuildError, QemuError) as error:
            problem = str(error)
        if self.record and self.record.verdict is Verdict.INFRA:
            problem = explain(self.record)
        if problem:
            pytest.fail(problem, pytrace=False)

    def runtest(self) -> None:
        assert self.record is not None
        if self.record.verdict is Verdict.KNOWN_BUG:
            pytest.xfail(f"known bug: {self.record.bug}; {self.record.observation.outcome}")
        if self.record.verdict is Verdict.NOT_APPLICABLE:
            pytest.skip(self.record.observation.cause or "n/a")
        if self.record.verdict not in (Verdict.MATCH, Verdict.FIXED):
            pytest.fail(explain(self.record), pytrace=False)


def explain(record: ResultRecord) -> str:
    """Everything a reader needs on a cell that is not as expected."""
    seen = record.observation
    lines = [
        f"{record.column} {record.scenario}: {record.verdict.value}",
        f"expected: {' or '.join(record.expected) or 'nothing is declared'}",
        f"observed: {seen.outcome or seen.failure}" + (f" ({seen.cause})" if seen.cause else ""),
    ]
    if record.confirmation:
        lines.append(f"a second run says: {record.confirmation}")
    if record.declared:
        lines.append(f"declared: {record.declared}")
        lines.append(f"because:  {record.because}")
    for piece in record.evidence:
        place = f"{piece.file}:{piece.line}" if piece.line else piece.file
        lines.append(f"evidence: {piece.id} ({piece.status}): {place} {piece.function}")
    lines += [f"detail:   {key} = {value}" for key, value in sorted(seen.details.items())]
    if seen.console:
        lines += ["console:", *(f"    {line}" for line in seen.console[-20:])]
    return "\n".join([*lines, f"repeat:   {record.repeat}"])
