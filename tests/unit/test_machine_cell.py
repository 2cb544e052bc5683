"""What a scenario adds up to where the kernel had an oops: the task's own end does not count."""

from __future__ import annotations

import pytest

from harness.machine.cell import Cell, compose
from harness.machine.console import Sign
from harness.machine.port import End


@pytest.mark.parametrize(
    ("heard", "outcome"),
    [
        ("killed(SIGSEGV)", "oops"),
        ("poison=ok; load=killed(SIGSEGV)", "poison=ok; load=oops"),
        # It died holding a lock, and its own end waits for that.
        ("poison=ok; load=hang(unkillable, disk)", "poison=ok; load=oops"),
        # A task that still ran, or could be killed, is not the one that the oops ended.
        ("load=hang(killable, sleep)", "A: load=hang(killable, sleep) | kernel: oops"),
        (
            "load=hang(unkillable, spin-kernel)",
            "A: load=hang(unkillable, spin-kernel) | kernel: oops",
        ),
        ("load=ok", "A: load=ok | kernel: oops"),
    ],
)
def test_an_oops_stands_for_the_death_of_its_task(heard: str, outcome: str) -> None:
    cell = Cell("a/b", end=End(s="a/b", o=heard), signs=[Sign("oops")])
    assert compose(cell, "", "", 0) == (outcome, "")
    assert compose(Cell("a/b", end=End(s="a/b", o=heard)), "", "", 0) == (heard, "")
