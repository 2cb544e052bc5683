"""What the commands share: errors and their exit codes, and what options select."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.catalog.yamlfile import DeclarationError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from harness.build.store import Store
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.cli.options import Changes, Where
    from harness.run.plan import Column

EXIT_CODES = """\b
Exit codes:
  0  everything as expected (known bugs included; they are shown apart)
  1  at least one mismatch, proven
  2  wrong use, wrong declaration, no expectation, stale evidence
  3  infrastructure: something could not be built, booted or observed
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM)
"""


class _Problem(click.ClickException):
    """An error whose words may come from files and programs: none reaches a terminal as it is."""

    def __init__(self, message: str) -> None:
        from harness.text import clean_lines

        super().__init__(clean_lines(message))


class UsageProblem(_Problem):
    """An error that ends the command with exit code 2."""

    exit_code = 2


def unwritable(option: str, path: Path, error: OSError) -> UsageProblem:
    """Of a file to write that cannot be written. No folder is made: its name may be mistyped."""
    missing = not path.parent.exists()
    hint = f"make the folder {path.parent}" if missing else "give a file in a folder you can write"
    return UsageProblem(f"{option} {path}: {error.strerror}; {hint}")


def writable(option: str, path: Path) -> None:
    """Raises UsageProblem for a file to write that cannot be written; one is made where none is."""
    try:
        path.open("a").close()
    except OSError as error:
        raise unwritable(option, path, error) from None


class Infrastructure(_Problem):
    """An error that ends the command with exit code 3."""

    exit_code = 3


DEBUG = "FAULTLINE_DEBUG"  # set: unexpected errors show where they come from


def trace() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()


def complete_from(names: Callable[[Project], list[str]]) -> Callable[..., list[CompletionItem]]:
    """Shell completion from what the project declares."""

    def complete(_ctx: object, _param: object, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            known = names(open_project())
        except DeclarationError:
            return []
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]

    return complete


def open_project(store_path: Path | None = None) -> Project:
    """What the project declares; `store_path` as for `open_store`. Raises DeclarationError."""
    from harness.build.kept import Kept
    from harness.build.store import Store
    from harness.catalog.project import find_root, load_project

    return load_project(find_root(), Kept(Store(store_path)))


def kernel_specs(project: Project, where: Where, changes: Changes) -> tuple[str, ...]:
    """The kernels that these options name, as specs. Raises UsageProblem."""
    from harness.catalog.kernels import change_spec

    named, tree, rev = where.kernels, changes.tree, changes.rev
    if tree is not None or rev is not None:
        if named:
            raise UsageProblem("--kernel beside --tree or --git: name one of them")
        named = (f"git:{tree or Path()}#{rev}" if rev is not None else f"tree:{tree}",)
    elif not named and (changes.patches or changes.fragments):
        named = (project.kernels.default,)
    return tuple(change_spec(name, changes.patches, changes.fragments) for name in named)


def select(
    project: Project, arches: tuple[str, ...], kernels: tuple[str, ...], flavours: tuple[str, ...]
) -> list[Column]:
    from harness.run.plan import columns

    found = columns(
        [project.arch(name) for name in dict.fromkeys(arches)] or project.plain_arches,
        [project.kernel(name) for name in dict.fromkeys(kernels or (project.kernels.default,))],
        [project.flavour(name) for name in dict.fromkeys(flavours or ("core",))],
    )
    if not arches:
        found = [column for column in found if _runs_there(column, project)]
    if not found:
        raise DeclarationError("", 0, "no column is selected", "an image belongs to one arch")
    return found


def one_column(project: Project, arch: str, kernel: str | None, flavour: str) -> Column:
    """The column that `one_column_options` name. Raises DeclarationError."""
    return select(project, (arch,), (kernel,) if kernel else (), (flavour,))[0]


def refuse_flavours(columns: Iterable[Column]) -> None:
    """Of what runs already, and so is built in no flavour. Raises UsageProblem."""
    from harness.catalog.kernels import RunningSource
    from harness.run.plan import CORE

    for column in columns:
        if column.flavour != CORE and isinstance(column.kernel.source, RunningSource):
            said = f"{column.kernel.name} runs already: it has no flavour {column.flavour}"
            raise UsageProblem(f"{said}, leave --flavour out")


def _runs_there(column: Column, project: Project) -> bool:
    """Whether an arch nobody asked for belongs to what runs already; to a kernel all belong."""
    from harness.catalog.kernels import RunningSource

    source = column.kernel.source
    if not isinstance(source, RunningSource):
        return True
    from harness.run.target import arches_of

    return column.arch in arches_of(source, project.arches)


def choose(project: Project, globs: tuple[str, ...]) -> list[Scenario]:
    if globs:
        return project.matrix.select(globs)
    return list(project.matrix.scenarios.values())


def open_store(path: Path | None) -> Store:
    from harness.build.store import Store
    from harness.text import clean_lines

    return Store(path, say=lambda line: click.echo(clean_lines(line), err=True))


_OF_A_PROGRAM = re.compile(rb'\s*\{\s*"type"\s*:\s*"(?:program|comparison)"')


def no_program(path: Path) -> None:
    """Raises UsageProblem for what `faultline exec` and `compare` write; OSError."""
    with path.open("rb") as file:
        if _OF_A_PROGRAM.match(file.read(200)):
            what = f"{path} is what `faultline exec` or `compare` says of one program"
            what = f"{what}: no run of the matrix"
            hint = "exec itself writes it for others: --results FILE.xml, FILE.ktap"
            raise UsageProblem(f"{what}\n  {hint}")
