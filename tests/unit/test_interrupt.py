"""A signal that asks to end is heeded wherever the interpreter was when it came."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from harness.interrupt import Interrupted, interrupting

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def terminate(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Finalized:
    def __del__(self) -> None:
        terminate()


def in_a_finalizer() -> None:
    Finalized()


def in_a_callback() -> None:
    value = threading.Event()
    holder = weakref.ref(value, terminate)
    del value
    assert holder() is None


def in_the_collector() -> None:
    value = Finalized()
    value.itself = value  # type: ignore[attr-defined]
    del value
    gc.collect()


fork_hooks: list[Callable[[], None]] = []
os.register_at_fork(before=lambda: [hook() for hook in fork_hooks] and None)


def in_a_hook_of_fork() -> None:
    fork_hooks.append(terminate)
    try:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    finally:
        fork_hooks.clear()


def as_ever() -> None:
    terminate()


@pytest.mark.parametrize(
    "where", [in_a_finalizer, in_a_callback, in_the_collector, in_a_hook_of_fork, as_ever]
)
def test_a_signal_is_not_lost(where: Callable[[], None]) -> None:
    with pytest.raises(Interrupted) as caught, interrupting(*SIGNALS):
        where()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)
    assert (caught.value.number, caught.value.exit_code) == (signal.SIGTERM, 143)


def test_nothing_is_left_behind() -> None:
    numbers = (*SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    with interrupting(*SIGNALS):
        assert signal.getsignal(signal.SIGTERM) is not before[0][1]
    assert ([signal.getsignal(number) for number in numbers], sys.unraisablehook) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_else_cannot_be_raised_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("of its own")

    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))
    with interrupting(*SIGNALS):
        Broken()
    assert told == ["of its own"]
