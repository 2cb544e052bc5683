"""`faultline import`: a log from elsewhere becomes a column."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.common import EXIT_CODES, UsageProblem, complete_from, open_project
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.catalog.arches import Arch
    from harness.catalog.project import Project
    from harness.machine.port import Hello
    from harness.results import Record
    from harness.run.imported import Log

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@click.command(epilog=EXIT_CODES)
@click.argument("log", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--as", "name", metavar="NAME", required=True, help="What the column is called.")
@click.option(
    "--arch",
    metavar="NAME",
    help="Default: by the machine that the log names.",
    shell_complete=complete_from(lambda project: list(project.arches)),
)
@click.option(
    "--version",
    metavar="V",
    help="The Linux version to be judged by. Default: what the log's uname claims.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Results file. Default: out/NAME.jsonl.",
)
def command(
    log: Path, name: str, arch: str | None, version: str | None, output: Path | None
) -> None:
    """Turn LOG, what `faults --all` printed on some system, into a results file.

    The guest binary of an arch is where `faultline build --arch NAME` says; it needs nothing but
    a kernel that runs static binaries. `-` is stdin.

    \b
    Examples:
      ./faults --all >LOG            there
      faultline import LOG --as gvisor
      faultline report --results out/results.jsonl --results out/gvisor.jsonl
    """
    from harness.report.terminal import render_terminal
    from harness.results import read_results
    from harness.run.execute import new_run_id
    from harness.run.imported import make_column

    project = open_project()
    _check(name, version, project)
    found, system = _read(log)
    chosen = _arch(log, arch, system.machine, project)
    path, run_id = output or Path("out") / f"{name}.jsonl", new_run_id()
    if path.exists() and log.exists() and path.samefile(log):
        raise UsageProblem(f"--output {path}: that is LOG itself")
    release = version or system.release
    column, results = make_column(found, name, run_id, chosen, release, project, str(log))
    code = _write(path, run_id, [column, *results])
    with whoever_reads():
        render_terminal(read_results([path]), code=code)
        click.echo(f"\nresults: {path}")
    if found.damaged:
        click.echo(f"{found.damaged} damaged frames in {log}: what they told is missing", err=True)
    sys.exit(code)


def _check(name: str, version: str | None, project: Project) -> None:
    from harness.catalog.version import VersionError, parse_version

    if not _NAME.fullmatch(name) or name in (*project.kernels, "local", "qemu-user"):
        raise UsageProblem(f"--as {name}: expected a name of letters, digits and . _ + - "
                           "that is no kernel's")  # fmt: skip
    try:
        if version is not None:
            parse_version(version)
    except VersionError as error:
        raise UsageProblem(f"--version {error}") from None


def _read(log: Path) -> tuple[Log, Hello]:
    """The log, and the system that it is of. Raises UsageProblem."""
    from harness.run.imported import LogError, read_log, system_of

    try:
        with click.open_file(str(log), "rb") as file:
            found = read_log(file)
        return found, system_of(found)
    except (LogError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageProblem(f"{log}: {why}") from None


def _arch(log: Path, asked: str | None, machine: str, project: Project) -> Arch:
    """The arch that was asked for, else the one that the log names."""
    from harness.run.target import arch_of

    named = arch_of(machine, project.arches)
    chosen = project.arch(asked) if asked else named
    if chosen is None:
        raise UsageProblem(f"{log}: a {machine[:40]!r} is no arch of ours: give --arch")
    if named is not None and named.name not in chosen.bases:  # as of an arm binary on arm64
        click.echo(f"{log} names {machine}, and was judged as {chosen.name}", err=True)
    return chosen


def _write(path: Path, run_id: str, records: Sequence[Record]) -> int:
    """The exit code of the results, which are all that the file then holds."""
    from harness.results import EndRecord, ResultsWriter, exit_code, read_results
    from harness.run.execute import now, run_record

    try:
        path.unlink(missing_ok=True)
        opened = ResultsWriter(path)
    except OSError as error:
        hint = "give a file in a folder that is writable"
        raise UsageProblem(f"--output {path}: {error.strerror}; {hint}") from None
    with opened as writer:
        for record in (run_record(run_id), *records):
            writer.write(record)
        code = exit_code(read_results([path]), ending=run_id)
        writer.write(EndRecord(run_id=run_id, finished=now(), exit_code=code))
    return code
