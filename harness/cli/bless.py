"""`faultline bless`: observed outcomes, made expectations."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.common import UsageProblem, open_project
from harness.cli.options import Where, recorded_options, results_option, scenarios_argument
from harness.cli.recorded import chosen, read


@click.command()
@scenarios_argument
@recorded_options
@results_option
@click.option(
    "--because",
    required=True,
    metavar="REASON",
    help="Why the kernel does that, in words: it is written into the row.",
)
@click.option(
    "--evidence",
    multiple=True,
    required=True,
    metavar="ID",
    help="A decision of expectations/decisions.yaml that it rests on; repeatable.",
)
@click.option(
    "--known-bug",
    "bug",
    default="",
    metavar="REFERENCE",
    help="The kernel is wrong there: a commit, a mail, or `unreported: WHAT`.",
)
@click.option(
    "--want", default="", metavar="OUTCOME", help="With --known-bug: what is right instead."
)
@click.option(
    "--range",
    "kernel_range",
    default="",
    metavar="RANGE",
    help="Kernels the row is for, as '<6.3' or '>=6.1, <6.13'. Default: the series observed.",
)
@click.option(
    "--own-commits",
    is_flag=True,
    help="Also of a git tree with commits on top of a release: the reason says on which.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def command(
    scenarios: tuple[str, ...],
    where: Where,
    files: tuple[Path, ...],
    because: str,
    evidence: tuple[str, ...],
    bug: str,
    want: str,
    kernel_range: str,
    own_commits: bool,
    dry_run: bool,
) -> None:
    """Write outcomes that were observed, and not expected, into the matrix.

    Reads results files as `report` does, and writes one row for each outcome, as narrow as what
    was seen: its arches and release series, in front of the row that was wrong. Comments and
    layout stay as they are. The difference is shown; the files are loaded again before they are
    written.

    Not blessed are: what was not the same twice, was not observed, or comes from a run that was
    interrupted; what rests on evidence that was stale in that kernel's source; what a kernel did
    that has changes of its own (--own-commits: not committed ones); and a hang, an oops or a
    warning without --known-bug.

    \b
    Example:
      faultline bless stack/below-usp-257 --arch m68k --dry-run \\
          --because 'stacks grow only down to usp - 256' --evidence usp-rule
    """
    from harness.bless import Words, bless, write

    if not scenarios:
        raise UsageProblem("name the scenarios: nothing is blessed wholesale")
    project = open_project()
    results = read(files)
    words = Words(
        because=because,
        evidence=evidence,
        bug=bug,
        want=want,
        kernels=kernel_range,
        own_commits=own_commits,
    )
    blessings, diff = bless(project, results, chosen(results, scenarios, where), words)
    if not dry_run:  # before a word of it: a reader who has gone must not decide what is written
        write(project, blessings)
    click.echo(diff, nl=False)
    for blessing in blessings:
        click.echo(f"{'would bless' if dry_run else 'blessed'} {blessing}")
