"""What is a kill: scripted looks at cells in place of machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.mutants import Attempts, Laboratory, Mutant
from harness.results import Observation, ResultRecord, Verdict
from harness.run.plan import Cell

MUTANT = Mutant("x", Path("x.patch"), ("m68k",), "seen", "what")
INFRA, MATCH, MISMATCH, KNOWN = Verdict.INFRA, Verdict.MATCH, Verdict.MISMATCH, Verdict.KNOWN_BUG


class Scripted(Laboratory):
    """One cell; each run of it gives the looks that stand next in the script."""

    def __init__(self, script: Sequence[Any]) -> None:
        self._script = list(script)
        self._arch = type("Named", (), {"name": "m68k"})()
        self._unmodified = Path("unmodified")
        self.passed = []
        self.failed = {}

    def _run(self, image: Path, cells: Sequence[Cell]) -> Iterator[Attempts]:
        for cell in cells:
            yield cell, [look(cell, verdict) for verdict in self._script.pop(0)]


CELL = Cell(scenario="hole/read", expectations=())


def look(cell: Cell, verdict: Verdict, outcome: str = "EFAULT") -> ResultRecord:
    seen = Observation(
        scenario=cell.scenario,
        outcome="" if verdict is INFRA else outcome,
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


class Outcomes(Scripted):
    """Cells that mismatch at each look, with the outcome that stands next in the script."""

    def _run(self, image: Path, cells: Sequence[Cell]) -> Iterator[Attempts]:
        for cell in cells:
            (verdict, outcome) = self._script.pop(0)
            yield cell, [look(cell, verdict, outcome)]


@pytest.mark.parametrize(
    ("script", "fate", "killer"),
    [
        # Each cell that mismatches takes two looks.
        ([(MISMATCH, "silent")] * 2 + [(MISMATCH, "EFAULT")] * 2, "killed", "b/b"),
        ([(MISMATCH, "A: read=ok | B: silent")] * 2 + [(MISMATCH, "ok")] * 2, "killed", "b/b"),
        ([(MISMATCH, "lost"), (MISMATCH, "ok")] + [(MISMATCH, "panic")] * 2, "killed", "b/b"),
        ([(MISMATCH, "silent")] * 4, "killed", "a/a"),  # nothing says more
        ([(MISMATCH, "silent")] * 2 + [(MATCH, "ok")], "killed", "a/a"),
        ([(MISMATCH, "silent")] * 2 + [(INFRA, "")], "killed", "a/a"),
        ([(MISMATCH, "silent"), (MATCH, "ok"), (MATCH, "ok")], "survived", ""),
        ([(MISMATCH, "hang(unkillable, spin-kernel)")] * 2, "killed", "a/a"),
    ],
)
def test_a_machine_that_went_away_kills_only_where_no_other_cell_says_more(
    script: list[tuple[Verdict, str]], fate: str, killer: str
) -> None:
    laboratory = Outcomes(script)
    laboratory.passed = [Cell(scenario=name, expectations=()) for name in ("a/a", "b/b")]
    found = laboratory._judge(MUTANT, Path("image"))
    assert (found.fate, found.scenario) == (fate, killer)
    assert not laboratory._script  # a kill that says what it saw is the last cell


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
