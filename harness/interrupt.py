"""Signals that end what is being done, by an exception that does not get lost."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Protocol

from harness.stdout import drop_unread

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # they ask to end
AGAIN = 0.05  # s after which an exception that was lost is raised once more
_begun: list[int] = []  # the signal that has begun the end of this process, if one has


class Interrupted(SystemExit):
    """A signal came that asks to end. Its exit code is that of a shell: 128 + number.

    Of all that is no error asyncio lets only this and KeyboardInterrupt through its callbacks.
    """

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        self.exit_code = 128 + number
        super().__init__(self.exit_code)

    def __str__(self) -> str:
        return self.number.name


class _Unraisable(Protocol):
    """What sys.unraisablehook is given."""

    @property
    def exc_value(self) -> BaseException | None: ...
    @property
    def exc_traceback(self) -> TracebackType | None: ...


@contextmanager
def interrupting(*numbers: signal.Signals, once: bool = False) -> Iterator[None]:
    """These signals raise Interrupted inside the block; with `once` only the first that comes to
    this process, so that none disturbs the end that it has begun, in whatever block or behind it.
    A SIGHUP that is ignored stays so, for that is what nohup is for.

    A handler runs wherever the interpreter is. In a finalizer, a weakref's callback or a hook of
    fork nobody can be told of an exception: it goes to sys.unraisablehook, and what was
    interrupted goes on. So it is raised once more, after that hook is left (hence a timer: it
    raises in Python code, and the hook is some). Uses SIGALRM. Raises ValueError outside the main
    thread, which has the signals.
    """
    lost = 0

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # what tells of the end must not fail at a closed terminal
            drop_unread()
        if once:
            if _begun:
                return
            _begun.append(number)
            # Of a coroutine that was made and not started yet; nobody can await it any more.
            warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)
        raise Interrupted(number)

    def again(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted(lost)

    def unraisable(what: _Unraisable) -> None:
        nonlocal lost
        if isinstance(what.exc_value, Interrupted):
            lost = what.exc_value.number
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(what)  # type: ignore[arg-type]  # a name that only the stubs have

    unheeded = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {one: signal.signal(one, stop) for one in numbers if one not in unheeded}
    alarm = signal.signal(signal.SIGALRM, again)
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        yield
    finally:
        pending, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, alarm)
        for number, handler in before.items():
            # No SIG_IGN: programs that are started meanwhile would inherit it.
            signal.signal(number, _ignored if once and _begun else handler)
    if pending:  # lost at the very end of the block
        raise Interrupted(lost)


def ending() -> bool:
    """Whether a signal has begun the end of this process."""
    return bool(_begun)


def _ignored(_number: int, _frame: FrameType | None) -> None:
    """The handler of a signal behind the end that one has begun."""


@contextmanager
def held_back() -> Iterator[None]:
    """What handlers of signals raise is raised when the block is left, and not inside it: for what
    must be done whole, and takes no time. Nothing is raised outside the main thread anyway.
    """
    with ExitStack() as all_of_them:
        if threading.current_thread() is threading.main_thread():
            for number in (*ENDING, signal.SIGALRM):
                all_of_them.enter_context(_held_back(number))
        yield


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    came, handler = False, signal.getsignal(number)

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True

    if not callable(handler):  # it is ignored, as by a child, or ends us at once
        yield
        return
    try:
        signal.signal(number, note)
        yield
    finally:
        signal.signal(number, handler)
        if came:  # whatever else the block has come to
            signal.raise_signal(number)
