"""The session against a stand-in for QEMU that misbehaves in every way we know of."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from stand_in import FAKE, spec

from harness.machine import QemuError
from harness.machine import qemu as qemu_module
from harness.machine import session as session_module
from harness.machine import snapshot as snapshot_module
from harness.machine.qemu import MachineSpec, QemuProcess, command, resource_limits
from harness.machine.session import BootError, Session


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits of an idle machine are seconds; a stand-in answers at once."""
    monkeypatch.setattr(session_module, "MIN_LIMIT", 0.2)
    monkeypatch.setattr(session_module, "SAMPLING", 0.0)
    monkeypatch.setattr(session_module, "MIN_KILL", 0.1)
    monkeypatch.setattr(session_module, "GRACE", 3.0)  # a busy machine is slow to start Python
    monkeypatch.setattr(session_module, "LOOK_LIMIT", 0.5)
    yield


def observe(play: str) -> tuple[str, str, bool]:
    with Session(spec(play)) as machine:
        seen = machine.observe("hole/read")
    return seen.outcome, seen.failure, seen.alive


@pytest.mark.parametrize(
    ("play", "outcome", "alive"),
    [
        ("good", "ok", True),
        ("torn", "EFAULT", True),
        ("garbage", "ok", False),
        ("flood", "ok", True),
        ("step-oops", "madvise=ok; load=oops", False),
        ("late-oops", "A: ok | kernel: oops", False),
        ("panic", "load=panic", False),
        ("setup-oops", "oops", False),
        ("reset", "load=lost", False),
        ("taint", "A: ok | kernel: warn(taint-0x200)", True),
        ("no-mark", "A: ok | kernel: warn(fixup)", True),
        ("warn", "A: ok | kernel: warn(handle_mm_fault)", True),
    ],
)
def test_outcome(play: str, outcome: str, alive: bool) -> None:
    assert observe(play) == (outcome, "", alive)


@pytest.mark.parametrize(
    ("play", "failure", "alive"),
    [
        ("die", "QEMU ended during the scenario: exit status 3", False),
        ("killed", "QEMU ended during the scenario: killed by SIGKILL", False),
        ("setup", "set-up failed: mmap 12", True),
        ("lost-end", "no end frame, and 1 damaged ones: it may have been among them", False),
        ("agent-error", "agent: no such scenario", True),
        ("no-outcome", "the guest sent no outcome: ", True),
    ],
)
def test_failure_is_never_an_outcome(play: str, failure: str, alive: bool) -> None:
    outcome, why, lives = observe(play)
    assert (outcome, lives) == ("", alive)
    assert why.startswith(failure)


def test_a_machine_that_answers_no_more_is_silent_not_a_hang_of_a_task() -> None:
    assert observe("silent") == ("load=silent", "", False)


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
    monkeypatch.setattr(session_module, "STARVED_MOST", 3)
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
    monkeypatch.setattr(session_module, "STARVED_MOST", 2)
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


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def most_resident() -> Iterator[list[int]]:
    """What `resident` was inside the block, each 10 ms."""
    seen, over = [resident()], threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            seen.append(resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_gib_on_the_results_port_is_neither_kept_nor_believed() -> None:
    with Session(spec("port-flood")) as machine:
        started = time.monotonic()
        with most_resident() as memory:
            seen = machine.observe("hole/read")
    assert seen.outcome == "ok" or "damaged" in seen.failure
    assert not seen.alive
    assert len(memory) > 3 and max(memory) - memory[0] < 64 << 20
    assert time.monotonic() - started < 60


def test_what_a_flood_is_measured_with_sees_memory() -> None:
    with most_resident() as memory:
        kept = bytes(range(256)) * (1 << 20)
        time.sleep(0.1)
    assert max(memory) - memory[0] > len(kept) // 2


def test_no_frame_brings_control_characters() -> None:
    with Session(spec("escapes")) as machine:
        seen = machine.observe("hole/read")
    assert (seen.outcome, seen.alive) == ("ok", False)
    assert seen.details == {"k": "v", "damaged_frames": "1"}


def test_damaged_frames_are_counted_and_the_flood_is_cut() -> None:
    with Session(spec("garbage")) as machine:
        assert int(machine.observe("hole/read").details["damaged_frames"]) >= 4
    with Session(spec("flood")) as machine:
        seen = machine.observe("hole/read")
    assert len(seen.console) <= 121
    assert max(map(len, seen.console)) <= 300
    assert any("lines left out" in line for line in seen.console)


def test_what_comes_after_the_end_is_told_once_and_apart() -> None:
    with Session(spec("after-end")) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        deadline = time.monotonic() + 5
        while not (word := machine.late()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert word == "oops"
        assert machine.late() == ""


@pytest.mark.parametrize(
    ("play", "overdue", "alive"),
    [("before-mark", "warn(zap)", True), ("panic-before-mark", "panic", False)],
)
def test_what_comes_ahead_of_a_mark_is_about_the_scenario_before(
    play: str, overdue: str, alive: bool
) -> None:
    with Session(spec(play)) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        assert machine.late() == ""
        seen = machine.observe("hole/write")
        assert (machine.overdue, seen.alive) == (overdue, alive)
        assert "kernel" not in seen.outcome and "panic" not in seen.outcome
        assert machine.late() == ""


def test_what_comes_ahead_of_the_first_mark_is_about_the_first_scenario() -> None:
    with Session(spec("before-mark")) as machine:
        assert machine.observe("hole/write").outcome == "A: ok | kernel: warn(zap)"
        assert machine.overdue == ""


def test_late_words_are_waited_for() -> None:
    with Session(spec("after-end")) as machine:
        assert machine.observe("hole/read").outcome == "ok"
        assert machine.late(30.0) == "oops"


def test_two_scenarios_on_one_boot() -> None:
    with Session(spec("good")) as machine:
        assert machine.observe("hole/read").details == {"k": "v"}
        assert machine.observe("hole/write").outcome == "ok"


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
    assert len(caught.value.console) <= 121


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


class Kept:
    """Snapshots in a folder, with a word for what happened."""

    def __init__(self, folder: Path, content: bytes | None = None) -> None:
        self.path = folder / "state"
        self.refusal = ""
        if content is not None:
            self.path.write_bytes(content)

    def find(self, key: str) -> BinaryIO | None:
        return open(self.path, "rb") if self.path.exists() and not self.refusal else None

    def keep(self, key: str, fill: Callable[[Path], None], label: str) -> None:
        fill(self.path.parent)

    def refuse(self, key: str, why: str) -> None:
        self.refusal = why

    def refused(self, key: str) -> bool:
        return bool(self.refusal)


def snapshot_spec(folder: Path) -> MachineSpec:
    for name in ("vmlinux", "initrd"):
        (folder / name).touch()
    found = replace(spec("good"), image=folder / "vmlinux", initrd=folder / "initrd")
    return replace(found, snapshot=True)


def test_a_machine_starts_from_its_snapshot(tmp_path: Path) -> None:
    kept = Kept(tmp_path, b"a machine")
    with Session(snapshot_spec(tmp_path), snapshots=kept) as machine:
        assert machine.restored
        assert machine.observe("hole/read").outcome == "ok"
    assert kept.refusal == ""


def test_a_snapshot_that_does_not_load_is_refused_and_the_machine_boots(tmp_path: Path) -> None:
    kept = Kept(tmp_path, b"half a mach")
    with Session(snapshot_spec(tmp_path), snapshots=kept) as machine:
        assert not machine.restored
        assert machine.observe("hole/read").outcome == "ok"
    assert "load of migration failed" in kept.refusal or "exit status 1" in kept.refusal


def test_a_machine_that_somebody_kills_as_it_is_restored_is_restored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def saved(monitor: object, fd: int) -> None:
        os.write(fd, b"a machine")

    monkeypatch.setattr(session_module, "save", saved)
    kept = Kept(tmp_path, b"a machine")
    with Session(
        replace(snapshot_spec(tmp_path), machine="killed-restoring"), snapshots=kept
    ) as machine:
        assert not machine.restored
        assert machine.observe("hole/read").outcome == "ok"
    assert kept.refusal == ""


def test_a_machine_that_cannot_be_saved_is_booted_again_and_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "SAVE_LIMIT", 0.2)  # the stand-in has no monitor
    kept = Kept(tmp_path)
    for _ in range(2):
        with Session(snapshot_spec(tmp_path), snapshots=kept) as machine:
            assert not machine.restored
            assert machine.observe("hole/read").outcome == "ok"
        assert kept.refusal
    assert not kept.path.exists()


def test_a_monitor_is_let_go_before_its_machine_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []

    machine = Session(snapshot_spec(tmp_path), snapshots=Kept(tmp_path))

    class Client:
        async def disconnect(self) -> None:
            assert machine._qemu is not None
            left.append(machine._qemu.status())
            raise EOFError  # it is no matter

    async def fail(monitor: object, fd: int) -> None:
        machine._monitor = Client()  # type: ignore[assignment]
        raise snapshot_module.SnapshotError("QEMU says failed")

    monkeypatch.setattr(session_module, "save", fail)
    with machine:
        assert left == [""]  # it still ran
        assert machine._monitor is None
        assert machine.observe("hole/read").outcome == "ok"


def test_a_kernel_that_is_not_there_is_a_matter_of_the_boot(tmp_path: Path) -> None:
    """And not of its snapshot."""
    found = snapshot_spec(tmp_path)
    found.image.unlink()
    with Session(found, snapshots=Kept(tmp_path)) as machine:  # the stand-in needs none
        assert not machine.restored


def test_under_another_accelerator_snapshots_are_left_alone(tmp_path: Path) -> None:
    kept = Kept(tmp_path, b"a machine")
    with Session(replace(snapshot_spec(tmp_path), accel="kvm"), snapshots=kept) as machine:
        assert not machine.restored


def test_a_snapshot_belongs_to_one_kernel_and_one_command_line(tmp_path: Path) -> None:
    one = snapshot_spec(tmp_path)
    key = snapshot_module.snapshot_key(one)
    assert key == snapshot_module.snapshot_key(replace(one))
    assert key != snapshot_module.snapshot_key(replace(one, memory=256))
    one.image.write_bytes(b"another")
    assert key != snapshot_module.snapshot_key(one)


def test_a_machine_may_take_no_more_than_we_may(monkeypatch: pytest.MonkeyPatch) -> None:
    free = resource_limits(128)
    assert free[resource.RLIMIT_AS] >= 128 << 20
    assert resource_limits(None) == {k: v for k, v in free.items() if k != resource.RLIMIT_AS}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (8, 16))
    assert set(resource_limits(128).values()) == {0, 16}
