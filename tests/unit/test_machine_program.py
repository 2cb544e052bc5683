"""A program's end as the host sees it, on a stand-in for QEMU that loses machines and bytes."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from msgspec.structs import replace
from stand_in import spec

from harness.interrupt import interrupting
from harness.machine import program as program_module
from harness.machine.program import STREAMS, Ending, ProgramSession


def run(play: str) -> tuple[Ending, bytes]:
    heard = bytearray()
    with ProgramSession(replace(spec(play), streams=STREAMS)) as session:
        ending = session.execute(heard.extend, heard.extend, None, 5.0)
    return ending, bytes(heard)


def test_an_end_with_all_of_its_output() -> None:
    ending, heard = run("good")
    assert ending.ended is not None
    assert (ending.ended.code, ending.lost, ending.kernel, heard) == (0, "", "", b"hello")


def test_a_machine_that_is_lost_is_no_end_but_its_output_came() -> None:
    ending, heard = run("reset")
    assert ending.ended is None
    assert ending.lost == "the machine ended (QEMU: exit status 0)"
    assert (heard, ending.passed) == (b"hello", (5, 0))
    assert ending.ms > 0


def test_an_oops_stands_beside_the_end() -> None:
    ending, _ = run("late-oops")
    assert ending.kernel == "oops"
    assert ending.ended is not None


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "_LEFT", 0.5)
    monkeypatch.setattr(program_module, "GRACE", 0.5)
    monkeypatch.setattr(program_module, "BOOTS", 0)


@pytest.mark.usefixtures("short_grace")
def test_an_oops_that_the_program_does_not_come_out_of_is_its_end() -> None:
    started = time.monotonic()
    ending, heard = run("oops-stays")
    assert 1 <= time.monotonic() - started < 20  # its limit and what is on top are 47 s
    assert (ending.ended, ending.lost, ending.kernel) == (None, "it did not end", "oops")
    assert (ending.console[-1], heard) == ("Oops: 0000 [#1]", b"hello")  # what boots is before


@pytest.mark.usefixtures("short_grace")
def test_an_oops_that_a_program_goes_on_after_does_not_cut_it_short() -> None:
    ending, heard = run("oops-goes-on")
    assert ending.ended is not None
    assert (ending.ended.code, ending.lost, ending.kernel) == (0, "", "oops")
    assert heard == b"hello....."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_hears_what_the_kernel_had_said(number: signal.Signals) -> None:
    heard = bytearray()

    def interrupt(session: ProgramSession) -> None:
        while not (session._cell.signs and heard):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    with (
        interrupting(number),
        ProgramSession(replace(spec("oops-stays"), streams=STREAMS)) as session,
    ):
        threading.Thread(target=interrupt, args=(session,), daemon=True).start()
        ending = session.execute(heard.extend, heard.extend, None, 30.0)
    assert (ending.ended, ending.lost) == (None, f"interrupted: {number.name}")
    assert (ending.kernel, ending.interrupted) == ("oops", number)
    assert (ending.console[-1], heard) == ("Oops: 0000 [#1]", b"hello")  # what boots is before


def test_what_init_could_not_do_is_told() -> None:
    ending, _ = run("agent-error")
    assert (ending.ended, ending.lost) == (None, "agent: no huge pages")


def test_output_that_is_missing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "_REST", 0.3)
    ending, heard = run("lost-end")
    assert ending.lost == "not all of its output came"
    assert heard == b"hello"


def test_output_is_waited_for_from_the_end_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not from the last byte on: a program may have been silent before its end."""
    monkeypatch.setattr(program_module, "_REST", 0.5)
    ending, heard = run("late-end")
    assert (ending.lost, heard) == ("", b"hellodone")


def test_what_a_sink_raises_comes_through() -> None:
    def broken(_data: bytes) -> None:
        raise BrokenPipeError

    with (
        ProgramSession(replace(spec("good"), streams=STREAMS)) as session,
        pytest.raises(BrokenPipeError),
    ):
        session.execute(broken, broken, None, 5.0)
