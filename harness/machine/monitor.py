"""QEMU's monitor (QMP), connected at its first use: most machines need none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.machine.qemu import QemuProcess

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

LIMIT = 10.0  # seconds for QMP to answer


class Monitor:
    """The monitor of one QEMU, in the event loop of its session."""

    def __init__(self, qemu: QemuProcess) -> None:
        self._qemu = qemu
        self._client: QMPClient | None = None

    async def client(self) -> QMPClient:
        """Connected. Raises QMPError, OSError."""
        from qemu.qmp import QMPClient

        if self._client is None:
            client = QMPClient("faultline")
            await client.connect(self._qemu.qmp)
            self._client = client
        return self._client

    async def leave(self) -> None:
        """Let it go while QEMU is there: it would complain of one that has gone."""
        from qemu.qmp.error import QMPError

        client, self._client = self._client, None
        if client is not None:
            with suppress(QMPError, OSError, EOFError):
                async with asyncio.timeout(LIMIT):
                    await client.disconnect()

    async def look(self) -> dict[str, str]:
        """Whether the CPUs run, and where they are."""
        from qemu.qmp.error import QMPError

        try:
            async with asyncio.timeout(LIMIT):
                client = await self.client()
                cpus: Any = await client.execute("query-cpus-fast")
                threads = [int(cpu["thread-id"]) for cpu in cpus]
                before = self._qemu.busy_ticks(threads)
                await asyncio.sleep(0.5)
                ticks = self._qemu.busy_ticks(threads) - before
                registers = await client.execute(
                    "human-monitor-command", {"command-line": "info registers -a"}
                )
        except (QMPError, OSError, KeyError, TypeError, ValueError) as error:
            return {"cpus": "unknown", "qmp": f"{type(error).__name__}: {error}"[:300]}
        # 0.5 s are about 50 ticks: a CPU that halts takes next to none of them.
        return {"cpus": "running" if ticks >= 10 else "halted", "registers": str(registers)[:8000]}
