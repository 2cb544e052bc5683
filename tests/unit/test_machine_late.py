"""What a kernel says between two scenarios: whose word it is."""

from __future__ import annotations

import time

import pytest
from stand_in import spec

from harness.machine.cell import Words
from harness.machine.session import Session

pytestmark = pytest.mark.usefixtures("short_limits")


def test_what_comes_after_the_end_is_told_once_and_apart() -> None:
    with Session(spec("after-end")) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        deadline = time.monotonic() + 5
        while not (word := machine.late().word) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert word == "oops"
        assert machine.late() == Words()


@pytest.mark.parametrize(
    ("play", "overdue", "alive"),
    [
        ("before-mark", "warn(zap)", False),
        ("panic-before-mark", "panic", False),
        ("reset-after-another", "lost", False),
        ("dark-after-another", "silent", False),
    ],
)
def test_what_comes_ahead_of_a_mark_is_about_the_scenario_before(
    play: str, overdue: str, alive: bool
) -> None:
    with Session(spec(play)) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        assert machine.late() == Words()
        seen = machine.observe("hole/write")
        assert (machine.overdue.word, seen.alive) == (overdue, alive)
        assert "kernel" not in seen.outcome and "panic" not in seen.outcome


def test_what_comes_ahead_of_the_first_mark_is_about_the_first_scenario() -> None:
    with Session(spec("before-mark")) as machine:
        assert machine.observe("hole/write").outcome == "A: ok | kernel: warn(zap)"
        assert machine.overdue == Words()


def test_late_words_are_waited_for() -> None:
    with Session(spec("after-end")) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        assert machine.late(30.0) == Words("oops", ["Oops: 0000 [#1]"])
