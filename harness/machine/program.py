"""Somebody else's program on a booted machine: its streams, live, and how it ended."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from harness.interrupt import Interrupted
from harness.machine.cell import Cell, word_of
from harness.machine.console import FATAL
from harness.machine.port import Ended
from harness.machine.session import BOOTS, GRACE, Session

STREAMS = ("stdin", "stdout", "stderr")  # ports of the machine, in the order of their numbers
CHUNK = 16384  # bytes of stdin at a time
MOUNTS = 10.0  # seconds that init may take around the program, as it counts its own limit
_KILLING = 30.0  # seconds that the guest may take to kill what hangs, a fork bomb among it
_LEFT = 10.0  # seconds that it gives what the program has left behind: guest-progs/program.c
_REST = 10.0  # seconds without a byte, after the end, in which what was written must come
# Root may end the machine: then the kernel says so, and QEMU ends as it was asked to.
_REBOOT = re.compile(r"\breboot: (Restarting|Power|System halted)")

Sink = Callable[[bytes], None]


class Ending(Struct, frozen=True, kw_only=True):
    """How a program ended, as the guest tells it and as the console shows it."""

    ended: Ended | None  # None: nobody knows
    lost: str = ""  # why not, or why not all of its output is there
    kernel: str = ""  # what the kernel said of itself meanwhile: oops, panic, warn(...), reboot
    console: list[str] = []
    interrupted: int = 0  # number of the signal by which somebody ended us meanwhile
    passed: tuple[int, int] = (0, 0)  # bytes of stdout and stderr that came, and were handed on
    ms: int = 0  # as long as it ran, or until it was lost


class ProgramSession(Session):
    """A session on a machine that has STREAMS as ports."""

    def execute(
        self,
        stdout: Sink,
        stderr: Sink,
        stdin: int | None,
        limit: float,
        *,
        huge_pages: int = 0,
        user: tuple[int, int] = (0, 0),
        cores: bool = True,
    ) -> Ending:
        """Run what the initramfs says in /.faultline and follow it to its end.

        `stdin` is a descriptor to read from; None is an empty stdin. `limit` is in seconds.
        What a sink raises comes through. After an oops or a panic a program that says nothing is
        waited for as long as its own end may take, and no longer. Interrupted is not raised: it
        is an ending, of which the kernel's words until then are known.
        """
        assert self._qemu is not None
        sinks = {"stdout": stdout, "stderr": stderr}
        command = f"exec {max(int(limit), 1)} {huge_pages} {user[0]} {user[1]} {int(cores)}\n"
        _feed(stdin, self._qemu.streams["stdin"])
        counts, began = dict.fromkeys(sinks, 0), time.monotonic()
        try:
            ending = self._runner.run(self._execute(command, sinks, counts, limit))
        except Interrupted as stop:
            self._drain()
            ending = replace(self._heard(f"interrupted: {stop}"), interrupted=stop.number)
        ms = ending.ended.ms if ending.ended else int((time.monotonic() - began) * 1000)
        return replace(ending, passed=(counts["stdout"], counts["stderr"]), ms=ms)

    async def _execute(
        self, command: str, sinks: dict[str, Sink], counts: dict[str, int], limit: float
    ) -> Ending:
        """`counts` has what each sink was given: known also where this is interrupted."""
        assert self._qemu is not None
        loop = asyncio.get_running_loop()
        self._cell = cell = Cell("", begun=True)
        trouble = list[BaseException]()
        latest = time.monotonic()

        def ready(name: str, port: socket.socket) -> None:
            nonlocal latest
            try:
                data = port.recv(1 << 16)
                counts[name] += len(data)
                if not data:
                    loop.remove_reader(port)
                sinks[name](data)
                latest = time.monotonic()  # only now: whoever reads what we write may be slow
            except BlockingIOError:
                return
            except BaseException as error:
                loop.remove_reader(port)
                trouble.append(error)
            self._changed.set()

        for name in sinks:
            port = self._qemu.streams[name]
            port.setblocking(False)
            loop.add_reader(port, ready, name, port)
        self._send(command)
        grace = max(GRACE, BOOTS * self.boot_seconds)
        deadline = last = latest + limit + MOUNTS + _KILLING + grace
        lost, fatal, end = "", 0.0, 0.0  # when an oops or a panic was heard of, and its end
        while not lost and not self._complete(counts):
            if trouble:
                raise trouble[0]
            if self._ended is not None:
                end = end or time.monotonic()
                deadline = max(latest, end) + _REST
            elif self._said() in FATAL:
                fatal = fatal or time.monotonic()
                deadline = min(last, max(latest, fatal) + _LEFT + grace)
            lost = (
                f"agent: {cell.error}"
                if cell.error
                else ("the machine ended" if self._gone else "")
            )
            if not lost and not await self._wait(deadline) and time.monotonic() >= deadline:
                silent = "it did not end" if fatal else "the machine is silent"
                lost = "not all of its output came" if self._ended else silent
        if trouble:
            raise trouble[0]
        self._drain()
        if self._gone and not self._complete(counts):
            lost = f"{lost} (QEMU: {(await self._ending()).removeprefix('QEMU ')})"
        return self._heard(lost)

    def _heard(self, lost: str) -> Ending:
        kernel, console = self._said(), [*self._late_console.lines(), *self._cell.console.lines()]
        if not kernel and self._gone and any(map(_REBOOT.search, console)):
            kernel = "reboot"
        return Ending(ended=self._ended, lost=lost, kernel=kernel, console=console)

    def _said(self) -> str:
        """The worst that the kernel has said of itself so far."""
        return word_of([*self._late, *self._cell.signs])

    def _complete(self, counts: dict[str, int]) -> bool:
        end = self._ended
        return end is not None and (counts["stdout"], counts["stderr"]) == (end.out, end.err)


def _feed(source: int | None, port: socket.socket) -> None:
    """Hand everything from `source` on, in chunks as guest-progs/program.c reads them."""

    def run() -> None:
        with suppress(OSError):  # nothing to read from, or the machine is gone
            while source is not None and (data := os.read(source, CHUNK)):
                port.sendall(struct.pack(">I", len(data)) + data)
        with suppress(OSError):
            port.sendall(struct.pack(">I", 0))

    # A daemon: nobody waits for a person at a terminal who has no more to type.
    threading.Thread(target=run, daemon=True, name="stdin").start()
