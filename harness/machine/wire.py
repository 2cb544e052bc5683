"""What a machine says, as it comes: console and results port, put together to cells."""

from __future__ import annotations

import asyncio
import re
import secrets
import time

from harness.machine.cell import Cell
from harness.machine.console import FATAL, Excerpt, LineReader, Sign, classify
from harness.machine.hand import HandProcess
from harness.machine.port import (
    AgentError,
    Begin,
    End,
    Ended,
    FrameReader,
    Hello,
    Late,
    Message,
    Plan,
    Refused,
)
from harness.machine.qemu import QemuProcess

_TOLD_TO_END = re.compile(r"qemu-system-\S{1,40}: terminating on signal \d+")
DRAINING = 2.0  # seconds that what the console has may take
MAX_SIGNS = 100  # kept of one scenario, besides those that end it


class Wire:
    """Both ends of a machine that its session listens to, in the session's event loop."""

    def __init__(self) -> None:
        self.nonce = secrets.token_hex(8)
        self.hello: Hello | None = None
        self.boot_console = Excerpt()
        self._qemu: QemuProcess | HandProcess | None = None
        self._lines, self._frames = LineReader(), FrameReader(self.nonce)
        self._cell = Cell("")
        self._ended: Ended | None = None
        # Said between two scenarios: about the one before.
        self._late: list[Sign] = []
        self._late_console = Excerpt()
        self._told_to_end = False  # by QEMU itself: that its process got a signal
        self._gone = False  # console or port at end of file: QEMU is about to exit
        self._last_byte = 0.0

    def _listen(self) -> None:
        assert self._qemu is not None
        loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._last_byte = time.monotonic()
        self._qemu.port.setblocking(False)
        loop.add_reader(self._qemu.console_fd, self._console_ready)
        loop.add_reader(self._qemu.port.fileno(), self._port_ready)

    def _hang_up(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        self._gone = True
        self._changed.set()

    def _console_ready(self) -> None:
        assert self._qemu is not None
        data = self._qemu.read_console()
        if data is None:
            self._hang_up(self._qemu.console_fd)
            self._console_line(self._lines.rest())
        self._last_byte = time.monotonic()
        for line in self._lines.feed(data or b""):
            self._console_line(line)

    def _drain(self) -> None:
        """Read what the console has now. A byte was written before a frame that came after it."""
        assert self._qemu is not None
        deadline = time.monotonic() + DRAINING  # it may be flooded
        while (data := self._qemu.read_console()) and time.monotonic() < deadline:
            for line in self._lines.feed(data):
                self._console_line(line)

    def _console_line(self, line: str) -> None:
        if not line:
            return
        self._told_to_end |= bool(_TOLD_TO_END.match(line))
        cell, sign = self._cell, classify(line, self.nonce)
        if sign is not None and sign.kind == "begin":
            cell.begun |= sign.name == cell.name
            return
        if not self.hello:
            signs, console = cell.signs, self.boot_console
        elif cell.begun:
            signs, console = cell.signs, cell.console
        else:
            signs, console = self._late, self._late_console
        console.add(line, sign is not None and sign.kind in FATAL)
        if sign is None:
            return
        if sign not in signs and (len(signs) < MAX_SIGNS or sign.kind in FATAL):
            signs.append(sign)
        self._changed.set()

    def _port_ready(self) -> None:
        assert self._qemu is not None
        try:
            data = self._qemu.port.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(self._qemu.port.fileno())
        for message in self._frames.feed(data):
            self._message(message)
            self._changed.set()

    def _message(self, message: Message) -> None:
        cell = self._cell
        if isinstance(message, Hello):
            self.hello = self.hello or message
        elif isinstance(message, AgentError):
            cell.error = message.e[:300]
        elif isinstance(message, Ended):
            self._ended = self._ended or message
        elif isinstance(message, Plan | Begin | Refused):
            return  # of a log
        elif message.s != cell.name:
            return  # late words of a scenario that was given up
        elif isinstance(message, End):
            cell.end = cell.end or message
        elif isinstance(message, Late):
            cell.late = True
        else:
            cell.text = message.o
            cell.progress += 1

    async def _wait(self, deadline: float) -> bool:
        """Wait for news; False: the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            async with asyncio.timeout(left):  # no task besides, as wait_for() of Python 3.11 makes
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def _send(self, line: str) -> None:
        assert self._qemu is not None
        try:
            self._qemu.port.send(line.encode())
        except OSError:
            self._gone = True
