"""`faultline report`: results files, shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.common import UsageProblem, unwritable
from harness.cli.options import Where, recorded_options, results_option, scenarios_argument
from harness.cli.recorded import chosen, read
from harness.report.formats import FORMATS, TERMINAL, render
from harness.stdout import whoever_reads

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

    Exits by what is shown: 0 as expected, 1 mismatch, 2 no expectation or stale evidence, 3
    incomplete, as after an interrupted run.

    \b
    Examples:
      faultline report
      faultline report 'stack/*' --arch m68k
      faultline report --results a.jsonl --results b.jsonl --format html -o report.html
      faultline report --format mail --kernel debian-6.12
    """
    from harness.results import exit_code

    for name in scenarios:
        if Path(name).suffix:  # the name of no scenario has a dot
            what = "a file" if Path(name).is_file() else "neither a scenario nor a file"
            raise UsageProblem(f"{name} is {what}: --results FILE reads one")
    results = chosen(read(files), scenarios, where)
    code = exit_code(results)
    with whoever_reads():
        _print_report(results, form, output)
    sys.exit(code)


def _print_report(results: Results, form: str, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_text(render(form, results), encoding="utf-8")
        except OSError as error:
            raise unwritable("--output", output, error) from None
    elif form == TERMINAL:
        from harness.report.terminal import render_terminal

        render_terminal(results)
    else:
        click.echo(render(form, results), nl=False)
