"""The guest binary where it is started, not booted: here, over ssh, in user mode of QEMU.

It speaks the same frames, on a socket that is its stdin and stdout. What it writes to stderr
(or what ssh does) takes the place of a console.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from harness.lifetime import end_with
from harness.machine import QemuError
from harness.machine.qemu import KILL_LIMIT, Confined, confined

NONCE, BINARY = "@nonce@", "@binary@"  # in argv: put in when it is started
UPLOAD_LIMIT = 60.0  # seconds that a host gets to take the binary, a megabyte
_END = 3.0  # seconds that it gets to end of its own accord


class HandSpec(Struct, frozen=True, kw_only=True):
    """How the guest binary is started: plain picklable data."""

    argv: tuple[str, ...]
    binary: Path
    where: str  # "this machine": for messages
    # Over ssh: the binary is sent ahead of all commands, not read from a file here, and argv[0] is
    # the user's own program, which needs HOME, an agent and what a configuration may name.
    upload: bool = False
    package: str = ""  # Debian package that holds argv[0]


class HandProcess:
    """A started guest binary: a session of its own, which ends when we do."""

    def __init__(self, spec: HandSpec, nonce: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="faultline-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port, far = socket.socketpair()
        self.streams: dict[str, socket.socket] = {}
        try:
            with far:  # only its own end is open afterwards: we hear of it when it ends
                words = {NONCE: nonce, BINARY: str(self._copy(spec))}
                self.argv = [_filled(word, words) for word in spec.argv]
                self._process = self._start(far, spec)
            if spec.upload:
                self._send(spec)
        except BaseException:
            self.close()
            raise
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.console_fd = self._process.stderr.fileno()
        os.set_blocking(self.console_fd, False)

    def _copy(self, spec: HandSpec) -> Path:
        """Where everybody can execute it: scenarios run as nobody, too."""
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        copy = folder / spec.binary.name
        if not spec.upload:
            shutil.copyfile(spec.binary, copy)
            copy.chmod(0o755)
        return copy

    def _send(self, spec: HandSpec) -> None:
        """Its binary. Raises QemuError where that is not taken."""
        data = spec.binary.read_bytes()
        self.port.settimeout(UPLOAD_LIMIT)
        try:
            self.port.sendall(data)
        except TimeoutError:
            raise QemuError(
                f"{spec.where} did not take the guest binary in {UPLOAD_LIMIT:.0f} s"
            ) from None
        except OSError:
            return  # it ended: its last words tell why

    def _start(self, far: socket.socket, spec: HandSpec) -> subprocess.Popen[bytes]:
        ends = functools.partial(end_with, os.getpid())
        of_the_users: Confined = {"env": None, "preexec_fn": ends}
        try:
            return subprocess.Popen(
                self.argv,
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
                **(of_the_users if spec.upload else confined(None)),
            )
        except OSError as error:
            hint = f"; install it: apt-get install {spec.package}" if spec.package else ""
            if error.errno == errno.ENOEXEC:
                hint = f"; {spec.where} runs no programs of that arch: check --arch"
            raise QemuError(f"cannot start {self.argv[0]}: {error.strerror}{hint}") from None

    def read_console(self) -> bytes | None:
        """At most 4096 bytes: b"" when there are none now, None when it is gone."""
        try:
            return os.read(self.console_fd, 4096) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def starved(self) -> float:
        """How long it waited for a CPU is not known: it may run anywhere."""
        return 0.0

    def status(self) -> str:
        """ "" while it runs, else how it ended."""
        code = self._process.poll() if self._process else 0
        if code is None:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def close(self) -> None:
        """Let it end, for it cleans up behind its scenario; else kill it. Never raises."""
        with suppress(OSError):
            self.port.shutdown(socket.SHUT_WR)
        process = self._process
        if process is not None:
            deadline = time.monotonic() + _END
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # something may hold it in the kernel
                process.wait(KILL_LIMIT / 1000)
            if process.stderr is not None:
                process.stderr.close()
        self.port.close()
        self._folder.cleanup()


def _filled(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(name, value)
    return word
