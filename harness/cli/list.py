"""`faultline list`: what is declared."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import DeclarationError, quote, suggest
from harness.cli.common import UsageProblem, choose, open_project

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete_names(ctx: click.Context, _param: object, incomplete: str) -> list[CompletionItem]:
    """Names of whatever is listed."""
    from click.shell_completion import CompletionItem

    try:
        project = open_project()
    except DeclarationError:
        return []
    what: dict[str, Iterable[str]] = {"arches": project.arches, "kernels": project.kernels}
    names = what.get(ctx.params.get("what", ""), project.matrix.scenarios)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _named(what: str, known: Iterable[str], globs: tuple[str, ...]) -> list[str]:
    """Those of the known names that fit a glob; all without globs. One must fit each."""
    names = list(known)
    for glob in globs:
        if not fnmatch.filter(names, glob):
            raise UsageProblem(f"unknown {what} {quote(glob)}\n  {suggest(glob, names)}")
    return [n for n in names if not globs or any(fnmatch.fnmatchcase(n, g) for g in globs)]


@click.command("list")
@click.argument("what", type=click.Choice(["arches", "kernels", "scenarios"]), default="scenarios")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def command(what: str, names: tuple[str, ...]) -> None:
    """Show what is declared: arches, kernels, or scenarios.

    NAME is a name or a glob such as 'stack/*'; without one, all are shown.
    """
    project = open_project()
    if what == "arches":
        for arch in map(project.arch, _named("arch", project.arches, names)):
            variant = f" (variant of {arch.bases[1]})" if len(arch.bases) > 1 else ""
            click.echo(
                f"{arch.name:12} {arch.qemu} -M {arch.machine}, {arch.smp} CPU, "
                f"{arch.memory} MiB{variant}"
            )
    elif what == "kernels":
        for name in _named("kernel", project.kernels, names):
            kernel = project.kernels[name]
            mark = " (default)" if name == project.kernels.default else ""
            click.echo(f"{name:12} {kernel.source}{mark}")
            for arch_name, because in kernel.unavailable.items():
                click.echo(f"{'':12} not for {arch_name}: {because}")
    else:
        chosen = choose(project, names)
        width = max(len(scenario.name) for scenario in chosen)
        for scenario in chosen:
            needs = f" (needs {scenario.needs})" if str(scenario.needs) else ""
            click.echo(f"{scenario.name:{width}}  {scenario.summary}{needs}")
