"""Machines that start from a snapshot, and what becomes of one that does not load."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace
from stand_in import spec

from harness.machine import session as session_module
from harness.machine import snapshot as snapshot_module
from harness.machine.qemu import MachineSpec
from harness.machine.session import Session

pytestmark = pytest.mark.usefixtures("short_limits")


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


def test_a_machine_whose_timers_do_not_survive_is_refused_and_boots(tmp_path: Path) -> None:
    kept = Kept(tmp_path, b"a machine")
    found, started = replace(snapshot_spec(tmp_path), machine="no-timer"), time.monotonic()
    with Session(found, snapshots=kept) as machine:
        assert not machine.restored
        assert machine.observe("hole/read").outcome == "ok"
    assert kept.refusal == "the guest says: no timer fires"
    assert time.monotonic() - started < snapshot_module.RESTORE_LIMIT / 2  # it is not waited for


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
        assert machine._monitor is not None
        machine._monitor._client = Client()  # type: ignore[assignment]
        raise snapshot_module.SnapshotError("QEMU says failed")

    monkeypatch.setattr(session_module, "save", fail)
    with machine:
        assert left == [""]  # it still ran
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
