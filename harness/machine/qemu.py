"""QEMU's command line and the life of its process."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pexpect
import ptyprocess  # type: ignore[import-untyped]
from msgspec import Struct

from harness.lifetime import end_with
from harness.machine import QemuError

# A guest that breaks out of the emulator can start no program, gain no rights, tune no limits.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
KILL_LIMIT = 5000  # ms
VERSION_LIMIT = 30  # seconds
OLDEST = (7, 0)  # nothing earlier is tested; m68k's machine `virt` is older, and arm64's mte=on
FILE_LIMIT = 4 << 30  # bytes: what a guest writes to its scratch disks is a file of the host
OPEN_FILES = 512  # alpha has most, 75: an eventfd for each queue of a PCI device
# Bytes of addresses beside the guest's memory. It takes 1.7 GiB: 1 GiB for translated code, and a
# stack and an arena a thread, which for the 64 threads that disks may have make 4 GiB more.
OWN_MEMORY = 8 << 30


class MachineSpec(Struct, frozen=True, kw_only=True):
    """All that is needed to start one machine: plain picklable data."""

    qemu: str  # program: "qemu-system-m68k"
    machine: str  # -M
    cpu: str  # -cpu, "" = QEMU's default
    smp: int  # CPUs that it can have
    memory: int  # MiB
    console: str  # the kernel's name of the serial console: "ttyGF0"
    port_device: str  # "virtio-serial-device", -pci or -ccw
    image: Path
    initrd: Path
    append: str = ""  # more kernel parameters
    args: tuple[str, ...] = ()  # more QEMU arguments
    disks: tuple[tuple[str, Path], ...] = ()  # (serial number, raw image that stays as it is)
    streams: tuple[str, ...] = ()  # more ports, as raw bytes: /dev/vport0p2 and so on
    accel: str = "tcg"
    sandbox: bool = False  # QEMU can deny itself what it does not need
    one_cpu: bool = False  # it has one of them
    snapshot: bool = False  # QEMU can save and restore this machine
    package: str = ""  # Debian package that holds `qemu`, for error messages


def kernel_parameters(spec: MachineSpec, nonce: str) -> str:
    """The kernel command line.

    panic=-1 with -no-reboot: a panic ends QEMU at once. 512 BSD ptys, which nobody opens, cost a
    boot 0.1 to 0.3 s (pty.legacy_count).
    """
    words = [f"console={spec.console}", "panic=-1", "printk.devkmsg=on", "pty.legacy_count=0"]
    words += filter(None, [spec.append, "faultline.one_cpu" if spec.one_cpu else ""])
    return " ".join([*words, f"faultline.nonce={nonce}"])


def command(
    spec: MachineSpec,
    nonce: str,
    *,
    port: str = "null",
    qmp: str = "",
    streams: Sequence[str] = (),
    gdb: int = 0,
    incoming: str = "",
) -> list[str]:
    """QEMU's argv. `port`, `qmp` and `streams` are chardev back ends: "socket,fd=5", "null",
    "" = none.

    `gdb` is a TCP port of this host's own: the CPUs wait until a debugger there lets them go.
    `incoming` says where a snapshot is restored from: "fd:7".
    """
    argv = [spec.qemu, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]
    argv += ["-rtc", "clock=vm"]  # the host's leaps while a snapshot lies there
    argv += ["-sandbox", SANDBOX] if spec.sandbox else []
    argv += ["-M", spec.machine, "-accel", spec.accel, "-m", str(spec.memory)]
    # With maxcpus QEMU translates as for several: else an atomic is a load, and then a store.
    argv += ["-smp", f"1,maxcpus={spec.smp}" if spec.one_cpu else str(spec.smp)]
    argv += ["-cpu", spec.cpu] if spec.cpu else []
    argv += ["-kernel", str(spec.image), "-initrd", str(spec.initrd)]
    argv += ["-append", kernel_parameters(spec, nonce)]
    argv += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    # A port has two queues, and each interrupt of the device looks at all of them: no more ports
    # than are used, beside 0, which is a console's.
    ports = 2 + len(spec.streams)
    argv += ["-chardev", f"{port},id=port", "-device", f"{spec.port_device},max_ports={ports}"]
    argv += ["-device", "virtserialport,chardev=port,nr=1,name=faultline"]
    for number, name in enumerate(spec.streams, 2):
        backend = streams[number - 2] if streams else "null"
        argv += ["-chardev", f"{backend},id={name}"]
        argv += ["-device", f"virtserialport,chardev={name},nr={number},name=faultline.{name}"]
    for name, image in spec.disks:
        argv += disk_arguments(name, image, spec.port_device)
    if qmp:
        argv += ["-chardev", f"{qmp},id=qmp", "-mon", "chardev=qmp,mode=control"]
    argv += ["-incoming", incoming] if incoming else []
    return argv + list(spec.args) + (["-S", "-gdb", f"tcp:127.0.0.1:{gdb}"] if gdb else [])


def environment() -> dict[str, str]:
    """All that QEMU gets of ours: what a guest could read there it should not know."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}


def resource_limits(memory: int | None) -> dict[int, int]:
    """What QEMU may take of this host for a guest of `memory` MiB, and never more than we may.

    None is no machine but a process like ours, whose addresses are its own affair.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: FILE_LIMIT,
        resource.RLIMIT_NOFILE: OPEN_FILES,
    }
    if memory is not None:
        wanted[resource.RLIMIT_AS] = (memory << 20) + OWN_MEMORY
    allowed = {kind: resource.getrlimit(kind)[1] for kind in wanted}
    return {
        kind: limit if allowed[kind] == resource.RLIM_INFINITY else min(limit, allowed[kind])
        for kind, limit in wanted.items()
    }


class Confined(TypedDict):
    """Arguments of subprocess.Popen, or of pexpect.spawn."""

    env: dict[str, str] | None  # None: all of ours
    preexec_fn: Callable[[], None]


def confined(memory: int | None, fds: Sequence[int] = ()) -> Confined:
    """How QEMU or the guest binary is started, whoever sits at it: `environment`, `resource_limits`
    of `memory`, and an end when the thread that starts it ends. It inherits `fds`.

    A machine is held to its limits; a guest binary may raise them: one of its scenarios dumps core.
    """
    parent, limits = os.getpid(), resource_limits(memory)

    def in_child() -> None:
        for fd in fds:
            os.set_inheritable(fd, True)
        for kind, limit in limits.items():
            most = resource.getrlimit(kind)[1] if memory is None else limit
            resource.setrlimit(kind, (limit, most))
        end_with(parent)

    return {"env": environment(), "preexec_fn": in_child}


def disk_arguments(name: str, image: Path, port_device: str) -> list[str]:
    """A virtio disk on the bus that `port_device` is on; what the guest writes is dropped."""
    bus = port_device.removeprefix("virtio-serial-")
    file = str(image).replace(",", ",,")  # how QEMU's options quote a comma
    return [
        "-drive", f"if=none,id=disk-{name},format=raw,snapshot=on,file={file}",
        "-device", f"virtio-blk-{bus},drive=disk-{name},serial={name}",
    ]  # fmt: skip


def qemu_version(program: str, package: str = "") -> str:
    """ "7.2.22" of `program`. Raises QemuError when it is missing or does not answer."""
    return _about(program, package)[0]


def qemu_sandbox(program: str, package: str = "") -> bool:
    """Whether `program` was built with seccomp. Raises QemuError as `qemu_version`."""
    return _about(program, package)[1]


_asked: dict[str, subprocess.Popen[str]] = {}  # by program: what `ask_ahead` has started
_known: dict[str, tuple[str, bool]] = {}  # by program: version, and whether it takes -sandbox


def ask_ahead(programs: Iterable[str]) -> None:
    """Start asking what `qemu_version` will want to know, all of them at once."""
    for program in {*programs} - _known.keys() - _asked.keys():
        with suppress(OSError):  # it is told when the answer is wanted
            _asked[program] = _start_asking(program, ["-sandbox", SANDBOX])


def _start_asking(program: str, options: Sequence[str]) -> subprocess.Popen[str]:
    """`program --version`; options that stand before that are looked at. Raises OSError."""
    argv, pipe = [program, *options, "--version"], subprocess.PIPE
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment()
    )


def _about(program: str, package: str) -> tuple[str, bool]:
    if program not in _known:
        _known[program] = _ask(program, package)
    return _known[program]


def _ask(program: str, package: str) -> tuple[str, bool]:
    hint = f"; install it: apt-get install {package}" if package else ""
    for options in (["-sandbox", SANDBOX], []):
        try:
            ahead = _asked.pop(program, None) if options else None
            with ahead or _start_asking(program, options) as asked:
                try:
                    said, complaint = asked.communicate(timeout=VERSION_LIMIT)
                except BaseException:
                    asked.kill()
                    raise
        except FileNotFoundError:
            raise QemuError(f"{program} is not installed or not on PATH{hint}") from None
        except (OSError, subprocess.SubprocessError) as error:
            raise QemuError(f"{program} --version failed: {error}") from None
        if found := re.search(r"version (\d+(?:\.\d+)+)", said):
            if tuple(map(int, found[1].split(".")[:2])) < OLDEST:
                wanted = ".".join(map(str, OLDEST))
                raise QemuError(f"{program} {found[1]} is too old: {wanted} or newer is needed")
            return found[1], bool(options)
    raise QemuError(f"{program} --version printed no version: {(said + complaint)[:80]!r}")


def check_machine(spec: MachineSpec) -> None:
    """Let QEMU make this machine without a kernel and end. Raises QemuError with its own words."""
    argv = [spec.qemu, "-no-user-config", "-nodefaults", "-display", "none", "-S"]
    argv += ["-M", spec.machine, "-m", str(spec.memory), "-smp", str(spec.smp)]
    argv += ["-cpu", spec.cpu] if spec.cpu else []
    argv += ["-device", spec.port_device, *spec.args, "-monitor", "stdio"]
    try:
        done = subprocess.run(
            argv, input="quit\n", capture_output=True, text=True, errors="replace", timeout=30,
            env=environment(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise QemuError(f"{spec.qemu} does not make a machine: {error}") from None
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise QemuError(f"{spec.qemu} cannot make this machine: {said}")


if TYPE_CHECKING:
    _PexpectSpawn = pexpect.spawn[bytes]
else:
    _PexpectSpawn = pexpect.spawn


class _Child(ptyprocess.PtyProcess):  # type: ignore[misc]  # it has no types
    """A child that is asked whether it lives, and never waited for.

    Once its console has ended PtyProcess would wait, and a broken /dev/kvm can hold it then.
    """

    def isalive(self) -> bool:
        self.flag_eof = False
        return bool(super().isalive())


class _Spawn(_PexpectSpawn):
    """pexpect.spawn that hands file descriptors on to the child."""

    def __init__(self, program: str, args: list[str], pass_fds: tuple[int, ...], **kwargs: Any):
        self._pass_fds = pass_fds
        super().__init__(program, args, **kwargs)

    def _spawnpty(self, args: list[str], **kwargs: Any) -> Any:
        process = _Child.spawn(args, pass_fds=self._pass_fds, **kwargs)
        process.delayafterclose = process.delayafterterminate = 0.0  # it is dead by then
        return process


class QemuProcess:
    """A running QEMU: console on a pty (pexpect), results port and QMP on socket pairs.

    Sockets are inherited, so there are no paths to clean up. The kernel kills QEMU when the
    thread that started it ends, however that comes about: start it from a thread that lives as
    long as the session, the main thread of a worker.
    """

    def __init__(self, spec: MachineSpec, nonce: str, state: int | None = None) -> None:
        """`state` is an open snapshot to start from."""
        self.port, port_far = socket.socketpair()
        self.qmp, qmp_far = socket.socketpair()
        pairs = {name: socket.socketpair() for name in spec.streams}
        self.streams = {name: near for name, (near, _) in pairs.items()}
        far = [port_far, qmp_far, *(end for _, end in pairs.values())]
        fds = tuple(end.fileno() for end in far)
        port, qmp, *streams = (f"socket,fd={fd}" for fd in fds)
        incoming = "" if state is None else f"fd:{state}"
        self.argv = command(spec, nonce, port=port, qmp=qmp, streams=streams, incoming=incoming)
        try:
            fds = fds if state is None else (*fds, state)
            self._child = self._spawn(fds, spec.memory, spec.package)
        except BaseException:
            for near in (self.port, self.qmp, *self.streams.values()):
                near.close()
            raise
        finally:
            for end in far:
                end.close()
        assert self._child.pid is not None
        self.pid: int = self._child.pid
        self.console_fd: int = self._child.child_fd

    def _spawn(self, fds: tuple[int, ...], memory: int, package: str) -> _Spawn:
        try:
            child = _Spawn(
                self.argv[0],
                self.argv[1:],
                fds,
                timeout=None,
                maxread=4096,
                echo=False,
                **confined(memory, fds),
            )
        except pexpect.ExceptionPexpect as error:
            hint = f"; install it: apt-get install {package}" if package else ""
            raise QemuError(f"cannot start {self.argv[0]}: {error}{hint}") from None
        child.delaybeforesend = None
        return child

    def read_console(self) -> bytes | None:
        """At most 4096 bytes: b"" when there are none now, None when QEMU is gone."""
        try:
            data: bytes = self._child.read_nonblocking(4096, timeout=0)
        except pexpect.TIMEOUT:
            return b""
        except (pexpect.EOF, OSError, ValueError):
            return None
        return data

    def busy_ticks(self, threads: list[int]) -> int:
        """CPU time of QEMU's threads so far, in clock ticks: do its CPUs run or halt?"""
        total = 0
        for thread in threads:
            try:
                stat = Path(f"/proc/{self.pid}/task/{thread}/stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total

    def starved(self) -> float:
        """Seconds that its threads have waited for a CPU of this host, taken together; and we, for
        what it says counts when it is read.
        """
        waited, own = 0, Path("/proc/thread-self/schedstat")
        for path in (own, *Path(f"/proc/{self.pid}/task").glob("*/schedstat")):
            with suppress(OSError, IndexError, ValueError):  # a thread that ended, an odd kernel
                waited += int(path.read_text().split()[1])
        return waited / 1e9

    def status(self) -> str:
        """ "" while it runs, else how it ended."""
        if self._child.isalive():
            return ""
        if self._child.signalstatus is not None:
            return f"killed by {signal.Signals(self._child.signalstatus).name}"
        return f"exit status {self._child.exitstatus}"

    def close(self) -> None:
        """Kill QEMU if it still runs, reap it, close everything. Never raises."""
        closes = [end.close for end in (self.port, self.qmp, *self.streams.values())]
        for step in (self._kill, self._child.close, *closes):
            with suppress(pexpect.ExceptionPexpect, ptyprocess.PtyProcessError, OSError):
                step()

    def _kill(self) -> None:
        """Not waited for without end: a broken /dev/kvm can hold QEMU in the kernel."""
        if not self._child.isalive():
            return
        ended = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
            end = select.poll()
            end.register(ended, select.POLLIN)
            end.poll(KILL_LIMIT)
        finally:
            os.close(ended)
