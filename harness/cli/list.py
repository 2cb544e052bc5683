"""`faultline list`: what is declared, and what would run where."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import DeclarationError, quote, suggest
from harness.cli.common import UsageProblem, choose, open_project, open_store, select
from harness.cli.options import Where, column_options, store_option
from harness.text import near

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from harness.build.store import Store
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.run.plan import Cell, Column

KINDS = ("arches", "kernels", "scenarios")


def _split(words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """(kind, names): a first word that is no kind is the name of scenarios."""
    if words and words[0] in KINDS:
        return words[0], tuple(words[1:])
    return "scenarios", tuple(words)


def _complete_words(ctx: click.Context, _param: object, incomplete: str) -> list[CompletionItem]:
    """A kind or a scenario first, then names of that kind."""
    from click.shell_completion import CompletionItem

    try:
        project = open_project()
    except DeclarationError:
        return []
    words = ctx.params.get("words") or ()
    known: dict[str, Iterable[str]] = {"arches": project.arches, "kernels": project.kernels}
    names = [*known.get(_split(words)[0], project.matrix.scenarios), *(() if words else KINDS)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("list")
@click.argument(
    "words",
    nargs=-1,
    metavar="[arches|kernels|scenarios] [NAME]...",
    shell_complete=_complete_words,
)
@column_options
@store_option
def command(words: tuple[str, ...], where: Where, store_path: Path | None) -> None:
    """Show what is declared: arches, kernels, or scenarios.

    NAME is a name or a glob such as 'stack/*'; without one, all are shown. With --arch, --kernel
    or --flavour, scenarios are shown with what is expected of them in these columns (on TCG), or
    why they are n/a there; nothing is built for it. How many there are is said on stderr.

    \b
    Examples:
      faultline list 'stack/*'
      faultline list 'stack/*' --arch m68k --arch alpha
      faultline list kernels 'debian-*'
    """
    kind, names = _split(words)
    project = open_project(store_path)
    columns = bool(where.arches or where.kernels or where.flavours)
    if kind != "scenarios":
        if columns:
            raise UsageProblem(
                f"columns are of scenarios: no --arch, --kernel, --flavour of {kind}"
            )
        (_list_arches if kind == "arches" else _list_kernels)(project, names)
        return
    try:
        chosen = choose(project, names)
    except DeclarationError as error:
        if words and words == names and "/" not in words[0]:  # perhaps a kind was meant
            if near(words[0], KINDS):
                what = f"no scenario matches {quote(words[0])}"
                raise UsageProblem(f"{what}\n  {suggest(words[0], KINDS)}") from None
            hint = f"a first word may also be {', '.join(KINDS)}"
            raise UsageProblem(f"{error}\n  {hint}") from None
        raise
    if columns:
        _list_cells(project, chosen, where, open_store(store_path))
    else:
        _list_scenarios(chosen)
    families = {scenario.name.partition("/")[0] for scenario in chosen}
    click.echo(
        f"{_count(chosen, 'scenario')} in {_count(families, 'family', 'families')}", err=True
    )


def _count(things: Sized, one: str, several: str = "") -> str:
    return f"{len(things)} {one if len(things) == 1 else several or f'{one}s'}"


def _named(what: str, known: Iterable[str], globs: tuple[str, ...]) -> list[str]:
    """Those of the known names that fit a glob; all without globs. One must fit each."""
    names = list(known)
    for glob in globs:
        if not fnmatch.filter(names, glob):
            raise UsageProblem(f"unknown {what} {quote(glob)}\n  {suggest(glob, names)}")
    return [n for n in names if not globs or any(fnmatch.fnmatchcase(n, g) for g in globs)]


def _list_arches(project: Project, names: tuple[str, ...]) -> None:
    for arch in map(project.arch, _named("arch", project.arches, names)):
        variant = f" (variant of {arch.bases[1]})" if len(arch.bases) > 1 else ""
        click.echo(
            f"{arch.name:12} {arch.qemu} -M {arch.machine}, {arch.smp} CPU, "
            f"{arch.memory} MiB{variant}"
        )


def _list_kernels(project: Project, names: tuple[str, ...]) -> None:
    for name in _named("kernel", project.kernels, names):
        kernel = project.kernels[name]
        mark = " (default)" if name == project.kernels.default else ""
        click.echo(f"{name:12} {kernel.source}{mark}")
        for arch_name, because in kernel.unavailable.items():
            click.echo(f"{'':12} not for {arch_name}: {because}")


def _list_scenarios(chosen: Sequence[Scenario]) -> None:
    width = max(len(scenario.name) for scenario in chosen)
    for scenario in chosen:
        needs = f" (needs {scenario.needs})" if str(scenario.needs) else ""
        click.echo(f"{scenario.name:{width}}  {scenario.summary}{needs}")


# -- what would run where --


def _list_cells(project: Project, chosen: Sequence[Scenario], where: Where, store: Store) -> None:
    """A line for each thing that is expected of a scenario, with the columns it is expected in."""
    columns = select(project, where.arches, where.kernels, where.flavours)
    expected: dict[str, dict[str, list[str]]] = {scenario.name: {} for scenario in chosen}
    counts: dict[str, Counter[str]] = {}
    for column in columns:
        foreseen = _foreseen(project, column, chosen, store)
        counts[column.id] = Counter(kind for kind, _ in foreseen.values())
        for name, (_, text) in foreseen.items():
            expected[name].setdefault(text, []).append(column.id)
    for scenario in chosen:
        click.echo(f"{scenario.name}  {scenario.summary}")
        for text, ids in expected[scenario.name].items():
            place = "all columns" if 1 < len(columns) == len(ids) else " ".join(ids)
            click.echo(f"  {place}: {text}")
    for column_id, kinds in counts.items():
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        click.echo(f"{column_id}: {said}", err=True)


def _foreseen(
    project: Project, column: Column, chosen: Sequence[Scenario], store: Store
) -> dict[str, tuple[str, str]]:
    """What is expected of each scenario in a column: its kind, and in words."""
    from harness.build import Unavailable
    from harness.catalog.kernels import RunningSource
    from harness.run.options import Options
    from harness.run.prepare import foresee

    try:
        cells = foresee(column, chosen, project, Options(store=store))
    except Unavailable as error:
        return {scenario.name: ("n/a", f"n/a: {error}") for scenario in chosen}
    if cells is None:
        runs = isinstance(column.kernel.source, RunningSource)
        unknown = "a run asks that machine" if runs else "`faultline build` this kernel first"
        return {
            scenario.name: ("not known yet", f"not known yet: {unknown}") for scenario in chosen
        }
    return {cell.scenario: (_kind(cell), _in_words(cell)) for cell in cells}


def _kind(cell: Cell) -> str:
    found = cell.expectations
    if not found:
        return "no expectation"
    if any(one.want for one in found):
        return "known bug"
    return "n/a" if all(one.outcomes == ("n/a",) for one in found) else "expected"


def _in_words(cell: Cell) -> str:
    """ "ok", "EFAULT or short(1/2)", "n/a: CAUSE", and what would be right where a bug is known."""
    found = cell.expectations
    if not found:
        return "no expectation"
    texts = [
        f"n/a: {one.because}" if one.outcomes == ("n/a",) else " or ".join(one.outcomes)
        for one in found
    ]
    bug = next((f" (known bug: {' or '.join(one.want)} is right)" for one in found if one.want), "")
    return " or ".join(dict.fromkeys(texts)) + bug
