"""What is a kill: scripted looks at cells in place of machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.mutants import Attempts, Laboratory, Mutant
from harness.results import Observation, ResultRecord, Verdict
from harness.run.plan import Cell

MUTANT = Mutant("x", Path("x.patch"), ("m68k",), "seen", "what")
INFRA, MATCH, MISMATCH, KNOWN = Verdict.INFRA, Verdict.MATCH, Verdict.MISMATCH, Verdict.KNOWN_BUG


class Scripted(Laboratory):
    """One cell; each run of it gives the looks that stand next in the script."""

    def __init__(self, script: Sequence[Sequence[Verdict]]) -> None:
        self._script = list(script)
        self._arch = type("Named", (), {"name": "m68k"})()
        self._unmodified = Path("unmodified")
        self.passed = []
        self.failed = {}

    def _run(self, image: Path, cells: Sequence[Cell]) -> Iterator[Attempts]:
        for cell in cells:
            yield cell, [look(cell, verdict) for verdict in self._script.pop(0)]


CELL = Cell(scenario="hole/read", expectations=())


def look(cell: Cell, verdict: Verdict) -> ResultRecord:
    seen = Observation(
        scenario=cell.scenario,
        outcome="" if verdict is INFRA else verdict.value,
        failure="set-up failed" if verdict is INFRA else "",
    )
    return ResultRecord(
        run_id="r", column="c", scenario=cell.scenario, verdict=verdict, observation=seen
    )


@pytest.mark.parametrize(
    ("script", "fate"),
    [
        ([[MATCH]], "survived"),
        ([[KNOWN]], "survived"),
        ([[MISMATCH], [MISMATCH]], "killed"),
        ([[MISMATCH], [MATCH]], "survived"),  # it did not come back
        ([[MISMATCH], [INFRA]], "infrastructure"),
        ([[MISMATCH, MISMATCH]], "killed"),  # a hang, confirmed by the runner already
        ([[MISMATCH, MATCH, MISMATCH]], "survived"),
        ([[INFRA, INFRA]], "infrastructure"),
        ([[INFRA, MISMATCH]], "survived"),
    ],
)
def test_a_kill_is_a_mismatch_at_each_of_several_looks(
    script: list[list[Verdict]], fate: str
) -> None:
    laboratory = Scripted(script)
    laboratory.passed = [CELL]
    assert laboratory._judge(MUTANT, Path("image")).fate == fate
    assert not laboratory._script  # all looks were taken that the rule wants


def test_a_mutant_that_is_argued_to_be_equivalent_is_not_counted_as_a_survivor() -> None:
    argued = Mutant("x", Path("x.patch"), ("m68k",), "seen", "what", "no program can tell")
    laboratory = Scripted([[MATCH]])
    laboratory.passed = [CELL]
    assert laboratory._judge(argued, Path("image")).fate == "equivalent"


@pytest.mark.parametrize(
    ("looks", "passed", "failed"),
    [
        ([MATCH], True, False),
        ([KNOWN], False, False),
        ([Verdict.NOT_APPLICABLE], False, False),
        ([MISMATCH, MATCH], False, True),  # now so, now so
        ([Verdict.FIXED], False, True),
        ([Verdict.NO_EXPECTATION], False, True),
    ],
)
def test_only_what_the_unmodified_kernel_passes_at_each_look_can_kill(
    looks: list[Verdict], passed: bool, failed: bool
) -> None:
    laboratory = Scripted([looks])
    laboratory._learn([CELL])
    assert laboratory.passed == ([CELL] if passed else [])
    assert bool(laboratory.failed) is failed
