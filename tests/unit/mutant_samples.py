"""A mutant, a cell, and what a machine is made to say of a cell."""

from __future__ import annotations

from pathlib import Path

from harness.mutants import Mutant
from harness.results import Observation, ResultRecord, Verdict
from harness.run.plan import Cell

MUTANT = Mutant("x", Path("x.patch"), ("m68k",), "seen", "what")
CELL = Cell(scenario="hole/read", expectations=())


def look(cell: Cell, verdict: Verdict, outcome: str = "EFAULT") -> ResultRecord:
    seen = Observation(
        scenario=cell.scenario,
        outcome="" if verdict is Verdict.INFRA else outcome,
        failure="set-up failed" if verdict is Verdict.INFRA else "",
    )
    return ResultRecord(
        run_id="r", column="c", scenario=cell.scenario, verdict=verdict, observation=seen
    )
