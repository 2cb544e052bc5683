"""Jobs and their cells, on a machine that a test makes up."""

from __future__ import annotations

from stand_in import spec

from harness.run.judge import Expectation
from harness.run.plan import Cell, Job

FAULT = "SIGSEGV/SEGV_MAPERR @exact"
HANG = "hang(unkillable, spin-kernel)"


def job(*cells: Cell, play: str = "good") -> Job:
    return Job(
        run_id="r1",
        column="k,a",
        arch="a",
        kernel="k",
        flavour="core",
        spec=spec(play),
        cells=cells,
    )


def expect(*outcomes: str, want: str = "") -> Expectation:
    return Expectation(
        outcomes=outcomes, want=(want,) if want else (), declared="expectations/hole.yaml:3"
    )


def cell(name: str, *outcomes: str) -> Cell:
    return Cell(scenario=name, expectations=(expect(*(outcomes or ("ok",))),))
