"""A booted machine that runs one scenario after the other: `Session.observe`.

One event loop waits on the console, the results port, the exit of QEMU and a deadline. All
limits follow from what this boot showed (how long it took, how long an empty scenario
takes); only the limits of the boot itself are constants, for nothing is measured before it.
A limit of a scenario counts the time that the machine was given: see `starved`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

from harness.interrupt import ending, held_back
from harness.machine.cell import Cell, Words, compose, lost_word, word_of
from harness.machine.console import Excerpt, LineReader, Sign, fatal
from harness.machine.hand import HandProcess
from harness.machine.monitor import Monitor
from harness.machine.port import (
    PROTOCOL,
    End,
    FrameReader,
    Hello,
)
from harness.machine.qemu import MachineSpec, QemuProcess
from harness.machine.snapshot import (
    RESTORE_LIMIT,
    STATE,
    SnapshotError,
    Snapshots,
    save,
    snapshot_key,
)
from harness.machine.starved import Starved
from harness.machine.wire import Wire
from harness.results import Observation

BOOT_SILENCE = 45.0  # seconds without a byte on the console before the boot is given up
BOOT_LIMIT = 180.0  # seconds for the whole boot: 60 times the slowest on an idle machine
MIN_LIMIT = 1.0  # seconds without progress in a scenario before its tasks are looked at
CALIBRATIONS = 40  # that limit, in empty scenarios
SAMPLING = 0.5  # seconds the agent takes to look at a hang; then it waits for SIGKILL to work
MIN_KILL = 1.0  # seconds, or as long as the limit: guest-protocol.md
BOOTS = 3  # grace for a slow host, in boots
GRACE = 2.0  # seconds: least grace, and what an answer that is on its way is given
ENDING = 10.0  # seconds that QEMU gets to end once its console or port has
AT_ONCE = 0.2  # seconds in which nearly all scenarios end: nothing is asked about them
MAX_STEPS = 10  # progress extends the deadline so often at most


class BootError(Exception):
    """A machine did not come up: what it said last is in `console`."""

    def __init__(self, message: str, console: list[str], command: list[str]) -> None:
        super().__init__(message)
        self.console = console
        self.command = command


def _unless_ending(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a loop complains of, but not of a task that was being made when Interrupted came."""
    if not ending():
        loop.default_exception_handler(context)


class Session(Wire):
    """A machine from boot to power-off. Use as a context manager; not thread-safe.

    `boot` raises BootError or QemuError. `observe` never raises for what a guest does.
    """

    def __init__(
        self,
        spec: MachineSpec,
        boot_limit: float = BOOT_LIMIT,
        snapshots: Snapshots | None = None,
    ) -> None:
        """With `snapshots` the machine starts from one if there is one, else leaves one there."""
        super().__init__()
        self.spec = spec
        self._boot_limit = boot_limit
        self._snapshots = snapshots if spec.snapshot and spec.accel == "tcg" else None
        self.restored = False  # from a snapshot
        self.boot_seconds = 0.0
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_exception_handler(_unless_ending)
        self._monitor: Monitor | None = None
        self.boot_word = ""  # the worst that the kernel said on its way up, in the outcome grammar
        self.overdue = Words()  # as `late`, but after that was asked and before the last one began

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def command(self) -> list[str]:
        return self._qemu.argv if self._qemu else []

    def boot(self) -> Hello:
        """Start QEMU, from a snapshot if there is one, and wait for the agent's hello."""
        started = time.monotonic()
        try:
            key = snapshot_key(self.spec) if self._snapshots else ""
        except OSError:  # the boot will tell what is missing
            key, self._snapshots = "", None
        kept = self._snapshots.find(key) if self._snapshots else None
        self.restored = kept is not None and self._restore(key, kept)
        if not self.restored:
            self._boot_anew(key)
        assert self.hello is not None
        self.boot_seconds = time.monotonic() - started
        return self.hello

    def _restore(self, key: str, kept: BinaryIO) -> bool:
        """Whether the snapshot brought the machine up; if not, it is not tried again."""
        assert self._snapshots is not None
        with kept as state:
            self._attach(lambda: QemuProcess(self.spec, self.nonce, state.fileno()))
        try:
            self._runner.run(self._boot(RESTORE_LIMIT, f"hello {self.nonce}\n"))
        except BootError as error:
            self._refuse(key, str(error))
            self._discard()
            return False
        return True

    def _boot_anew(self, key: str) -> None:
        """Boot; where snapshots are kept, leave one of the machine as it is then."""
        self._start()
        if self._snapshots is None or self.boot_word or self._snapshots.refused(key):
            return
        assert self._monitor is not None
        with open(os.memfd_create("snapshot"), "rb") as state:
            try:
                self._runner.run(save(self._monitor.client, state.fileno()))
            except SnapshotError as error:
                self._refuse(key, str(error))
                self._discard()
                self._start()
                return

            def fill(folder: Path) -> None:
                with open(folder / STATE, "wb") as file:
                    state.seek(0)
                    shutil.copyfileobj(state, file)

            self._snapshots.keep(
                key, fill, f"{self.spec.qemu}, {self.hello.release if self.hello else ''}"
            )

    def _refuse(self, key: str, why: str) -> None:
        """Not for what somebody did to this QEMU: it would be booted for ever."""
        assert self._qemu is not None and self._snapshots is not None
        if not self._qemu.status():
            time.sleep(0.1)  # its sockets end before it does
        if self._qemu.status() != "killed by SIGKILL":
            self._snapshots.refuse(key, why)

    def _start(self) -> None:
        self._attach(self._process)
        self._runner.run(self._boot(self._boot_limit))

    def _attach(self, start: Callable[[], QemuProcess | HandProcess]) -> None:
        with held_back():  # or a machine runs that nobody ends before we do ourselves
            self._qemu = qemu = start()
        self._monitor = Monitor(qemu) if isinstance(qemu, QemuProcess) else None

    def _process(self) -> QemuProcess | HandProcess:
        return QemuProcess(self.spec, self.nonce)

    def _discard(self) -> None:
        """End this QEMU, and forget what it said: another will be started."""
        assert self._qemu is not None and self._monitor is not None
        self._runner.run(self._monitor.leave())
        for fd in (self._qemu.console_fd, self._qemu.port.fileno()):
            self._runner.get_loop().remove_reader(fd)  # the next one may have the same numbers
        self._qemu.close()
        self._lines, self._frames = LineReader(), FrameReader(self.nonce)
        self._cell, self.boot_console = Cell(""), Excerpt()
        self.hello, self._gone = None, False
        self._take_late()

    def observe(self, scenario: str, scale: float = 1.0) -> Observation:
        """Run one scenario. `scale` multiplies the time limit, for a second look."""
        return self._runner.run(self._observe(scenario, scale))

    def late(self, patience: float = 0.0) -> Words:
        """What was heard since the last scenario ended.

        It is waited for `patience` seconds. It is told once; what comes after that is `overdue`
        when the next scenario has been observed. A machine of which something was heard is not
        what it was: a lock is left behind, or what warns once is silent now.
        """
        self._drain()
        if patience:
            self._runner.run(self._linger(time.monotonic() + patience))
        gone = self._gone and self._monitor is not None  # a machine of ours
        lost = lost_word("gone", self._runner.run(self._ending())) if gone else ""
        signs, lines = self._take_late()
        return Words(word_of(signs) or lost, lines)

    def _take_late(self) -> tuple[list[Sign], list[str]]:
        """What has come between two scenarios; it is told once."""
        told = self._late, self._late_console.lines()
        self._late, self._late_console = [], Excerpt()
        return told

    async def _linger(self, deadline: float) -> None:
        while not self._late and not self._gone and await self._wait(deadline):
            self._drain()

    def close(self) -> None:
        """End QEMU, whatever state it is in, and reap it."""
        with held_back():
            if self._qemu is not None:
                self._qemu.close()
            self._runner.close()

    # -- boot ----------------------------------------------------------------------------

    async def _boot(self, limit: float, greeting: str = "") -> None:
        self._listen()
        if greeting:
            self._send(greeting)
        started = time.monotonic()

        def deadline() -> float:
            return min(started + limit, self._last_byte + BOOT_SILENCE)

        while self.hello is None:
            if self._gone or self._cell.has("panic"):
                ending = await self._ending()
                raise self._boot_error(f"the machine ended: {self._last_words() or ending}")
            if self._cell.error:
                raise self._boot_error(f"the guest says: {self._cell.error}")
            if not await self._wait(deadline()) and time.monotonic() >= deadline():
                silent = time.monotonic() - self._last_byte
                state = await self._look()
                raise self._boot_error(
                    f"no hello from the guest after {time.monotonic() - started:.0f} s, "
                    f"console silent for {silent:.0f} s; CPUs {state['cpus']}"
                )
        self.boot_word = word_of(self._cell.signs)
        if self.hello.protocol != PROTOCOL:
            raise self._boot_error(
                f"the guest speaks protocol {self.hello.protocol}, this harness {PROTOCOL}"
            )

    def _last_words(self) -> str:
        """The line of the boot in which the kernel says what killed it, else what QEMU said, which
        writes to the same terminal; "" without either.
        """
        lines = self.boot_console.lines()[::-1]
        name = f"{self.spec.qemu.rpartition('/')[2]}: "
        return next(
            filter(fatal, lines), next((line for line in lines if line.startswith(name)), "")
        )

    def _boot_error(self, message: str) -> BootError:
        return BootError(message, self.boot_console.lines(), self.command)

    async def _ending(self) -> str:
        """How QEMU ended, giving it a moment to do so."""
        assert self._qemu is not None
        deadline = time.monotonic() + ENDING
        while not (status := self._qemu.status()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._told_to_end:
            return f"{status}, which somebody told it to"
        return status or "QEMU still runs without its console"

    # -- one scenario --------------------------------------------------------------------

    def limit(self, scale: float = 1.0) -> float:
        """Seconds without progress that a scenario may take on this machine."""
        assert self.hello is not None
        calibration = min(max(self.hello.calibration_us, 0), 1_000_000) / 1e6
        return scale * max(MIN_LIMIT, CALIBRATIONS * calibration)

    async def _observe(self, name: str, scale: float) -> Observation:
        started, first = time.monotonic(), not self._cell.name
        self._cell = cell = Cell(name)
        limit = self.limit(scale)
        damaged_before, lost_before = self._frames.damaged, self._frames.lost
        self._send(f"run {name} {int(limit * 1000)}\n")
        agent = limit + SAMPLING + max(MIN_KILL, limit)
        lost = await self._follow(cell, limit, agent + max(GRACE, BOOTS * self.boot_seconds))
        details, alive = {}, True
        self._drain()
        if lost == "silent":
            details = await self._look()
            lost = "" if cell.end else lost  # it was only late
        damaged = self._frames.damaged - damaged_before
        ending = await self._ending() if lost == "gone" else ""
        # What came ahead of its mark is about the one before; and if that was lost, about this one.
        (signs, lines), self.overdue = self._take_late(), Words()
        if first or (not cell.begun and cell.heard):
            cell.signs, lines = [*signs, *cell.signs], lines if signs else []
        else:
            end_before = "" if cell.begun else lost_word(lost, ending)
            self.overdue = Words(word_of(signs) or end_before, lines)
            lines = [] if self.overdue.word else lines
        outcome, failure = compose(cell, lost, ending, damaged)
        if ending:
            details["ending"] = ending
        if damaged:
            details["damaged_frames"] = str(damaged)
        stuck = "unkillable" in outcome + failure or bool(cell.end and "leftover" in cell.end.d)
        # Nobody but the agent writes to the port: else what comes next may not be its word.
        forged = bool(damaged) or self._frames.lost != lost_before
        # A lock is left behind, what warns once is silent now, an oops has left anything.
        broken = self.overdue.word or cell.signs or "warn(" in outcome
        if lost or stuck or forged or broken:
            alive = False
        cell.begun = not alive  # what comes now is late, unless the machine is past its end
        end = cell.end or End(name)
        return Observation(
            scenario=name,
            outcome=outcome,
            cause=end.n[:300],
            failure=failure,
            details={**end.d, **details},
            console=[*lines, *cell.console.lines()],
            ms=int((time.monotonic() - started) * 1000),
            alive=alive,
        )

    async def _follow(self, cell: Cell, limit: float, patience: float) -> str:
        """Wait until the cell is complete: "" then, else "gone" or "silent".

        `limit` is the agent's, `patience` what we wait for a word of it: seconds.
        """
        assert self._qemu is not None
        started = time.monotonic()
        progress, deadline = 0, started + patience
        agents, ours = (Starved(self._qemu.starved, most) for most in (limit, patience))
        while True:
            if cell.end or cell.error:
                return ""
            if self._gone:
                return "gone"
            if progress < min(cell.progress, MAX_STEPS):
                progress, deadline = cell.progress, time.monotonic() + patience
            if cell.late:
                cell.late, more = False, agents.more()
                self._send(f"more {int(more * 1000)}\n")
                deadline += more
            if cell.has("oops") or cell.has("panic"):
                # The rest is on its way, or will never come.
                deadline = min(deadline, time.monotonic() + GRACE)
            first = min(deadline, started + AT_ONCE)
            if not await self._wait(deadline if ours.watched else first):
                if not ours.watched:
                    agents.watch()
                    ours.watch()
                elif more := ours.more():
                    deadline = time.monotonic() + more
                else:
                    return "silent"

    async def _look(self) -> dict[str, str]:
        """What can be seen of a machine that does not answer."""
        assert self._monitor is not None
        return await self._monitor.look()
