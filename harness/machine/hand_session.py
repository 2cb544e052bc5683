"""A session with the guest binary on a machine that is not ours: nothing is booted.

What is lost there says nothing about a kernel: a line that is cut, somebody who reboots, or a
machine that hangs look alike. It is a failure then, never an outcome.
"""

from __future__ import annotations

from pathlib import Path

from harness.machine.cell import Cell
from harness.machine.hand import HandProcess, HandSpec
from harness.machine.qemu import MachineSpec
from harness.machine.session import Session

_NO_MACHINE = MachineSpec(
    qemu="", machine="", cpu="", smp=0, memory=0, console="", port_device="",
    image=Path(), initrd=Path(),
)  # fmt: skip


class HandSession(Session):
    """`boot` starts the binary, `observe` runs a scenario, as on a machine of our own."""

    def __init__(self, spec: HandSpec) -> None:
        super().__init__(_NO_MACHINE)
        self._hand = spec

    def _process(self) -> HandProcess:
        return HandProcess(self._hand, self.nonce)

    def _console_line(self, line: str) -> None:
        """Words on stderr are no kernel's: they are kept, and nothing is read from them."""
        if line:
            (self._cell.console if self.hello else self.boot_console).add(line)

    def _last_words(self) -> str:
        return next(reversed(self.boot_console.lines()), "")

    async def _look(self) -> dict[str, str]:
        return {"cpus": "unknown"}

    async def _follow(self, cell: Cell, limit: float, patience: float) -> str:
        lost = await super()._follow(cell, limit, patience)
        if lost == "gone":
            return f"{self._hand.where}: it ended meanwhile: {await self._ending()}"
        return f"{self._hand.where} does not answer" if lost else ""
