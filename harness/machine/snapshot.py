"""Snapshots: a machine as it was when its agent had said hello, to start from instead of a boot.

A snapshot is what QEMU migrates, so it holds the whole machine: memory, CPUs, devices. It is
taken before any scenario has run, and belongs to exactly one command line, kernel, initramfs
and QEMU. Where a machine cannot be restored the boot is made anew: a snapshot is never needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from harness.machine.qemu import MachineSpec, command

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

STATE = "state"  # the file of a snapshot in its folder

SAVE_LIMIT = 20.0  # seconds
RESTORE_LIMIT = 20.0  # seconds from the start of QEMU to the agent's hello: 100 times the usual
BANDWIDTH = 1 << 40  # bytes a second; QEMU's default is that of a network


class SnapshotError(Exception):
    """The machine could not be saved."""


class Snapshots(Protocol):
    """Where snapshots are kept, by the key of the machine. Nothing of this raises: what cannot be
    kept or found is not there.
    """

    def find(self, key: str) -> BinaryIO | None: ...

    def keep(self, key: str, fill: Callable[[Path], None], label: str) -> None: ...

    def refuse(self, key: str, why: str) -> None:
        """This machine cannot be restored: do not keep, nor find, a snapshot of it."""

    def refused(self, key: str) -> bool: ...


def snapshot_key(spec: MachineSpec) -> str:
    """What a snapshot depends on. Raises OSError for a kernel or initramfs that is not there."""
    parts = command(spec, "0" * 16)
    program = shutil.which(spec.qemu)
    for path in (Path(program) if program else None, spec.image, spec.initrd):
        if path is not None:
            stat = path.stat()
            parts.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


async def save(monitor: Callable[[], Awaitable[QMPClient]], fd: int) -> None:
    """Write a running machine into the file `fd`, and let it go on. Raises SnapshotError."""
    from qemu.qmp.error import QMPError  # with the client only

    try:
        async with asyncio.timeout(SAVE_LIMIT):
            client = await monitor()
            await client.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})
            client.send_fd_scm(fd)
            await client.execute("getfd", {"fdname": STATE})
            await client.execute("migrate", {"uri": f"fd:{STATE}"})
            status = await _ended(client)
            await client.execute("cont")  # migrated or not, it stays here
    except (QMPError, OSError, KeyError, TypeError) as error:  # TimeoutError is an OSError
        raise SnapshotError(f"{type(error).__name__}: {error}") from error
    if status != "completed":
        raise SnapshotError(f"QEMU says {status}")


async def _ended(client: QMPClient) -> str:
    while True:
        answer = await client.execute("query-migrate")
        status = str(answer["status"]) if isinstance(answer, dict) else "nothing"
        if status in ("completed", "failed", "cancelled"):
            return status
        await asyncio.sleep(0.005)
