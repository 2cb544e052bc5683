"""From the start of QEMU to its end: boots that fail, processes, their limits."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest
from stand_in import FAKE, spec

from harness.machine import QemuError
from harness.machine import qemu as qemu_module
from harness.machine import session as session_module
from harness.machine.console import HEADLINES
from harness.machine.qemu import QemuProcess, command, resource_limits
from harness.machine.session import BootError, Session

pytestmark = pytest.mark.usefixtures("short_limits")


@pytest.mark.parametrize(
    ("play", "text"),
    [
        ("boot-panic", "Kernel panic - not syncing: VFS"),
        ("boot-silent", "no hello from the guest"),
        ("boot-exit", "exit status 1"),
        ("boot-protocol", "protocol 9"),
        ("dies-at-once", "the machine ended: fake_qemu.py: no such firmware"),
    ],
)
def test_boot_error_says_why(play: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if play == "boot-silent":
        monkeypatch.setattr(session_module, "BOOT_SILENCE", 2.0)
    with pytest.raises(BootError, match=text) as caught, Session(spec(play)):
        pass
    assert caught.value.console or play == "boot-protocol"
    assert caught.value.command[0] == str(FAKE)


def test_a_boot_that_floods_the_console_ends_in_time_and_little_is_kept() -> None:
    session, started = Session(spec("boot-flood"), boot_limit=3.0), time.monotonic()
    with pytest.raises(BootError, match="no hello from the guest after") as caught:
        session.boot()
    session.close()
    assert time.monotonic() - started < 30
    assert len(caught.value.console) <= 121 + HEADLINES


def test_missing_qemu_names_the_package() -> None:
    with pytest.raises(QemuError, match="apt-get install qemu-system-fake"):
        Session(spec("good", qemu="qemu-system-none")).boot()


def test_no_process_left_behind() -> None:
    machine = Session(spec("silent"))
    machine.boot()
    assert machine._qemu is not None
    pid = machine._qemu.pid
    machine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("play", ["stays", "goes-dark"])
def test_what_sigkill_does_not_end_is_not_waited_for_without_end(
    play: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken /dev/kvm can hold QEMU in the kernel, also after its console has ended."""
    monkeypatch.setattr(session_module, "GRACE", 0.1)
    monkeypatch.setattr(session_module, "BOOTS", 0)
    monkeypatch.setattr(session_module, "ENDING", 0.1)
    monkeypatch.setattr(qemu_module, "KILL_LIMIT", 300)
    kill, sent = os.kill, list[int]()
    machine = Session(spec(play))
    machine.boot()
    assert machine._qemu is not None
    pid = machine._qemu.pid
    with monkeypatch.context() as deaf:
        deaf.setattr(os, "kill", lambda pid, number: sent.append(number))
        started = time.monotonic()
        assert not machine.observe("hole/read").alive
        machine.close()
        assert time.monotonic() - started < 20  # it stays for 60
    assert signal.SIGKILL in sent
    kill(pid, signal.SIGKILL)  # it was alive all the time
    os.waitpid(pid, 0)


def test_child_dies_with_its_parent() -> None:
    """SIGKILL of the harness leaves no QEMU: the kernel sends the signal, not we."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        qemu = QemuProcess(spec("good"), "ab")
        os.write(write, str(qemu.pid).encode())
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    child = int(os.read(read, 20))
    deadline = 200
    while deadline and Path(f"/proc/{child}/stat").exists():
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # an orphan that nobody reaps here, but dead
        deadline -= 1
        time.sleep(0.01)
    assert deadline, "the stand-in outlived its parent"


def test_command_can_be_pasted() -> None:
    argv = command(spec("virt"), "ab12")
    assert "null,id=port" in argv
    assert argv[argv.index("-append") + 1].endswith("faultline.nonce=ab12")


def test_a_machine_may_take_no_more_than_we_may(monkeypatch: pytest.MonkeyPatch) -> None:
    free = resource_limits(128)
    assert free[resource.RLIMIT_AS] >= 128 << 20
    assert resource_limits(None) == {k: v for k, v in free.items() if k != resource.RLIMIT_AS}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (8, 16))
    assert set(resource_limits(128).values()) == {0, 16}
