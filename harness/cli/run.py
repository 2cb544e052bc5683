"""`faultline run`: build, boot, observe and compare."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from harness.cli.common import (
    EXIT_CODES,
    Infrastructure,
    UsageProblem,
    choose,
    column_options,
    drop_stdout,
    open_project,
    open_store,
    scenarios_argument,
    select,
    store_option,
)


@click.command(epilog=EXIT_CODES)
@scenarios_argument
@column_options
@store_option
@click.option(
    "--jobs", "-j", type=click.IntRange(0), default=0, help="Machines at a time. Default: CPUs."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder for RUN.jsonl, results.jsonl (a link to it), report.md and report.html.",
)
@click.option(
    "--accel",
    type=click.Choice(["auto", "tcg", "kvm"]),
    default="auto",
    show_default=True,
    help="auto takes KVM only where a boot has proved that it works here.",
)
@click.option("--no-wedging", is_flag=True, help="Leave out cells expected to hang or oops.")
@click.option("--shuffle", metavar="SEED", default="", help="Scenarios in another order.")
@click.option(
    "--no-snapshots", is_flag=True, help="Boot every machine, also one that a snapshot is kept of."
)
@click.option("--refresh", is_flag=True, help="Resolve kernel names anew (asks apt).")
def command(
    scenarios: tuple[str, ...],
    arches: tuple[str, ...],
    kernels: tuple[str, ...],
    flavours: tuple[str, ...],
    store_path: Path | None,
    jobs: int,
    out: Path,
    accel: str,
    no_wedging: bool,
    no_snapshots: bool,
    shuffle: str,
    refresh: bool,
) -> None:
    """Build, boot, observe and compare.

    SCENARIO is a name or a glob such as 'stack/*'; without one, everything runs. Kernels are
    built on first use and kept; results are written as they come.

    \b
    Examples:
      faultline run stack/below-usp-257 --kernel debian-6.1 --arch m68k
      faultline run 'hwpoison/*' --arch x86_64 --arch arm64
      faultline run --kernel tree:~/linux --arch alpha
    """
    from harness.progress import make_progress
    from harness.run.execute import execute, new_run_id
    from harness.run.prepare import Options, preflight

    project = open_project()
    columns = select(project, arches, kernels, flavours)
    chosen = choose(project, scenarios)
    options = Options(
        store=open_store(store_path),
        accel=accel,
        refresh=refresh,
        wedging=not no_wedging,
        snapshots=not no_snapshots,
        shuffle=shuffle,
        jobs=jobs,
    )
    preflight(columns, options)
    run_id = new_run_id()
    path = _results_path(out, run_id)
    try:
        with make_progress() as progress:
            code = execute(project, columns, chosen, options, path, progress, run_id)
    except OSError as error:
        raise Infrastructure(f"{error}\n  what was observed until then is in {path}") from None
    try:
        _report_run(path, out, code)
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        click.echo(f"Error: no report: {error}\n  the results are in {path}", err=True)
        code = code or 3  # what is proven stays so
    sys.exit(code)


def _results_path(out: Path, run_id: str) -> Path:
    """A results file for this run below `out`; results.jsonl there is always the last one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{run_id}.jsonl"
        path.touch()
        link = out / f".results.{os.getpid()}"
        link.symlink_to(path.name)
        link.replace(out / "results.jsonl")
    except OSError as error:
        raise UsageProblem(
            f"--out {out}: {error.strerror}; give a folder that is writable"
        ) from None
    return path


def _report_run(path: Path, out: Path, code: int) -> None:
    from harness.report.formats import render
    from harness.report.terminal import render_terminal
    from harness.results import read_results

    results = read_results([path])
    render_terminal(results, code=code)
    click.echo(f"\nresults: {path}")
    for form, name in (("markdown", "report.md"), ("html", "report.html")):
        report = out / name
        report.write_text(render(form, results), encoding="utf-8")
        click.echo(f"report:  {report}")
