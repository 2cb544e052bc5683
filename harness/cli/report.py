"""`faultline report`: results files, shown."""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import quote, suggest
from harness.cli.common import UsageProblem, no_program
from harness.cli.options import Where, recorded_options, results_option, scenarios_argument
from harness.report.formats import FORMATS, TERMINAL, render
from harness.stdout import drop_stdout

if TYPE_CHECKING:
    from harness.results import Results


@click.command()
@scenarios_argument
@recorded_options
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default=TERMINAL,
    show_default=True,
    help="; ".join(f"{name}: {form.about}" for name, form in FORMATS.items()) + ".",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Not stdout.")
def command(
    scenarios: tuple[str, ...],
    where: Where,
    files: tuple[Path, ...],
    form: str,
    output: Path | None,
) -> None:
    """Show results files, whole or narrowed to SCENARIO globs and columns.

    Exits by what is shown: 0 as expected, 1 mismatch, 2 no expectation, 3 incomplete, as after
    an interrupted run.

    \b
    Examples:
      faultline report
      faultline report 'stack/*' --arch m68k
      faultline report --results a.jsonl --results b.jsonl --format html -o report.html
      faultline report --format mail --kernel debian-6.12
    """
    from harness.results import exit_code

    for name in scenarios:
        if Path(name).suffix and Path(name).is_file():  # the name of no scenario has a dot
            raise UsageProblem(f"{name} is a file: --results reads it")
    results = narrowed(read(files), scenarios, where)
    code = exit_code(results)
    try:
        _print_report(results, form, output)
    except BrokenPipeError:
        drop_stdout()
    sys.exit(code)


def read(files: tuple[Path, ...]) -> Results:
    """The results files that were named, else the last run's. Raises UsageProblem."""
    from harness.results import read_results

    files = files or (Path("out/results.jsonl"),)
    try:
        for path in files:
            no_program(path)
        found = read_results(files)
        for path in files if found.damaged or not found.results else ():
            one = read_results([path])
            if not (one.runs or one.columns or one.results or one.ends):
                raise UsageProblem(f"{path} is no results file: no line of it is a record")
        return found
    except OSError as error:
        hint = "run `faultline run` first, or name a results file"
        raise UsageProblem(f"{error.filename}: {error.strerror}; {hint}") from None


def narrowed(found: Results, scenarios: tuple[str, ...], where: Where) -> Results:
    """The cells that options and globs leave. Raises UsageProblem when they leave none."""
    from harness.results import narrow

    if not found.columns:
        raise UsageProblem("these files have no column: nothing was run, or its record is lost")
    _check_names(found, where)
    results = narrow(
        found,
        lambda column: (
            (not where.arches or column.arch in where.arches)
            and (not where.kernels or column.kernel in where.kernels)
            and (not where.flavours or column.flavour in where.flavours)
        ),
        lambda name: not scenarios or any(fnmatch.fnmatchcase(name, glob) for glob in scenarios),
    )
    if found.results and not results.results:
        raise UsageProblem("no result is left: nothing in these files fits SCENARIO and options")
    return results


def _check_names(found: Results, where: Where) -> None:
    """A name that no column has is a mistake, also beside one that some column has."""
    columns = found.columns.values()
    for what, given, present in (
        ("arch", where.arches, {column.arch for column in columns}),
        ("kernel", where.kernels, {column.kernel for column in columns}),
        ("flavour", where.flavours, {column.flavour for column in columns}),
    ):
        for name in given:
            if name not in present:
                hint = suggest(name, present)
                raise UsageProblem(f"no column of {what} {quote(name)} in these files\n  {hint}")


def _print_report(results: Results, form: str, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_text(render(form, results), encoding="utf-8")
        except OSError as error:
            raise UsageProblem(f"{output}: {error.strerror}") from None
    elif form == TERMINAL:
        from harness.report.terminal import render_terminal

        render_terminal(results)
    else:
        click.echo(render(form, results), nl=False)
