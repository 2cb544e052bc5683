"""`faultline diff`: two kernels, trees or results files held against each other."""

from __future__ import annotations

import fnmatch
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import DeclarationError
from harness.cli.common import UsageProblem, choose, no_program, open_project, select
from harness.cli.execute import run_columns
from harness.cli.options import (
    How,
    diff_options,
    run_options,
    scenarios_argument,
)
from harness.stdout import drop_stdout

if TYPE_CHECKING:
    from harness.catalog.project import Project
    from harness.results import ColumnRecord, Results
    from harness.run.options import Options

EXITS = """\b
Exit codes:
  0  no difference in any cell, and all could be compared
  1  at least one outcome changed (with --details also: a detail)
  2  wrong use or declaration
  3  no difference was seen, but not everything could be compared
  130, 143  interrupted
"""


@click.command(epilog=EXITS)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@scenarios_argument
@diff_options
@click.option(
    "--details",
    is_flag=True,
    help="Compare what stands beside equal outcomes as well: error codes, trap numbers, fault "
    "counts, kernel log lines; addresses by how they lie to the touched one.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@run_options
def command(
    old: str,
    new: str,
    scenarios: tuple[str, ...],
    arches: tuple[str, ...],
    flavours: tuple[str, ...],
    details: bool,
    form: str,
    how: How,
) -> None:
    """Say what is different in NEW, arch by arch, and what cannot be said.

    OLD and NEW are results files (FILE, or FILE#KERNEL where one holds several), kernels as
    run --kernel takes them, or folders of kernel trees. What is no file is built, booted and
    run first, on the arches that the other side has. SCENARIO narrows, as 'stack/*'.

    \b
    Examples:
      faultline diff debian-6.1 debian-6.12 --arch m68k
      faultline diff before.jsonl after.jsonl 'uaccess/*' --details
      faultline diff debian-6.12 ~/linux --arch alpha --repeat 10
    """
    from harness.report.diff import compare
    from harness.report.diffjson import diff_json
    from harness.report.difftext import diff_text

    options = how.options()
    wanted = _Wanted(scenarios, arches, flavours)
    sides = [_read(word, wanted) for word in (old, new)]
    known = next((side for side in sides if side is not None), None)
    results = []
    for word, side in zip((old, new), sides, strict=True):
        if side is None:
            side = known = _run(word, wanted, known, options, how.out, quiet=form == "json")
        results.append(side)
    diff = compare(results[0], results[1], (old, new), details)
    if not diff.cells and not diff.notes:
        raise UsageProblem("nothing is left to compare: SCENARIO, --arch and --flavour fit no cell")
    try:
        click.echo(diff_json(diff) if form == "json" else diff_text(diff), nl=False)
    except BrokenPipeError:
        drop_stdout()
    sys.exit(diff.exit_code)


@dataclass(frozen=True)
class _Wanted:
    """What the command line narrows to; nothing: everything."""

    scenarios: tuple[str, ...]
    arches: tuple[str, ...]
    flavours: tuple[str, ...]

    def column(self, column: ColumnRecord) -> bool:
        return (not self.arches or column.arch in self.arches) and (
            not self.flavours or column.flavour in self.flavours
        )

    def scenario(self, name: str) -> bool:
        globs = self.scenarios
        return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _read(word: str, wanted: _Wanted) -> Results | None:
    """The results in a file; None where the word names something to be run."""
    from harness.results import narrow, read_results

    name, kernel = word, ""
    if not Path(name).is_file() and "#" in word and not word.startswith("git:"):
        name, _, kernel = word.rpartition("#")
    path = Path(name)
    if not path.is_file():
        if path.suffix == ".jsonl":
            raise UsageProblem(f"{name}: there is no such results file")
        return None
    try:
        no_program(path)
        found = read_results([path])
    except OSError as error:
        raise UsageProblem(f"{name}: {error.strerror}") from None
    if not found.runs and not found.columns and not found.results:
        raise UsageProblem(f"{name} is no results file: no line of it is a record")
    kernels = {column.kernel for column in found.columns.values()}
    if kernel and kernel not in kernels:
        raise UsageProblem(f"{name} holds no kernel {kernel}; it has {', '.join(sorted(kernels))}")
    return narrow(
        found,
        lambda column: wanted.column(column) and (not kernel or column.kernel == kernel),
        wanted.scenario,
    )


def _run(
    word: str, wanted: _Wanted, other: Results | None, options: Options, out: Path, quiet: bool
) -> Results:
    """Run a kernel on the columns of the other side, if that is known already."""
    from harness.results import narrow, read_results

    project = open_project(options.store.root)
    arches, flavours = wanted.arches, wanted.flavours
    scenarios = choose(project, wanted.scenarios)
    if other is not None:
        columns = other.columns.values()
        arches = arches or _known({column.arch for column in columns}, project.arches)
        flavours = flavours or _known({column.flavour for column in columns}, project.flavours)
        names = {name for column in columns for name in column.planned}
        names |= {record.scenario for record in other.results.values()}
        scenarios = [one for one in scenarios if one.name in names]
        if not scenarios:
            raise UsageProblem("the results file holds none of these scenarios")
    chosen = select(project, arches, (_spec(word, project),), flavours)
    if quiet:  # standard output is for the comparison alone
        import contextlib

        with contextlib.redirect_stdout(sys.stderr):
            code, path = run_columns(project, chosen, scenarios, options, out)
    else:
        code, path = run_columns(project, chosen, scenarios, options, out)
        click.echo(f"results: {path}\n")
    if code >= 128:
        sys.exit(code)
    return narrow(read_results([path]), wanted.column, wanted.scenario)


def _known(present: set[str], declared: object) -> tuple[str, ...]:
    assert isinstance(declared, dict | tuple)
    return tuple(name for name in declared if name in present)


def _spec(word: str, project: Project) -> str:
    """A kernel spec; the folder of a tree is one without `tree:`."""
    if word not in project.kernels and (Path(word).expanduser() / "Kconfig").is_file():
        return f"tree:{word}"
    try:
        project.kernel(word)
    except DeclarationError as error:
        hint = "give a results file, a kernel or the folder of a kernel tree"
        raise UsageProblem(f"{error}\n  {hint}") from None
    return word
