"""The machine that stands in for QEMU: tests/unit/fake_qemu.py."""

from __future__ import annotations

from pathlib import Path

from harness.machine.qemu import MachineSpec
from harness.machine.session import Session

FAKE = Path(__file__).with_name("fake_qemu.py")


def spec(play: str = "good", qemu: str = str(FAKE)) -> MachineSpec:
    """A machine whose guest does what `play` names."""
    return MachineSpec(
        qemu=qemu,
        machine=play,
        cpu="",
        smp=1,
        memory=64,
        console="ttyS0",
        port_device="virtio-serial-device",
        image=Path("vmlinux"),
        initrd=Path("initrd"),
        package="qemu-system-fake",
    )


def observe(play: str) -> tuple[str, str, bool]:
    """(outcome, failure, whether the machine is alive) of one scenario."""
    with Session(spec(play)) as machine:
        seen = machine.observe("hole/read")
    return seen.outcome, seen.failure, seen.alive
