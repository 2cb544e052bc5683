"""Limits on a busy host: they count the time that a machine was given."""

from __future__ import annotations

import time

import pytest
from stand_in import observe, spec

from harness.machine import session as session_module
from harness.machine import starved
from harness.machine.qemu import QemuProcess
from harness.machine.session import Session

pytestmark = pytest.mark.usefixtures("short_limits")


def busy_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of QEMU wait for a CPU all the time, so long."""
    until = time.monotonic() + seconds
    monkeypatch.setattr(QemuProcess, "starved", lambda _: 2 * min(time.monotonic(), until))


def test_a_host_that_is_busy_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GRACE", 0.1)
    monkeypatch.setattr(session_module, "BOOTS", 0)
    assert observe("slow")[0] == "silent"
    busy_for(60, monkeypatch)
    assert observe("slow")[0] == "ok"


def test_a_silent_machine_is_found_on_a_host_that_is_always_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "GRACE", 0.1)
    monkeypatch.setattr(session_module, "BOOTS", 0)
    monkeypatch.setattr(starved, "MOST", 3)
    busy_for(60, monkeypatch)
    started = time.monotonic()
    assert observe("silent")[0] == "load=silent"
    assert 0.6 < time.monotonic() - started < 30


@pytest.mark.parametrize("busy", [False, True])
def test_a_limit_of_the_agents_counts_what_the_machine_was_given(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since the scenario was watched, and no more than passed: two threads waited all the time."""
    monkeypatch.setattr(session_module, "AT_ONCE", 0.1)
    monkeypatch.setattr(QemuProcess, "starved", lambda process: 0.0)
    if busy:
        busy_for(60, monkeypatch)
    with Session(spec("asks")) as machine:
        started = time.monotonic()
        more = int(machine.observe("hole/read").details["more"])
        took = time.monotonic() - started
    assert 150 <= more <= 1000 * took if busy else more == 0


def test_an_agent_that_asks_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GRACE", 0.1)
    monkeypatch.setattr(session_module, "BOOTS", 0)
    monkeypatch.setattr(starved, "MOST", 2)
    busy_for(60, monkeypatch)
    assert observe("asks-on")[0] == "load=silent"


def test_what_ends_at_once_is_not_asked_how_long_it_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(QemuProcess, "starved", lambda process: asked.append(0.0) or 0.0)
    monkeypatch.setattr(session_module, "AT_ONCE", 60.0)
    assert observe("good")[0] == "ok"
    assert not asked
    monkeypatch.setattr(session_module, "AT_ONCE", 0.0)
    assert observe("good")[0] == "ok"
    assert len(asked) == 2  # for the limit of the agent, and for ours
