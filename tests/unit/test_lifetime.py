"""Programs that are sessions: whoever ends us, and whenever, nobody is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.build.tools import toolchain
from harness.interrupt import Interrupted, held_back, interrupting
from harness.lifetime import session
from tests.processes import gone, lives

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def grandchild(note: Path) -> int:
    """Who the program that wrote `note` has started."""
    deadline = time.monotonic() + 20
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return int(note.read_text())


def starter(note: Path, first: str = "") -> list[str]:
    """A program that starts another."""
    return ["sh", "-c", f"{first}sleep 60 & echo $! > {note}.new; mv {note}.new {note}; wait"]


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("first", ["", "trap '' TERM; "])
def test_an_exception_ends_all_that_it_has_started(tmp_path: Path, first: str, brief: bool) -> None:
    started = 0
    with (
        pytest.raises(KeyError),
        session(starter(tmp_path / "note", first), env=dict(os.environ), brief=brief),
    ):
        started = grandchild(tmp_path / "note")
        assert lives(started)
        raise KeyError
    assert started
    assert gone(started)


def test_who_outlives_the_program_is_ended_when_the_block_is_left(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"sleep 60 > /dev/null 2>&1 & echo $! > {note}"
    with session(["sh", "-c", script], env=dict(os.environ)) as process:
        assert process.wait() == 0
        assert lives(grandchild(note))
    assert gone(grandchild(note))


def test_a_signal_while_the_end_of_a_program_is_waited_for_ends_it() -> None:
    """The block is left, and the program goes on."""
    with (
        pytest.raises(Interrupted),
        interrupting(*SIGNALS),
        session(["sleep", "60"], env=dict(os.environ)) as process,
    ):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert gone(process.pid)


def test_a_signal_while_it_is_being_started_leaves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program runs, and whoever starts it has not been told yet."""
    started = 0

    class Hit(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **options: Any) -> None:
            nonlocal started
            super().__init__(*words, **options)
            started = grandchild(tmp_path / "note")
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Hit)
    with (
        pytest.raises(Interrupted),
        interrupting(*SIGNALS),
        session(starter(tmp_path / "note"), env=dict(os.environ)),
    ):
        pytest.fail("the signal is lost")
    assert started
    assert gone(started)


def test_what_is_held_back_comes_at_the_end_of_the_block() -> None:
    done = []
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted, match="SIGTERM"), interrupting(*SIGNALS):
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("whole")
        pytest.fail("the signal is lost")
    assert done == ["whole"]
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


def test_what_is_held_back_is_not_lost_to_another_exception() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), interrupting(*SIGNALS), held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        raise FileNotFoundError


def test_who_ignores_a_signal_goes_on_to() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_asking_for_a_version_forks_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of one cell asks twice, and it has a second in all."""
    asked = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **options: Any) -> None:
            asked.append(options["preexec_fn"])
            super().__init__(*words, **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":")  # another one: none is remembered
    assert toolchain("", {}).compiler.startswith("gcc")
    assert asked == [None, None]
