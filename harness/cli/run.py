"""`faultline run`: build, boot, observe and compare."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct
from msgspec.structs import replace

from harness.cli.common import (
    EXIT_CODES,
    UsageProblem,
    choose,
    kernel_specs,
    open_project,
    refuse_flavours,
    select,
    trace,
)
from harness.cli.execute import LAST_BASE, run_columns
from harness.cli.options import (
    Changes,
    How,
    Where,
    column_options,
    more_scenarios_option,
    run_options,
    scenarios_argument,
    tree_options,
)
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.catalog.kernels import Kernel
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.report.diff import CellDiff
    from harness.run.options import Options
    from harness.run.plan import Column

ABORT = 255  # of a step that cannot go on at all: `git bisect run` stops on what is above 127


@click.command(epilog=EXIT_CODES)
@scenarios_argument
@more_scenarios_option
@column_options
@tree_options
@click.option(
    "--base",
    metavar="REV",
    help="What to compare with: a revision of the tree's repository, or a kernel. Default with "
    "--tree and --git: HEAD where there are changes, else the merge base with upstream, if "
    "there is one; with --patch: the same kernel without them.",
)
@click.option("--no-base", is_flag=True, help="Compare with nothing but the matrix.")
@run_options
@click.option("--no-wedging", is_flag=True, help="Leave out cells expected to hang or oops.")
@click.option("--shuffle", metavar="SEED", default="", help="Scenarios in another order.")
@click.option(
    "--bisect-step",
    is_flag=True,
    help="For `git bisect run`: one cell; exit 0 where its outcome is --outcome, 1 where it is "
    "another, 125 where that cannot be judged.",
)
@click.option("--outcome", metavar="TEXT", help="With --bisect-step: the outcome that is exit 0.")
@click.option("--invert", is_flag=True, help="With --bisect-step: that outcome is exit 1.")
def command(
    scenarios: tuple[str, ...],
    more: tuple[str, ...],
    where: Where,
    changes: Changes,
    base: str | None,
    no_base: bool,
    how: How,
    no_wedging: bool,
    shuffle: str,
    bisect_step: bool,
    outcome: str | None,
    invert: bool,
) -> None:
    """Build, boot, observe and compare.

    SCENARIO is a name or a glob such as 'stack/*'; without one, everything runs. Kernels are
    built on first use and kept; results are written as they come. With --tree, --git, --patch
    or --base a second kernel is run, and what changed against it is said at the end (exit code
    1 then, 3 where something could not be compared).

    \b
    Examples:
      faultline run stack/below-usp-257 --kernel debian-6.1 --arch m68k
      faultline run 'hwpoison/*' --arch x86_64 --arch arm64
      faultline run --tree ~/linux --arch m68k --arch alpha
      faultline run --patch fix.patch --arch m68k 'stack/*'
    """
    options = how.options(wedging=not no_wedging, shuffle=shuffle)

    def plan() -> _Run:
        _check_together(base, no_base, bisect_step, outcome, invert)
        return _plan(open_project(how.store_path), scenarios + more, where, changes)

    if bisect_step:
        sys.exit(_bisect_step(plan, outcome, invert, options, how.out))
    run, reference = plan(), None
    if base is not None or (changes.have_base and not no_base):
        from harness.run.preflight import preflight  # else it is loaded while workers start

        preflight(run.columns, options)
        reference = _choose_base(run, base or "", options)
    code, path = run_columns(
        run.project, run.columns, run.scenarios, options, how.out, meanwhile=_load_reports
    )
    code = _report(path, how.out, code)
    if code < 128 and reference is not None:
        code = _compare(run, reference, path, options, how.out, code)
    sys.exit(code)


def _check_together(
    base: str | None, no_base: bool, bisect_step: bool, outcome: str | None, invert: bool
) -> None:
    """Raises UsageProblem for options of which one would go unheard."""
    if base is not None and no_base:
        raise UsageProblem("--base beside --no-base: give one of them")
    if (outcome is not None or invert) and not bisect_step:
        raise UsageProblem("--outcome and --invert belong to --bisect-step")


class _Run(Struct, frozen=True):
    project: Project
    columns: Sequence[Column]
    scenarios: Sequence[Scenario]


def _plan(project: Project, scenarios: tuple[str, ...], where: Where, changes: Changes) -> _Run:
    specs = kernel_specs(project, where, changes)
    columns = select(project, where.arches, specs, where.flavours)
    refuse_flavours(columns)
    return _Run(project, columns, choose(project, scenarios))


# -- against a base --


def _choose_base(run: _Run, given: str, options: Options) -> Kernel | None:
    from harness.run.base import choose_base

    kernels = list(dict.fromkeys(column.kernel for column in run.columns))
    if len(kernels) > 1:
        raise UsageProblem("one kernel is compared with a base: give one --kernel")
    reference, why = choose_base(kernels[0], given, run.project, options.store)
    if reference is None:
        click.echo(f"compared with the matrix only: {why}", err=True)
    else:
        click.echo(f"base: {reference.name} ({why})", err=True)
    return reference


def _compare(
    run: _Run, reference: Kernel, path: Path, options: Options, out: Path, code: int
) -> int:
    """Run the base where the tree has been observed, and say what changed. The exit code."""
    from harness.report.diff import Kind, compare
    from harness.report.difftext import diff_text
    from harness.results import Results, read_results

    old, new, base_path = Results(), read_results([path]), path
    seen = {record.column for record in new.results.values() if record.observation.outcome}
    columns = [replace(one, kernel=reference) for one in run.columns if one.id in seen]
    if columns:
        click.echo()
        stopped, base_path = run_columns(
            run.project, columns, run.scenarios, options, out, LAST_BASE
        )
        if stopped >= 128:
            return stopped
        old = read_results([base_path])
    diff = compare(old, new, (reference.name, ""))
    if either := diff.of_kind(Kind.EITHER):
        stopped, again = _look_again(run, reference, either, options, out)
        if stopped >= 128:
            return stopped
        old, new = read_results([base_path, again[1]]), read_results([path, again[0]])
        diff = compare(old, new, (reference.name, ""))
    with whoever_reads():
        click.echo(f"\nAgainst the base\n\n{diff_text(diff)}", nl=False)
    # What is proven comes first; of the rest the lower code, 0 last.
    return min((c for c in (code, diff.exit_code) if c), default=0)


def _look_again(
    run: _Run, reference: Kernel, either: Sequence[CellDiff], options: Options, out: Path
) -> tuple[int, list[Path]]:
    """Both sides once more, so often that chance is no explanation: exit code of the last run, and
    the results files of these cells, the tree's first.
    """
    from harness.report import words
    from harness.report.diff import ENOUGH

    told = {cell.new.column for cell in either if cell.new is not None}
    names = {cell.scenario for cell in either}
    columns = [one for one in run.columns if one.id in told]
    scenarios = [one for one in run.scenarios if one.name in names]
    cells = words.plural(len(either), "cell")
    click.echo(f"\nlooking {ENOUGH} times at {cells} that may end in several ways", err=True)
    often = replace(options, times=max(ENOUGH, options.times))
    stopped, paths = 0, list[Path]()
    for side, link in (
        (columns, "again.jsonl"),
        ([replace(one, kernel=reference) for one in columns], "base-again.jsonl"),
    ):
        stopped, path = run_columns(run.project, side, scenarios, often, out, link)
        paths.append(path)
        if stopped >= 128:
            break
    return stopped, paths


# -- a step of a bisection --


def _bisect_step(
    plan: Callable[[], _Run], outcome: str | None, invert: bool, options: Options, out: Path
) -> int:
    """0, 1, 125, 129, 130 or 143, and ABORT for what no commit can change."""
    from harness.build import BuildError
    from harness.catalog.yamlfile import DeclarationError
    from harness.machine import QemuError
    from harness.run.bisect import SKIP, Hopeless, Step, canonical

    try:
        run = plan()
        if len(run.columns) != 1 or len(run.scenarios) != 1 or not outcome:
            raise UsageProblem("--bisect-step is about one cell: give one SCENARIO, --arch, "
                               "kernel and --outcome")  # fmt: skip
        step = Step(canonical(outcome), invert)
    except (UsageProblem, DeclarationError) as error:
        click.echo(f"Error: {error}", err=True)
        return ABORT
    try:
        for times in step.rounds(options.times):
            again = replace(options, times=times)
            code, path = run_columns(run.project, run.columns, run.scenarios, again, out)
            if code >= 128:
                return code
            code, said = step.judge(path)
            click.echo(f"bisect step: {said}")
            if code != SKIP:
                return code
    except (BuildError, QemuError, Hopeless, click.ClickException, OSError) as error:
        click.echo(f"bisect step: cannot be judged: {error}", err=True)
    except Exception as error:  # exit code 3, as of other commands, would be read as a judgement
        trace()
        what = f"{type(error).__name__}: {error}"
        click.echo(f"bisect step: cannot be judged: this is a bug of faultline: {what}", err=True)
    return SKIP


REPORTS = (("markdown", "report.md"), ("html", "report.html"))  # kept beside the results


def _load_reports() -> None:
    """While machines boot: what the reports need is a tenth of a second at the end."""
    from harness.report.formats import TERMINAL, load

    for form in (TERMINAL, *(form for form, _ in REPORTS)):
        load(form)


def _report(path: Path, out: Path, code: int) -> int:
    """Print and keep the report; the exit code, which a report that fails makes 3."""
    from harness.report.formats import render
    from harness.report.terminal import render_terminal
    from harness.results import read_results

    try:
        results = read_results([path])
        with whoever_reads():
            render_terminal(results, code=code)
            click.echo(f"\nresults: {path}")
        for form, name in REPORTS:
            report = out / name
            report.write_text(render(form, results), encoding="utf-8")
            with whoever_reads():
                click.echo(f"report:  {report}")
    except OSError as error:
        click.echo(f"Error: no report: {error}\n  the results are in {path}", err=True)
        return code or 3  # what is proven stays so
    return code
