"""Somebody else's program as a guest: what it needs is built, it runs, and is judged."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from msgspec import Struct
from msgspec.structs import replace

from harness.build import BuildError, InputError
from harness.build.csource import SUFFIX, compile_program, place_of
from harness.build.elf import check_static, read_elf
from harness.build.initramfs import Extra, busybox_extras, write_overlay
from harness.build.shell import build_shell
from harness.catalog.arches import Arch
from harness.catalog.project import Project
from harness.catalog.shell import load_shell
from harness.machine.port import Ended
from harness.machine.program import STREAMS, Ending, ProgramSession, Sink
from harness.machine.qemu import MachineSpec
from harness.program_record import SCHEMA, ProgramRecord, Status, death
from harness.results import ColumnRecord
from harness.run.images import guest_binary
from harness.run.options import Options, Say
from harness.run.plan import Column
from harness.run.prepare import machine_facts, prepare
from harness.run.suite import Judgement, Reading
from harness.run.tally import End

FOLDER = "work"  # in the guest: where the program lies and runs
WORDS = ".faultline"  # files with its words: guest-progs/program.c
EMULATED = 10  # a time limit is for a machine at full speed; TCG gets so many times as much
ENVIRONMENT = {
    "PATH": f"/{FOLDER}:/bin:/sbin:/usr/bin:/usr/sbin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "TERM": "dumb",
    "LC_ALL": "C",
    "LTPROOT": f"/{FOLDER}",
    "LTP_COLORIZE_OUTPUT": "n",
    "KCONFIG_SKIP_CHECK": "1",
}
FATAL = ("oops", "panic", "reboot")  # said by the kernel: no end of a program
USERS = {"root": (0, 0), "nobody": (65534, 65534)}
HIDDEN = ("tmp", "proc", "sys", "dev", WORDS)  # mounted over, or ours
SHELLS = ("/bin/sh", "/bin/bash", "/bin/ash", "/bin/busybox")  # what busybox stands in for
_SHEBANG = re.compile(rb"#![ \t]*([^ \t\n]+)[ \t]*([^\n]*)")


class Program(Struct, frozen=True, kw_only=True):
    """What is to be run, and in what surroundings."""

    path: Path  # a program, or one file of C
    compiling: Sequence[str] = ()  # for the compiler, behind that file
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] | None = None  # on top of ENVIRONMENT
    files: Sequence[tuple[Path, str]] = ()  # (file or folder here, absolute path there)
    user: tuple[int, int] = (0, 0)  # uid, gid
    memory: int = 0  # MiB, 0 = the arch's default
    disk: int = 0  # MiB of /dev/vda, 0 = none
    huge_pages: int = 0
    timeout: float = 60.0  # seconds at full speed
    shell: bool = True
    siginfo: bool = True  # of what it dies of, from its core
    busybox: Path | None = None  # another shell than shell/ declares


class Ran(Struct, frozen=True):
    """How it went, for the exit status and the results file."""

    ending: Ending
    judgement: Judgement
    record: ProgramRecord


def run_program(
    project: Project,
    column: Column,
    program: Program,
    options: Options,
    reading: Reading,
    sinks: Mapping[str, Sink],
    stdin: int | None,
    say: Say,
) -> Ran:
    """Build, boot, run. Raises BuildError, QemuError, BootError, and what a sink raises.

    What is wrong with the program or the files is told before a kernel or a shell is built.
    """
    if 0 < program.memory < column.arch.memory:
        raise InputError(
            f"--memory {program.memory}: {column.arch.name} has {column.arch.memory} MiB, and the "
            "kernel is declared to need them: give more, or leave the option out"
        )
    guest = guest_binary(column.arch, project, options.store, say)
    with ExitStack() as held:
        binary = held.enter_context(_compiled(program, column.arch))
        extras = [*_program_extras(replace(program, path=binary), guest, column.arch.name)]
        ready = prepare("exec", column, [], project, options, say)
        built, base = ready.to_boot
        for kind, key in ready.entries:
            held.enter_context(options.store.using(kind, key))
        config = built.config.read_text(errors="replace") if built.config else None
        if program.disk and config is not None and "CONFIG_VIRTIO_BLK=y" not in config:
            raise InputError(f"{column.id} has no virtio disks: use --flavour full")
        if program.huge_pages and config is not None and "CONFIG_HUGETLBFS=y" not in config:
            raise InputError(
                f"{column.id} has no huge pages (CONFIG_HUGETLBFS): use --flavour full, on an arch "
                "that has them"
            )
        shell = _shell(program, column.arch, project, options)
        spec = held.enter_context(
            _machine(program, base, column.arch.memory_step, [*shell, *extras])
        )
        session = held.enter_context(ProgramSession(spec))
        ending = _follow(session, program, reading, sinks, stdin)
        release = session.hello.release if session.hello else ""
        if binary != program.path:
            ending = _placed(ending, binary, column.arch)
    judgement = reading.judge(_end(ending))
    facts = {**ready.record.provenance, **machine_facts(spec)}
    record = replace(ready.record, release=release, provenance=facts)
    return Ran(ending, judgement, _record(program, record, ending, judgement))


@contextmanager
def _compiled(program: Program, arch: Arch) -> Iterator[Path]:
    """The program itself, for as long as the block lasts where it has to be compiled for that."""
    if program.path.suffix != SUFFIX:
        yield program.path
        return
    with tempfile.TemporaryDirectory(prefix="faultline-exec-") as folder:
        binary = Path(folder) / program.path.stem
        compile_program(program.path, arch, program.compiling, binary)
        yield binary


def _placed(ending: Ending, binary: Path, arch: Arch) -> Ending:
    """With the place in its source where it died: of a program that we have compiled, which is
    about to go. For another one whoever has it can ask.
    """
    ended = ending.ended
    pc = re.search(
        rf" pc (0x[0-9a-f]+) of /{FOLDER}/{re.escape(binary.name)}$",
        death_of(ended) if ended else "",
    )
    place = place_of(binary, int(pc[1], 16), arch) if pc else ""
    if ended is None or not place:
        return ending
    return replace(ending, ended=replace(ended, d={**ended.d, "place": place}))


def death_of(ended: Ended) -> str:
    """The signal, with its siginfo where the kernel has written a core that tells of this end."""
    died, place = death(ended.signal, ended.d)
    return f"{died} in {place}" if place else died


def _follow(
    session: ProgramSession,
    program: Program,
    reading: Reading,
    sinks: Mapping[str, Sink],
    stdin: int | None,
) -> Ending:
    def sink(name: str) -> Sink:
        def take(data: bytes) -> None:
            reading.feed(name, data)
            sinks[name](data)

        return take

    scale = EMULATED if session.spec.accel == "tcg" else 1
    return session.execute(
        sink("stdout"),
        sink("stderr"),
        stdin,
        program.timeout * scale,
        huge_pages=program.huge_pages,
        user=program.user,
        cores=program.siginfo,
    )


def _end(ending: Ending) -> End:
    """An oops, a hang or a lost machine is no end of a program, whatever its status was."""
    ended = ending.ended
    trouble = ending.kernel if ending.kernel in FATAL else ""
    if ended is None or ending.lost:
        return End(trouble=trouble or ending.lost or "unknown")
    if ended.refused:
        return End(trouble=f"not started: {ended.refused[:60]}")
    trouble = trouble or ended.hang[:60]
    code = ended.code if ended.code >= 0 else None
    return End(code=code, signal=ended.signal, trouble=trouble, death=death_of(ended))


def _record(
    program: Program, column: ColumnRecord, ending: Ending, judgement: Judgement
) -> ProgramRecord:
    ended = ending.ended
    known = ended is not None and not ended.refused and not ending.lost
    return ProgramRecord(
        schema=SCHEMA,
        program=printable(str(program.path)),
        arguments=[printable(word) for word in program.arguments],
        column=column.column,
        arch=column.arch,
        kernel=column.kernel,
        version=column.version,
        release=column.release,
        provenance=column.provenance,
        status=judgement.status if known or ending.kernel in FATAL else Status.INFRA,
        reason=judgement.reason,
        form=judgement.form,
        totals=judgement.totals,
        cases=judgement.cases,
        exit_code=ended.code if ended and ended.code >= 0 and not ended.refused else None,
        signal=ended.signal if ended else "",
        hang=ended.hang if ended else "",
        kernel_said=ending.kernel,
        console=ending.console,
        details=ended.d if ended else {},
        stdout_bytes=ending.passed[0],
        stderr_bytes=ending.passed[1],
        ms=ending.ms,
    )


def printable(word: str) -> str:
    """A word of the command line need not be text, and JSON has nothing else."""
    return os.fsencode(word).decode(errors="backslashreplace")


# -- the machine ---------------------------------------------------------------------------


def _shell(program: Program, arch: Arch, project: Project, options: Options) -> Iterator[Extra]:
    """What gives /bin/sh: before all that is brought, which may take its places."""
    if program.busybox is not None:
        yield from busybox_extras(program.busybox)
    elif program.shell:
        yield from busybox_extras(_built_shell(project, arch, options))


def _built_shell(project: Project, arch: Arch, options: Options) -> Path:
    try:
        return build_shell(load_shell(project.root), arch, options.store)
    except BuildError as error:
        raise type(error)(
            f"{error.message} (--no-shell goes without, --busybox brings another)",
            log=error.log, excerpt=error.excerpt,
        ) from None  # fmt: skip


@contextmanager
def _machine(
    program: Program, spec: MachineSpec, step: int, extras: Sequence[Extra]
) -> Iterator[MachineSpec]:
    """The machine with the program in its initramfs, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="faultline-exec-") as folder:
        initrd, disks = Path(folder) / "initramfs.cpio", spec.disks
        write_overlay(initrd, spec.initrd, extras)
        if program.disk:
            image = Path(folder) / "disk"
            with open(image, "wb") as file:
                file.truncate(program.disk << 20)
            disks = (*disks, ("scratch", image))
        # What is unpacked is in memory twice for a moment.
        memory = max(spec.memory, program.memory)
        if not program.memory:
            memory += 2 * (initrd.stat().st_size - spec.initrd.stat().st_size) >> 20
        memory += -memory % step
        yield replace(spec, initrd=initrd, disks=disks, memory=memory, streams=STREAMS)


def environment_of(program: Program) -> dict[str, str]:
    """Where it is, what there is to use, and what the caller says."""
    disk = {"LTP_DEV": "/dev/vda"} if program.disk else {}
    slow = {"LTP_TIMEOUT_MUL": str(EMULATED)}
    return {**ENVIRONMENT, **slow, **disk, **(program.environment or {})}


def _program_extras(program: Program, guest: Path, arch: str) -> Iterator[Extra]:
    """The program, its words and its files. Raises InputError where the guest could not execute
    them: it runs what `guest` is.
    """
    name = program.path.name
    shells = SHELLS if program.shell or program.busybox else ()
    present = {target for _, target in program.files} | set(shells)
    if program.busybox is not None:
        check_static(program.busybox, guest, arch)
    interpreter = _interpreter(program.path, guest, arch, present)
    yield Extra(f"{FOLDER}/{name}", program.path, 0o755)
    environment = environment_of(program)
    words = [*interpreter, f"./{name}", *program.arguments]
    yield Extra(f"{WORDS}/argv", _words(words))
    yield Extra(f"{WORDS}/env", _words([f"{key}={value}" for key, value in environment.items()]))
    for source, target in program.files:
        yield from _file_extras(source, target)


def _words(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _interpreter(path: Path, guest: Path, arch: str, present: set[str]) -> list[str]:
    """The words that stand before a script, for a kernel need not know of scripts; none for a
    binary. Raises BuildError where the guest could not execute the program.
    """
    try:
        with open(path, "rb") as file:
            script = _SHEBANG.match(file.read(256))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if script is None:
        elf = read_elf(path)
        if elf is None or elf.interpreter not in present:
            check_static(path, guest, arch)
        return []
    words = [os.fsdecode(word) for word in script.groups() if word]
    if words[0].endswith("/env") and len(words) > 1:
        words = [f"/bin/{words[1]}"]
    if words[0] in present:
        return words
    hint = "" if SHELLS[0] in present else " (there is no shell: --no-shell)"
    raise InputError(
        f"{path} is a script for {words[0]}, which is not in the guest{hint}: "
        f"bring it with --file FILE:{words[0]}"
    )


def _file_extras(source: Path, target: str) -> Iterator[Extra]:
    parts = PurePosixPath(target).parts
    if not target.startswith("/") or len(parts) < 2 or parts[1] in HIDDEN or ".." in parts:
        hidden = ", ".join(f"/{name}" for name in HIDDEN)
        raise InputError(
            f"--file {source}:{target}: expected an absolute path without .., outside {hidden}: "
            "something is mounted there"
        )
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise InputError(f"--file {source}: {error.strerror}") from None
    name = "/".join(parts[1:])
    if not stat.S_ISDIR(mode):
        yield Extra(name, source, stat.S_IMODE(mode) & 0o7777)
        return
    for path in sorted(source.rglob("*")):
        below = f"{name}/{path.relative_to(source).as_posix()}"
        if path.is_symlink():
            yield Extra(below, link=str(path.readlink()))
        elif path.is_file():
            yield Extra(below, path, stat.S_IMODE(path.stat().st_mode) & 0o7777)
