"""The session against a stand-in for QEMU that misbehaves in every way we know of."""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from stand_in import observe, spec

from harness.machine import session
from harness.machine.port import FrameReader, Message
from harness.machine.session import Session

pytestmark = pytest.mark.usefixtures("short_limits")


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
        ("taint", "A: ok | kernel: warn(taint-0x200)", False),
        ("no-mark", "A: ok | kernel: warn(fixup)", False),
        ("warn", "A: ok | kernel: warn(handle_mm_fault)", False),
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
        ("told", "QEMU ended during the scenario: exit status 0, which somebody told it to", False),
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


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes came by the results port, read by read."""
    read: list[int] = []
    feed = FrameReader.feed

    def counted(reader: FrameReader, data: bytes) -> Iterator[Message]:
        read.append(len(data))
        return feed(reader, data)

    monkeypatch.setattr(FrameReader, "feed", counted)
    return read


def test_a_gib_on_the_results_port_is_read_and_neither_kept_nor_believed(
    fed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "GRACE", 50.0)  # a busy machine takes long for that
    with Session(spec("port-flood")) as machine:
        started = time.monotonic()
        with most_resident() as memory:
            seen = machine.observe("hole/read")
    assert seen.outcome == "ok" or "damaged" in seen.failure
    assert not seen.alive
    assert sum(fed) > 1 << 30
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


def test_two_scenarios_on_one_boot() -> None:
    with Session(spec("good")) as machine:
        assert machine.observe("hole/read").details == {"k": "v"}
        assert machine.observe("hole/write").outcome == "ok"


def test_a_task_that_an_interruption_kept_from_being_is_not_complained_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its words would stand behind what is told of the end. Everything else is heard."""

    def complain() -> list[str]:
        caplog.clear()
        with closing(Session(spec("good"))) as one:
            one._runner.get_loop().call_exception_handler({"message": "destroyed, but pending"})
        return caplog.messages

    assert complain() == ["destroyed, but pending"]
    monkeypatch.setattr("harness.interrupt._begun", [signal.SIGTERM])
    assert complain() == []
