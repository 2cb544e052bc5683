"""The options that commands share: each is declared once.

Those that belong together reach a command as one argument: below `@tree_options` it has a
parameter `changes`, a `Changes`, and not one for each option.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from harness.cli.common import complete_from, open_store

if TYPE_CHECKING:
    from harness.catalog.project import Project
    from harness.run.options import Options

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _all_of(*options: Decorator) -> Decorator:
    """These options, in this order in --help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def as_one(name: str, kind: type[Struct], *options: Decorator) -> Decorator:
    """These options as one argument `name`, a Struct with a field for each."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gather(**given: Any) -> Any:
            own = {field: given.pop(field) for field in kind.__struct_fields__}
            return command(**given, **{name: kind(**own)})

        return _all_of(*options)(gather)

    return decorate


# -- what is run -----------------------------------------------------------------------------

_complete_scenario = complete_from(lambda project: list(project.matrix.scenarios))
scenarios_argument = click.argument(
    "scenarios", nargs=-1, metavar="[SCENARIO]...", shell_complete=_complete_scenario
)
more_scenarios_option = click.option(
    "-k", "more", metavar="GLOB", multiple=True, shell_complete=_complete_scenario,
    help="One SCENARIO more; a glob, and no expression as pytest's.",
)  # fmt: skip
scenario_argument = click.argument("scenario", shell_complete=_complete_scenario)


def _named(what: Callable[[Project], Iterable[str]], *words: str, **more: Any) -> Decorator:
    """An option whose value is a name that the project declares, and which the shell completes."""
    completed = complete_from(lambda project: list(what(project)))
    return click.option(*words, shell_complete=completed, **{"metavar": "NAME", **more})


def _arches(default: str) -> Decorator:
    text = f"Architecture or variant, repeatable. Default: {default}."
    return _named(lambda project: project.arches, "--arch", "arches", multiple=True, help=text)


def _kernels(default: str, booted: bool = False) -> Decorator:
    """`booted`: for a command that needs a machine of its own."""
    text = "Kernel: a name from kernels.yaml, tree:PATH, git:PATH#REV or image:PATH"
    if not booted:
        text += "; or a target that runs already: local, ssh:HOST, qemu-user"
    return _named(
        lambda project: project.kernels, "--kernel", *([] if booted else ["--target"]), "kernels",
        multiple=True, metavar="SPEC", help=f"{text}. Repeatable. Default: {default}.",
    )  # fmt: skip


def _flavours(default: str) -> Decorator:
    text = f"kconfig flavour, repeatable. Default: {default}."
    return _named(
        lambda project: project.flavours, "--flavour", "flavours", multiple=True, help=text
    )


arch_option = _named(
    lambda project: project.arches, "--arch", required=True, help="Architecture or variant."
)
kernel_option = _named(
    lambda project: project.kernels, "--kernel", metavar="SPEC",
    help="Default: the one kernels.yaml calls default.",
)  # fmt: skip
flavour_option = _named(
    lambda project: project.flavours, "--flavour", default="core", show_default=True,
    help="kconfig flavour.",
)  # fmt: skip


class Where(Struct, frozen=True):
    """The columns that were named; nothing: the defaults."""

    arches: tuple[str, ...]
    kernels: tuple[str, ...]
    flavours: tuple[str, ...]


arches_option = _arches("all but the variants")
_RECORDED = "all that the results have"
_DECLARED = "the one that kernels.yaml calls default"
column_options = as_one("where", Where, arches_option, _kernels(_DECLARED), _flavours("core"))
"""For a command that builds or runs columns."""
booted_options = as_one(
    "where", Where, arches_option, _kernels(_DECLARED, booted=True), _flavours("core")
)
"""For a command that boots columns."""
recorded_options = as_one(
    "where", Where, _arches(_RECORDED), _kernels(_RECORDED), _flavours(_RECORDED)
)
"""For a command that reads results."""
diff_options = _all_of(
    *(
        option(f"{_RECORDED}; of what is run, {default}")
        for option, default in ((_arches, "all but the variants"), (_flavours, "core"))
    )
)
"""For a command that may do either, and has kernels as arguments."""

# -- a kernel of the user's ------------------------------------------------------------------

patches_option = click.option(
    "--patch",
    "patches",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Patch (as for patch -p1), applied to a copy of the source, which makes it a full build; "
    "repeatable.",
)
fragments_option = click.option(
    "--config-fragment",
    "fragments",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="kconfig fragment on top of arch and flavour; repeatable.",
)


class Changes(Struct, frozen=True):
    """A tree of the user's, and changes to a kernel."""

    tree: Path | None
    rev: str | None
    patches: tuple[Path, ...]
    fragments: tuple[Path, ...]

    @property
    def have_base(self) -> bool:
        """Whether there is something that what changed can be said against."""
        return bool(self.tree or self.rev is not None or self.patches)


tree_options = as_one(
    "changes",
    Changes,
    click.option(
        "--tree",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Your kernel tree, built out of tree in a folder that is kept.",
    ),
    click.option(
        "--git",
        "rev",
        metavar="REV",
        help="This revision of the repository --tree (default: the current folder), which is only "
        "read.",
    ),
    patches_option,
    fragments_option,
)

# -- how it is run ---------------------------------------------------------------------------

store_option = click.option(
    "--store",
    "store_path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for sources and builds. Default: $FAULTLINE_STORE, else the user's cache folder.",
)
accel_option = click.option(
    "--accel",
    type=click.Choice(["auto", "tcg", "kvm"]),
    default="auto",
    show_default=True,
    help="auto takes KVM only where a boot has proved that it works here.",
)
jobs_option = click.option(
    "--jobs",
    "-j",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Compilers, and machines, at a time. Default: 0, which is as many as there are CPUs.",
)
refresh_option = click.option(
    "--refresh", is_flag=True, help="Resolve kernel names anew (asks apt)."
)
busybox_option = click.option(
    "--busybox",
    type=_FILE,
    help="Static busybox of that arch for a shell. Default: the one that shell/ declares.",
)
one_column_options = _all_of(arch_option, kernel_option, flavour_option, accel_option)
"""For a command that boots one column, each as an argument of its own."""


class How(Struct, frozen=True):
    """How a run is done."""

    store_path: Path | None
    jobs: int
    out: Path
    accel: str
    repeat: int
    refresh: bool
    no_snapshots: bool

    def options(self, **more: Any) -> Options:
        """As the run takes them, with those that one command only has."""
        from harness.run.options import Options

        return Options(
            store=open_store(self.store_path),
            accel=self.accel,
            refresh=self.refresh,
            times=self.repeat,
            jobs=self.jobs,
            snapshots=not self.no_snapshots,
            **more,
        )


run_options = as_one(
    "how",
    How,
    store_option,
    jobs_option,
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("out"),
        show_default=True,
        help="Folder for RUN.jsonl, results.jsonl (a link to it), report.md and report.html.",
    ),
    accel_option,
    click.option(
        "--repeat",
        type=click.IntRange(1),
        default=1,
        metavar="N",
        help="Observe every cell N times; what does not come out alike is named a flake.",
    ),
    refresh_option,
    click.option(
        "--no-snapshots",
        is_flag=True,
        help="Boot every machine, also one that a snapshot is kept of.",
    ),
)

# -- results ---------------------------------------------------------------------------------

results_option = click.option(
    "--results",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results file, repeatable: several are read as one. Default: out/results.jsonl.",
)
