"""The plugin of tools/coverage in a machine: what it sees the kernel do."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import pytest

from harness.build.store import Store
from harness.catalog.project import load_project
from harness.codemap import Span
from harness.run.options import Options
from harness.run.plan import Column
from harness.run.prepare import Ready, prepare
from tests.unit.tool_calls import ROOT, tool

coverage = tool("coverage")


@pytest.fixture(scope="module")
def ready() -> Ready:
    """An arch whose kernel is found by its symbols alone, and two scenarios."""
    project, store = load_project(ROOT), Store()
    column = Column(arch=project.arch("m68k"), kernel=project.kernel("debian-6.12"))
    scenarios = [
        project.matrix.scenarios[name] for name in ("hole/read", "protection/ro-write-fresh")
    ]
    options = Options(store=store, accel="tcg", snapshots=False)
    return prepare("steps", column, scenarios, project, options, lambda line: None)


class Symbols:
    def __init__(self, file: Path) -> None:
        rows = [line.split() for line in file.read_text().splitlines()]
        self.names = sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tT")

    def span(self, name: str) -> Span:
        at = next(n for n, symbol in enumerate(self.names) if symbol[1] == name)
        start = self.names[at][0]
        return Span(1, start, next(other for other, _ in self.names[at:] if other > start))

    def of(self, address: int) -> str:
        return self.names[bisect_right(self.names, (address, "~")) - 1][1]


def test_steps_are_those_of_the_kernel(ready: Ready, tmp_path: Path) -> None:
    (job,) = ready.jobs
    symbols = Symbols(job.spec.image.with_name("System.map"))
    names = {"do_page_fault", "send_fault_sig", "buserr_c", "die_if_kernel"}
    parts = [coverage.Part("fault.c", [symbols.span(name) for name in names], [])]
    steps, cells = coverage.watch([job], job.spec.image, parts, tmp_path)
    assert cells == 2
    assert {symbols.of(address) for address in steps.executed} == names - {"die_if_kernel"}
    calls = {(symbols.of(one), symbols.of(to)) for one, to in steps.taken if one}
    assert {("buserr_c", "do_page_fault"), ("do_page_fault", "send_fault_sig")} <= calls
    assert ("send_fault_sig", "buserr_c") in calls  # and back, from a call in its last place
    assert len(steps.taken) > len(steps.executed)  # branches went two ways
