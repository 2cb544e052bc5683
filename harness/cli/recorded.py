"""What `report`, `bless` and `diff` share: results files, read and narrowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness.catalog.yamlfile import quote, suggest
from harness.cli.common import UsageProblem, no_program

if TYPE_CHECKING:
    from harness.cli.options import Where
    from harness.results import Results


def read(files: Sequence[Path]) -> Results:
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


def check_names(found: Sequence[Results], scenarios: Iterable[str], where: Where) -> None:
    """A name that nothing in these files has is a mistake, also beside one that something has.
    Raises UsageProblem.
    """
    columns = [column for one in found for column in one.columns.values()]
    for what, given, present in (
        ("arch", where.arches, {column.arch for column in columns}),
        ("kernel", where.kernels, {column.kernel for column in columns}),
        ("flavour", where.flavours, {column.flavour for column in columns}),
    ):
        for name in given:
            if name not in present:
                hint = suggest(name, present)
                raise UsageProblem(f"no column of {what} {quote(name)} in these files\n  {hint}")
    names = {name for column in columns for name in column.planned}
    names |= {record.scenario for one in found for record in one.results.values()}
    families = {f"{name.partition('/')[0]}/*" for name in names}
    for glob in scenarios:
        if not any(fnmatchcase(name, glob) for name in names):
            hint = suggest(glob, families | names if "/" in glob else families, families)
            raise UsageProblem(f"no scenario of these files matches {quote(glob)}\n  {hint}")


def narrowed(found: Results, scenarios: Sequence[str], where: Where) -> Results:
    """The cells that options and globs leave."""
    from harness.results import narrow

    return narrow(
        found,
        lambda column: (
            (not where.arches or column.arch in where.arches)
            and (not where.kernels or column.kernel in where.kernels)
            and (not where.flavours or column.flavour in where.flavours)
        ),
        lambda name: not scenarios or any(fnmatchcase(name, glob) for glob in scenarios),
    )


def chosen(found: Results, scenarios: Sequence[str], where: Where) -> Results:
    """The cells that options and globs leave. Raises UsageProblem when they leave none."""
    if not found.columns:
        raise UsageProblem("these files have no column: nothing was run, or its record is lost")
    check_names([found], scenarios, where)
    results = narrowed(found, scenarios, where)
    if found.results and not results.results:
        raise UsageProblem("no result is left: no cell in these files fits SCENARIO and options")
    return results
