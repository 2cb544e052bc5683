"""`faultline diff`: two kernels, trees or results files held against each other."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import DeclarationError
from harness.cli.common import UsageProblem, choose, no_program, open_project, select
from harness.cli.execute import run_columns
from harness.cli.options import (
    How,
    Where,
    diff_options,
    run_options,
    scenarios_argument,
)
from harness.cli.recorded import check_names, narrowed
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.results import Results

EXITS = """\b
Exit codes:
  0  no difference in any cell, and all could be compared
  1  at least one outcome changed (with --details also: a detail)
  2  wrong use or declaration
  3  no difference was seen, but not everything could be compared
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM)
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

    where = Where(arches, (), flavours)
    before, after = _sides((old, new), scenarios, where, how, quiet=form == "json")
    diff = compare(before, after, (old, new), details)
    if not diff.cells and not diff.notes:
        raise UsageProblem("nothing is left to compare: SCENARIO, --arch and --flavour fit no cell")
    with whoever_reads():
        click.echo(diff_json(diff) if form == "json" else diff_text(diff), nl=False)
    sys.exit(diff.exit_code)


def _sides(
    words: tuple[str, str], globs: tuple[str, ...], where: Where, how: How, quiet: bool
) -> list[Results]:
    """The results of both, as far as they are asked for; what is no file is run."""
    found = [_read(word) for word in words]
    files = [narrowed(one, globs, where) for one in found if one is not None]
    if len(files) == len(words):
        check_names([one for one in found if one is not None], globs, where)
        return files
    runner = _Runner(how, globs, where, quiet)
    # Each word is looked at before the first is run, which may take minutes.
    specs = [
        "" if one is not None else runner.spec(word) for word, one in zip(words, found, strict=True)
    ]
    sides: list[Results] = []
    for spec in specs:
        known = next(iter([*files, *sides]), None)
        sides.append(runner.run(spec, known) if spec else files[0])
    return sides


def _read(word: str) -> Results | None:
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
    if not kernel:
        return found
    kernels = {column.kernel for column in found.columns.values()}
    if kernel not in kernels:
        raise UsageProblem(f"{name} holds no kernel {kernel}; it has {', '.join(sorted(kernels))}")
    return narrow(found, lambda column: column.kernel == kernel, lambda name: True)


class _Runner:
    """Runs a side that is no file."""

    def __init__(self, how: How, globs: Sequence[str], where: Where, quiet: bool) -> None:
        self._how, self._where, self._quiet = how, where, quiet
        self._options = how.options()
        self._project = open_project(self._options.store.root)
        self._scenarios = choose(self._project, tuple(globs))

    def spec(self, word: str) -> str:
        """A kernel spec; the folder of a tree is one without `tree:`. Raises UsageProblem."""
        if word not in self._project.kernels and (Path(word).expanduser() / "Kconfig").is_file():
            return f"tree:{word}"
        try:
            self._project.kernel(word)
        except DeclarationError as error:
            hint = "give a results file, a kernel or the folder of a kernel tree"
            raise UsageProblem(f"{error}\n  {hint}") from None
        return word

    def run(self, spec: str, other: Results | None) -> Results:
        """The results of a kernel, on the columns of the other side if that is known already."""
        from harness.results import read_results

        project, scenarios = self._project, self._scenarios
        arches, flavours = self._where.arches, self._where.flavours
        if other is not None:
            columns = other.columns.values()
            arches = arches or _known({column.arch for column in columns}, project.arches)
            flavours = flavours or _known({column.flavour for column in columns}, project.flavours)
            names = {name for column in columns for name in column.planned}
            names |= {record.scenario for record in other.results.values()}
            scenarios = [one for one in scenarios if one.name in names]
            if not scenarios:
                raise UsageProblem("the results file holds none of these scenarios")
        chosen = select(project, arches, (spec,), flavours)
        # Standard output may be for the comparison alone.
        with redirect_stdout(sys.stderr if self._quiet else sys.stdout):
            code, path = run_columns(project, chosen, scenarios, self._options, self._how.out)
            with whoever_reads():
                click.echo(f"results: {path}\n")
        if code >= 128:
            sys.exit(code)
        return read_results([path])


def _known(present: set[str], declared: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in declared if name in present)
