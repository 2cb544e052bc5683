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


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", "lost"),
        ("load=", "load=lost"),
        ("map=ok; load=", "map=ok; load=lost"),
        ("A: load= | B: copy=", "A: load=lost | B: copy=lost"),
        ("A: map=ok; read= | B: kill=ok", "A: map=ok; read=lost | B: kill=ok"),
        ("map=ok", "A: map=ok | kernel: lost"),  # nothing is due
        ("A: ok | B: ok", "A: ok | B: ok | kernel: lost"),
        ("Gar bage!; load=", "lost"),  # no outcome, whatever is put there
    ],
)
def test_each_result_that_was_due_ends_with_the_machine(text: str, outcome: str) -> None:
    assert compose(Cell("a/b", text=text), "gone", "exit status 0", 0) == (outcome, "")
    died = Cell("a/b", text=text, signs=[Sign("panic")])
    assert compose(died, "", "", 0) == (outcome.replace("lost", "panic"), "")


@pytest.mark.parametrize("ending", ["killed by SIGKILL", "exit status 1"])
def test_an_emulator_that_was_ended_says_nothing_about_its_guest(ending: str) -> None:
    outcome, failure = compose(Cell("a/b", text="load="), "gone", ending, 0)
    assert outcome == "" and ending in failure


@pytest.mark.parametrize(
    ("sign", "outcome"),
    [(Sign("oops"), "kernel: oops"), (Sign("warn", "zap"), "kernel: warn(zap)")],
)
def test_what_does_not_apply_must_not_make_the_kernel_speak(sign: Sign, outcome: str) -> None:
    cell = Cell("a/b", end=End(s="a/b", o="n/a"), signs=[sign])
    assert compose(cell, "", "", 0) == (outcome, "")


def test_a_panic_outranks_what_the_agent_makes_of_it() -> None:
    cell = Cell("a/b", text="load=", signs=[Sign("panic")], error="what is `rux`?")
    assert compose(cell, "", "", 0) == ("load=panic", "")
