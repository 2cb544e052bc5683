"""A signal that asks to end is heeded wherever the interpreter was when it came."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.interrupt import Interrupted, interrupting

ROOT = Path(__file__).parents[2]
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


def in_a_callback_of_asyncio() -> None:
    async def wait() -> None:
        asyncio.get_running_loop().call_soon(terminate)
        await asyncio.sleep(0.2)

    asyncio.run(wait())


def as_ever() -> None:
    terminate()


@pytest.mark.parametrize(
    "where",
    [
        in_a_finalizer,
        in_a_callback,
        in_the_collector,
        in_a_hook_of_fork,
        in_a_callback_of_asyncio,
        as_ever,
    ],
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


def test_what_was_lost_at_the_end_of_a_block_is_raised_there() -> None:
    with pytest.raises(Interrupted), interrupting(signal.SIGTERM):
        with interrupting(*SIGNALS):
            in_a_finalizer()
        pytest.fail("the inner block took it along")


def test_one_that_has_begun_an_end_is_the_last() -> None:
    ended = []
    with pytest.raises(Interrupted), interrupting(signal.SIGTERM, once=True):
        try:
            terminate()
        finally:
            terminate()
            ended.append("in peace")
    assert ended == ["in peace"]


def test_nothing_disturbs_the_end_that_one_has_begun_not_even_behind_the_blocks() -> None:
    script = """
import os, signal
from harness.interrupt import Interrupted, interrupting
with interrupting(signal.SIGINT, signal.SIGTERM, once=True):
    try:
        with interrupting(signal.SIGINT, signal.SIGTERM, once=True):
            os.kill(os.getpid(), signal.SIGINT)
    except Interrupted as stop:
        code = stop.exit_code
    os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(code)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")


def test_two_that_come_together_are_one_end() -> None:
    """Also where it is not heeded until something is done that must be done whole."""
    script = """
import os, signal
from harness.interrupt import held_back, interrupting
both = (signal.SIGINT, signal.SIGTERM)
with interrupting(*both, once=True):
    try:
        with held_back():
            signal.pthread_sigmask(signal.SIG_BLOCK, both)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        with interrupting(*both, once=True):
            os.kill(os.getpid(), signal.SIGTERM)
        print("in peace", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.returncode in (130, 143)
    assert (done.stdout, done.stderr) == (b"in peace\n", b"")


def test_what_was_to_be_awaited_is_no_warning() -> None:
    script = """
import asyncio, os, signal
from harness.interrupt import interrupting
async def wait():
    pass
def interrupted(_):
    os.kill(os.getpid(), signal.SIGTERM)
async def main():
    await asyncio.wait_for(wait(), timeout=interrupted(None))
with interrupting(signal.SIGTERM, once=True):
    asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (143, b"")


def test_before_the_command_line_is_read_there_is_no_traceback() -> None:
    script = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
import harness.__main__
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_a_hangup_that_was_ignored_stays_so() -> None:
    script = """
import os, signal
from harness.interrupt import ENDING, interrupting
with interrupting(*ENDING):
    os.kill(os.getpid(), signal.SIGHUP)
"""
    argv = ["nohup", sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, b"")


def test_to_a_terminal_that_was_closed_nothing_is_told(tmp_path: Path) -> None:
    """Writing to it would fail, and be taken for another reason to end."""
    script = """
import fcntl, sys, termios, time
from pathlib import Path
from harness.interrupt import ENDING, Interrupted, interrupting
fcntl.ioctl(0, termios.TIOCSCTTY)
try:
    with interrupting(*ENDING):
        print("ready", flush=True)
        time.sleep(20)
except Interrupted as stop:
    print("interrupted", flush=True)
    print("interrupted", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text("to its end")
    sys.exit(stop.exit_code)
"""
    ours, theirs = os.openpty()
    done = tmp_path / "done"
    with subprocess.Popen(
        [sys.executable, "-c", script, done],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        with open(ours, "rb") as terminal:
            assert terminal.readline() == b"ready\r\n"
        assert process.wait(20) == 128 + signal.SIGHUP
    assert done.read_text() == "to its end"


def test_its_exit_code_is_that_of_a_shell() -> None:
    script = """
import os, signal
from harness.interrupt import interrupting
with interrupting(signal.SIGTERM):
    os.kill(os.getpid(), signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 143
