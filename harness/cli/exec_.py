"""`faultline exec`: somebody else's program on a kernel of one's choice."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from msgspec import Struct

from harness.cli.around import Around, around_options, known_form, suite_option
from harness.cli.common import (
    UsageProblem,
    one_column,
    open_project,
    open_store,
    writable,
)
from harness.cli.options import as_one, one_column_options, store_option
from harness.stdout import drop_stdout
from harness.text import clean

if TYPE_CHECKING:
    from harness.build.store import Store
    from harness.catalog.project import Project
    from harness.run.plan import Column
    from harness.run.program import Program, Ran
    from harness.run.suite import Reading

CONSOLE = 40  # lines of the kernel's log that are shown where it matters
OUT_OF_MEMORY = re.compile(r"\bOut of memory: Killed process ")  # but not: Memory cgroup out of
AGENT = "agent: "  # how the words of init begin, which says why it could not try

KERNEL, TIME, INFRA, NOT_STARTED, BROKEN_PIPE = 123, 124, 125, 126, 141
EXIT_CODES = """\b
Exit codes:
  N    the program's own exit status
  128+N  it was killed by signal N, as that arch counts signals
  123  the kernel oopsed, panicked or rebooted, or the machine was lost, while it ran
  124  its time was up; what hung, and how, is told on stderr
  125  nothing is known of it: something could not be built, booted or observed
  126  the kernel would not execute it
  129, 130, 143  faultline was interrupted (SIGHUP, SIGINT, SIGTERM)
  2    wrong use (a message on stderr begins with Usage or Error)
Where a program's own status could be taken for one of the last six, a line on stderr that
begins with `faultline:` tells them apart; --results has it in full.
"""


class Read(Struct, frozen=True):
    """How its output is read, and where to what came of that is written."""

    results: tuple[Path, ...]
    form: str
    expect: str

    def reading(self) -> Reading:
        """Checked, as all that can be before the boot. Raises UsageProblem."""
        from harness.run.suite import Reading

        known_form(self.form)
        _known_end(self.expect)
        for path in self.results:
            writable("--results", path)
        return Reading(self.form, self.expect)


read_options = as_one(
    "read",
    Read,
    click.option(
        "--results",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Write what its output says: JUnit as FILE.xml, KTAP as FILE.ktap, else JSON; "
        "repeatable.",
    ),
    suite_option,
    click.option("--expect", default="", metavar="END", help="It must end so: 3, or SIGSEGV."),
)


@click.command(
    epilog=EXIT_CODES,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("program", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@one_column_options
@read_options
@around_options
@store_option
def command(
    program: Path,
    arguments: tuple[str, ...],
    arch: str,
    kernel: str | None,
    flavour: str,
    accel: str,
    read: Read,
    around: Around,
    store_path: Path | None,
) -> None:
    """Boot, run PROGRAM there, and pass its streams and exit status through.

    PROGRAM is a static binary for the arch, a script, or a file of C, which is compiled. It runs
    in /work, with /proc, /sys, /tmp and /dev/shm mounted, and a shell. Options stand before
    PROGRAM.

    \b
    Examples:
      faultline exec --arch m68k ./binary --its-own-option
      faultline exec --arch arm64 --kernel debian-6.1 --results r.json ./mremap_test
      seq 100 | faultline exec --arch x86_64 ./count
      faultline exec --arch alpha --cflags -lrt reproducer.c
    """
    from harness.build import BuildError, InputError

    reading, what = read.reading(), around.program(program, arguments)
    project = open_project(store_path)
    column = one_column(project, arch, kernel, flavour)
    try:
        for path in read.results:  # a former run's are not to be taken for those of this one
            path.write_bytes(b"")
        ran = _run(project, column, what, open_store(store_path), accel, reading)
        _write(ran, read.results)
    except (InputError, BrokenPipeError):  # an option is wrong; nobody reads what we say
        raise
    except (BuildError, OSError) as error:
        _end(INFRA, str(error))
    _finish(ran, bool(read.results))


def _run(
    project: Project, column: Column, what: Program, store: Store, accel: str, reading: Reading
) -> Ran:
    """Its streams are ours; what comes to no end of the program ends us. Raises BuildError."""
    from harness.machine.session import BootError
    from harness.run.options import Options, say_stages
    from harness.run.preflight import preflight
    from harness.run.program import run_program

    options = Options(store=store, accel=accel)
    preflight([column], options)
    sinks, say = {"stdout": _to(1), "stderr": _to(2)}, say_stages(f"faultline {column.id}")
    try:
        return run_program(project, column, what, options, reading, sinks, _stdin(), say)
    except BrokenPipeError:  # whoever read has gone, as in `| head`
        drop_stdout()
        sys.exit(BROKEN_PIPE)
    except BootError as error:
        _show(error.console)
        _end(INFRA, f"{column.id} does not boot: {error}")


def _write(ran: Ran, results: Sequence[Path]) -> None:
    """Raises OSError."""
    from harness.report.program import render_program

    for path in results:
        path.write_text(render_program(ran.record, path.suffix), encoding="utf-8")


def _finish(ran: Ran, told: bool) -> NoReturn:
    """Say how it ended, and its results where they are `told`; end as it did."""
    from harness.run.program import FATAL, death_of

    ended, ending = ran.ending.ended, ran.ending
    if told:
        totals = ", ".join(f"{count} {status}" for status, count in ran.record.totals.items())
        reason = clean(ran.record.reason, 300)
        parts = "; ".join(filter(None, (totals, reason)))
        status = f"{ran.record.form}: {ran.record.status.value}"
        _note(f"results: {status}" + (f" ({parts})" if parts else ""))
    if ending.kernel:
        _show(ending.console)
        _note(f"note: the kernel said {ending.kernel}")
    if ending.interrupted:
        _end(128 + ending.interrupted, ending.lost)
    if ending.kernel in FATAL:
        lost = f"; {clean(ending.lost, 300)}" if ending.lost else ""
        _end(KERNEL, f"{ending.kernel} while the program ran{lost}")
    if ending.lost or ended is None:
        code = INFRA if ending.lost.startswith(AGENT) else KERNEL
        _show(ending.console)
        _end(code, clean(ending.lost, 300))
    if any(map(OUT_OF_MEMORY.search, ending.console)):
        _note("note: the guest ran out of memory and its kernel killed a process: --memory MIB")
    if ended.refused:
        _end(NOT_STARTED, f"the kernel does not execute it: {clean(ended.refused)}")
    if ended.hang:
        for key, value in sorted(ended.d.items()):
            _tell(clean(f"{key}: {value}", 300))
        _end(TIME, f"its time was up: {clean(ended.hang)}")
    if ended.sig:
        _end(128 + ended.sig, f"killed by {clean(death_of(ended), 400)}")
    sys.exit(ended.code)


def _end(code: int, message: str) -> NoReturn:
    _tell(message)
    sys.exit(code)


def _tell(message: str) -> None:
    """What explains a status that is not the program's own: nothing else begins so."""
    click.echo(f"faultline: {message}", err=True)


def _note(message: str) -> None:
    click.echo(f"faultline {message}", err=True)


def _show(console: Sequence[str]) -> None:
    from harness.machine.console import last_words

    for line in last_words(console, CONSOLE):
        _note(f"| {clean(line, 300)}")


def _to(fd: int) -> Callable[[bytes], None]:
    """Everything to a descriptor, at once and unchanged."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    return write


def _stdin() -> int | None:
    return None if sys.stdin is None else 0  # None: it was closed when we were started


def _known_end(text: str) -> None:
    from harness.catalog.names import SIGNALS

    real_time = text.removeprefix("SIG")
    if not text or text in SIGNALS or (real_time.isdecimal() and int(real_time) < 256):
        return
    raise UsageProblem(f"--expect {text}: expected an exit status as 3, or a signal as SIGSEGV")
