"""`faultline repro`: one cell, looked at from all sides."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from harness.catalog.yamlfile import DeclarationError, quote, suggest
from harness.cli.common import UsageProblem, one_column, open_project, open_store
from harness.cli.options import (
    busybox_option,
    one_column_options,
    scenario_argument,
    store_option,
)
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.results import ResultRecord
    from harness.run.options import Options
    from harness.run.plan import Column
    from harness.run.repro import Case, Excerpt

GDB_PORT = 1234
# Where faults arrive: to stop at when nothing that decides is a function of its own.
_HANDLERS = ("do_page_fault", "exc_page_fault", "handle_page_fault")
_DEBUG_INFO = "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y"
_ESCAPE = "\x1d"  # ^], as in telnet


@click.command()
@scenario_argument
@one_column_options
@click.option("--print-command", is_flag=True, help="Print a QEMU line to paste, and no more.")
@click.option("--gdb", is_flag=True, help="Boot it, waiting for the debugger whose line is shown.")
@click.option("--gdb-port", type=click.IntRange(1, 65535), default=GDB_PORT, show_default=True)
@click.option("--shell", is_flag=True, help="Boot to a prompt on the console.")
@busybox_option
@store_option
def command(
    scenario: str,
    arch: str,
    kernel: str | None,
    flavour: str,
    accel: str,
    print_command: bool,
    gdb: bool,
    gdb_port: int,
    shell: bool,
    busybox: Path | None,
    store_path: Path | None,
) -> None:
    """Run one cell and show all there is to know: expected, observed, source, guest program.

    Exits as a run does. With --print-command, --gdb or --shell the machine is yours: the
    console on stdio, no results port, and whoever reads is the judge.

    \b
    Examples:
      faultline repro stack/below-usp-257 --arch m68k --kernel debian-6.1
      faultline repro stack/below-usp-257 --arch m68k --print-command
      faultline repro retry/kill-in-read --arch alpha --gdb
    """
    from harness.run.options import Options, say_stages
    from harness.run.preflight import preflight
    from harness.run.repro import observe, prepare_case

    if print_command + gdb + shell > 1:
        raise UsageProblem("--print-command, --gdb and --shell exclude each other")
    if shell and not sys.stdin.isatty():
        raise UsageProblem("--shell needs a terminal")
    project = open_project(store_path)
    column = one_column(project, arch, kernel, flavour)
    options = Options(store=open_store(store_path), accel=accel)
    preflight([column], options)
    with ExitStack() as held:
        case = prepare_case(
            project, column, _scenario(project, scenario), options, say_stages(column.id)
        )
        for kind, key in case.entries:  # no prune takes them away meanwhile
            held.enter_context(options.store.using(kind, key))
        if print_command:
            _print_command(case)
        elif gdb:
            _gdb(case, column, gdb_port)
        elif shell:
            _shell(case, column, busybox or _compiled(project, column, options))
        else:
            records = observe(case)
            with whoever_reads():
                _show(case, project.root, records)
            sys.exit(_code(records[-1]))


def _scenario(project: Project, name: str) -> Scenario:
    try:
        return project.matrix.scenarios[name]
    except KeyError:
        known = project.matrix.scenarios
        hint = suggest(name, known, {f"{one.family}/..." for one in known.values()})
        raise DeclarationError("", 0, f"no scenario {quote(name)}", hint) from None


def _code(record: ResultRecord) -> int:
    from harness.results import Results, exit_code

    results = Results()
    results.add(record)
    return exit_code(results, ending=record.run_id)


# -- shown ---------------------------------------------------------------------------------


def _show(case: Case, root: Path, records: list[ResultRecord]) -> None:
    from harness.report.words import expected, observed, unmet
    from harness.run.repro import guest_source, source_excerpt
    from harness.text import clean

    record, facts = records[-1], case.column.provenance
    click.echo(
        f"{case.scenario.name}  {case.column.column}: Linux {case.column.version}, "
        f"QEMU {facts['qemu']}, {facts['accel']} ({facts['accel_reason']})"
    )
    click.echo(f"  {case.scenario.summary}\n")
    for attempt in records[:-1]:
        _field(f"attempt {attempt.attempt}", observed(attempt))
    confirmation = f"  ({clean(record.confirmation)})" if record.confirmation else ""
    _field("observed", observed(record) + confirmation)
    _field("verdict", record.verdict.value)
    _field("expected", expected(record))
    for name, value in (
        ("because", record.because),
        ("correct", record.want),
        ("see", record.bug),
        ("declared", record.declared),
    ):
        if value:
            _field(name, value)
    for key, value in sorted(record.observation.details.items()):
        _field("detail", f"{clean(key)}: {clean(value, 400)}")
    _field("repeat", record.repeat)
    of_what = "for what was expected: " if unmet(record) else ""
    for piece in record.evidence:
        place = f"{piece.file}:{piece.line}" if piece.line else piece.file
        where = f" in {piece.function}()" if piece.function else ""
        click.echo(f"\n--- {of_what}{piece.id}: {place}{where} [{piece.status}]")
        excerpt = source_excerpt(piece)
        _lines(excerpt) if excerpt else click.echo(f"    looked for: {piece.text}")
    if record.observation.console:
        click.echo("\n--- console")
        for line in record.observation.console:
            click.echo(f"    {clean(line, 300)}")
    for path, excerpt in guest_source(root, case.scenario):
        click.echo(f"\n--- guest program: {path.relative_to(root)}:{excerpt.start}")
        _lines(excerpt)


def _field(name: str, value: str) -> None:
    click.echo(f"  {name:10} {value}")


def _lines(excerpt: Excerpt) -> None:
    from harness.text import clean

    for number, line in enumerate(excerpt.lines, excerpt.start):
        mark = ">" if number == excerpt.marked else " "
        click.echo(f"{mark} {number:5}  {clean(line.expandtabs(8), 400)}")


# -- by hand -------------------------------------------------------------------------------


def _print_command(case: Case) -> None:
    from harness.run.repro import by_hand

    click.echo(shlex.join(by_hand(case.machine, f"faultline.run={case.scenario.name}")))


def _gdb(case: Case, column: Column, port: int) -> None:
    from harness.build.symbols import debug_vmlinux, function_names
    from harness.build.tree import TREE  # by this name it was compiled
    from harness.machine.qemu import confined
    from harness.run.repro import by_hand

    with tempfile.TemporaryDirectory(prefix="faultline-gdb-") as folder:
        symbols = debug_vmlinux(case.kernel.image, column.arch, Path(folder))
        known = function_names(case.kernel.image)
        pieces = [piece for e in case.cell.expectations for piece in e.evidence]
        names = dict.fromkeys([*(piece.function for piece in pieces), *_HANDLERS])
        stops = [name for name in names if name in known]
        words = ["gdb-multiarch", *([str(symbols)] if symbols else [])]
        commands = [
            "set confirm off",  # of add-symbol-file
            f"add-symbol-file {case.guest}",
            f"target remote 127.0.0.1:{port}",
            # PID 1 faults, too: the handler is of interest from here on.
            f"thbreak *{case.scenario.function}",
            "continue",
            *(f"hbreak {name}" for name in stops[:4]),
        ]
        if case.kernel.source:
            commands.insert(0, f"set substitute-path ../{TREE} {case.kernel.source}")
        for text in commands:
            words += ["-ex", text]
        click.echo("the machine waits; in another terminal:\n", err=True)
        click.echo(shlex.join(words))
        if not symbols:
            click.echo("\nno symbols: this kernel came as an image without a vmlinux", err=True)
        elif not _has_lines(case):
            hint = f"--kernel '{column.kernel.name}+config:FILE' with {_DEBUG_INFO} in FILE"
            click.echo(f"\nfunctions only, no lines; for lines: {hint}", err=True)
        click.echo(
            "\nit goes on to where the scenario begins, so that no earlier fault stops it; "
            "from there `continue`. To end QEMU: ^C\n",
            err=True,
        )
        argv = by_hand(case.machine, f"faultline.run={case.scenario.name}", gdb=port)
        with _sane_terminal():
            sys.exit(subprocess.run(argv, **confined(case.machine.memory)).returncode)


def _has_lines(case: Case) -> bool:
    config = case.kernel.config
    return config is not None and "CONFIG_DEBUG_INFO=y" in config.read_text(errors="replace")


def _compiled(project: Project, column: Column, options: Options) -> Path | None:
    """The shell that is declared; without it, there is still init's prompt."""
    from harness.build import BuildError
    from harness.build.shell import build_shell
    from harness.catalog.shell import load_shell

    try:
        return build_shell(load_shell(project.root), column.arch, options.store)
    except BuildError as error:
        click.echo(f"{column.id}: no shell: {error.message}", err=True)
        return None


def _shell(case: Case, column: Column, busybox: Path | None) -> None:
    import pexpect

    from harness.build.elf import check_static
    from harness.build.initramfs import busybox_extras, write_overlay
    from harness.machine.qemu import confined
    from harness.run.repro import by_hand

    if busybox is not None:
        check_static(busybox, case.guest, column.arch.name)
    machine = replace(case.machine, one_cpu=False)  # whatever is typed there
    with tempfile.TemporaryDirectory(prefix="faultline-shell-") as folder:
        if busybox is not None:
            initrd = Path(folder) / "initramfs.cpio"
            write_overlay(initrd, machine.initrd, busybox_extras(busybox))
            machine = replace(machine, initrd=initrd)
        argv = by_hand(machine, "faultline.shell", ends_by_key=False)
        size = os.get_terminal_size()
        shell = "busybox" if busybox else "init's prompt"
        click.echo(f"{case.column.column}: {shell}; ^] ends QEMU", err=True)
        child = pexpect.spawn(
            argv[0],
            argv[1:],
            timeout=None,
            dimensions=(size.lines, size.columns),
            **confined(machine.memory),
        )
        try:
            child.interact(escape_character=_ESCAPE)
        finally:
            child.close(force=True)


@contextmanager
def _sane_terminal() -> Iterator[None]:
    """QEMU's stdio console changes the terminal; what ends it may not put that back."""
    import termios

    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
