"""`faultline compare`: one program on several columns, and where they differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import Struct

from harness.cli.around import Around, around_options, known_form, suite_option
from harness.cli.common import (
    UsageProblem,
    open_project,
    open_store,
    select,
    writable,
)
from harness.cli.options import (
    Where,
    accel_option,
    as_one,
    booted_options,
    jobs_option,
    refresh_option,
    store_option,
)
from harness.interrupt import Interrupted
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.program_record import ColumnOutput
    from harness.report.comparison import Comparison
    from harness.run.compare import Task

ARCH = "{arch}"  # in the name of a program that is there for each arch
EXIT_CODES = """\b
Exit codes:
  0  the same on all columns
  1  they differ
  2  wrong use, and a program that is for none of these columns
  3  the same where it was observed, and somewhere it was not
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM)
"""


class How(Struct, frozen=True):
    """What is looked at, and how it is run."""

    results: Path | None
    exact: bool
    stdin: Path | None
    form: str
    accel: str
    jobs: int
    refresh: bool
    store_path: Path | None


how_options = as_one(
    "how",
    How,
    click.option(
        "--results",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write what was seen on each column as JSON, with the first MiB of each stream.",
    ),
    click.option("--exact", is_flag=True, help="Compare addresses in what it prints, too."),
    click.option(
        "--stdin",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="What it reads on each column; without, its stdin is empty.",
    ),
    suite_option,
    accel_option,
    jobs_option,
    refresh_option,
    store_option,
)


@click.command(
    epilog=EXIT_CODES,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@booted_options
@how_options
@around_options
def command(
    program: str, arguments: tuple[str, ...], where: Where, how: How, around: Around
) -> None:
    """Run PROGRAM on several arches and kernels, and say where they differ.

    As `faultline exec` runs it on one: a file of C, which is compiled for each arch, a script, or
    static binaries, with {arch} in PROGRAM where the arch stands in their names. Compared are how
    it ended, what the kernel said, and what it printed, or the cases that its output tells of.

    \b
    Examples:
      faultline compare reproducer.c
      faultline compare --arch m68k --arch x86_64 --kernel debian-6.1 --kernel debian-6.12 r.c
      faultline compare --arch alpha --arch arm64 ./mremap_test.{arch}
    """
    from harness.program_record import SCHEMA, ColumnOutput, ComparisonRecord
    from harness.report.comparison import compare_columns, render_comparison
    from harness.run.program import printable

    tasks = _tasks(program, arguments, where, how, around)
    if how.results is not None:
        how.results.write_bytes(b"")  # a former run's are not to be taken for those of this one
    seen, stopped = dict[str, ColumnOutput](), None
    try:
        for one in _run(tasks, how):
            seen[one.column] = one
            click.echo(f"faultline {one.column}: {_ended(one)}", err=True)
    except Interrupted as stop:
        stopped = stop
    ids = [task.column.id for task in tasks]
    unseen = f"interrupted: {stopped}"
    record = ComparisonRecord(
        schema=SCHEMA,
        program=printable(program),
        arguments=[printable(word) for word in arguments],
        columns=[seen.get(id) or ColumnOutput(column=id, failure=unseen) for id in ids],
    )
    observed = [one for one in record.columns if one.record is not None]
    compared = compare_columns(observed, how.exact) if observed else None
    try:
        if how.results is not None:
            how.results.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    finally:  # a full disk is no reason to say nothing
        with whoever_reads():
            click.echo(render_comparison(record, compared), nl=False)
    sys.exit(stopped.exit_code if stopped else _code(record.columns, compared))


def _tasks(
    program: str, arguments: tuple[str, ...], where: Where, how: How, around: Around
) -> list[Task]:
    """One for each column; what can be looked at beforehand has been. Raises UsageProblem."""
    from harness.run.compare import Task

    known_form(how.form)
    if how.results is not None:
        writable("--results", how.results)
    if how.stdin is not None and not how.stdin.is_file():
        raise UsageProblem(f"--stdin {how.stdin} is no file: each column reads it, from its start")
    project, store = open_project(how.store_path), open_store(how.store_path)
    return [
        Task(
            project=project,
            column=column,
            program=around.program(_path(program, column.arch.name), arguments),
            form=how.form,
            stdin=how.stdin,
            store=store.root,
            accel=how.accel,
            refresh=how.refresh,
            jobs=how.jobs,
        )
        for column in select(project, where.arches, where.kernels, where.flavours)
    ]


def _path(program: str, arch: str) -> Path:
    path = Path(program.replace(ARCH, arch))
    if path.is_file():
        return path
    hint = "one for each --arch" if ARCH in program else f"{ARCH} stands for the name of the arch"
    what = "a folder" if path.is_dir() else "no file"
    raise UsageProblem(f"{path} is {what}: give a program, or a file of C; {hint}")


def _run(tasks: Sequence[Task], how: How) -> Iterator[ColumnOutput]:
    from harness.run.compare import WORK, run_all
    from harness.run.workers import Workers

    with Workers(how.jobs, len(tasks), WORK) as workers:  # what follows is loaded while they start
        from harness.run.options import Options
        from harness.run.preflight import preflight

        options = Options(store=open_store(how.store_path), accel=how.accel)
        preflight([task.column for task in tasks], options)
        yield from run_all(tasks, workers)


def _ended(one: ColumnOutput) -> str:
    from harness.report.comparison import end_of
    from harness.text import clean

    return clean(end_of(one.record) if one.record else one.failure.partition("\n")[0], 300)


def _code(columns: Sequence[ColumnOutput], compared: Comparison | None) -> int:
    if compared is None:
        return 2 if all(one.refused for one in columns) else 3
    if compared.differs:
        return 1
    return 0 if all(one.record is not None for one in columns) else 3
