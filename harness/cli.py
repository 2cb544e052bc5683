"""The command `faultline`. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import fnmatch
import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import __version__
from harness.catalog.yamlfile import DeclarationError, quote, suggest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from harness.build.store import Entry, Store
    from harness.catalog.matrix import Scenario
    from harness.catalog.project import Project
    from harness.results import Results
    from harness.run.plan import Column

EXIT_CODES = """\b
Exit codes:
  0  everything as expected (known bugs included; they are shown apart)
  1  at least one mismatch, proven
  2  wrong use, wrong declaration, no expectation, stale evidence
  3  infrastructure: something could not be built, booted or observed
  130, 143  interrupted
"""


class UsageProblem(click.ClickException):
    """An error that ends the command with exit code 2."""

    exit_code = 2


class Infrastructure(click.ClickException):
    """An error that ends the command with exit code 3."""

    exit_code = 3


class Terminated(BaseException):
    """SIGTERM came; not an Exception, so that what is being built is cleaned up and not caught."""


DEBUG = "FAULTLINE_DEBUG"  # set: unexpected errors show where they come from


class _Group(click.Group):
    """Turns this project's errors into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from harness.build import BuildError
        from harness.machine import QemuError

        try:
            with _sigterm():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (DeclarationError, QemuError) as error:
            raise UsageProblem(str(error)) from None
        except BuildError as error:
            # What failed while it was compiled has left a log; all else is input or a tool.
            raise (Infrastructure if error.log else UsageProblem)(str(error)) from None
        except (KeyboardInterrupt, Terminated) as stop:
            number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
            click.echo(f"\ninterrupted: {number.name}", err=True)
            ctx.exit(128 + number)
        except BrokenPipeError:
            # The reader has gone, as in `faultline list | head`: nothing more to say.
            _drop_stdout()
            ctx.exit(0)
        except OSError as error:
            _trace()
            raise Infrastructure(str(error)) from None
        except Exception as error:
            _trace()
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = f"this is a bug of faultline, please report it (traceback: {DEBUG}=1)"
            raise Infrastructure(f"unexpected {what}; {hint}") from None


@contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated inside the block, so that builds end and locks are released."""

    def stop(_number: int, _frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread, which has the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _trace() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()


def _drop_stdout() -> None:
    """Nobody reads it: what is still buffered goes nowhere, without an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete(names: Callable[[Project], list[str]]) -> Callable[..., list[CompletionItem]]:
    """Shell completion from what the project declares."""

    def complete(_ctx: object, _param: object, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            known = names(_project())
        except DeclarationError:
            return []
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]

    return complete


def _project() -> Project:
    from harness.catalog.project import find_root, load_project

    return load_project(find_root())


_scenarios = click.argument(
    "scenarios",
    nargs=-1,
    metavar="[SCENARIO]...",
    shell_complete=_complete(lambda project: list(project.matrix.scenarios)),
)
_store = click.option(
    "--store",
    "store_path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for sources and builds. Default: $FAULTLINE_STORE, else the user's cache folder.",
)


def _columns(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select columns, the same in every command."""
    for option in (
        click.option(
            "--flavour",
            "flavours",
            multiple=True,
            metavar="NAME",
            help="kconfig flavour, repeatable. Default: core.",
        ),
        click.option(
            "--kernel",
            "kernels",
            multiple=True,
            metavar="SPEC",
            help="Kernel: a name from kernels.yaml, tree:PATH or image:PATH; repeatable. "
            "Default: the one kernels.yaml calls default.",
            shell_complete=_complete(lambda project: list(project.kernels)),
        ),
        click.option(
            "--arch",
            "arches",
            multiple=True,
            metavar="NAME",
            help="Architecture, repeatable. Default: all.",
            shell_complete=_complete(lambda project: list(project.arches)),
        ),
    ):
        command = option(command)
    return command


def _select(
    project: Project, arches: tuple[str, ...], kernels: tuple[str, ...], flavours: tuple[str, ...]
) -> list[Column]:
    from harness.run.plan import columns

    found = columns(
        [project.arch(name) for name in dict.fromkeys(arches)] or list(project.arches.values()),
        [project.kernel(name) for name in dict.fromkeys(kernels or (project.kernels.default,))],
        [project.flavour(name) for name in dict.fromkeys(flavours or ("core",))],
    )
    if not found:
        raise DeclarationError("", 0, "no column is selected", "an image belongs to one arch")
    return found


def _choose(project: Project, globs: tuple[str, ...]) -> list[Scenario]:
    if globs:
        return project.matrix.select(globs)
    return list(project.matrix.scenarios.values())


def _open_store(path: Path | None) -> Store:
    from harness.build.store import Store

    return Store(path, say=lambda line: click.echo(line, err=True))


@click.group(cls=_Group, epilog=EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="faultline")
def main() -> None:
    """What does user space see when a memory access goes wrong, arch by arch?

    Boots real Linux kernels under QEMU, runs page-fault edge cases in them and compares the
    signals, si_codes, errnos and hangs with the matrix under expectations/.

    \b
    Start with:
      faultline doctor                        what is missing on this machine
      faultline run                           everything, on the default kernel
      faultline run 'stack/*' --arch m68k     one family on one arch
      faultline list scenarios                what there is
    """


@main.command(epilog=EXIT_CODES)
@_scenarios
@_columns
@_store
@click.option(
    "--jobs", "-j", type=click.IntRange(0), default=0, help="Machines at a time. Default: CPUs."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder for RUN.jsonl, results.jsonl (a link to it) and report.md.",
)
@click.option(
    "--accel",
    type=click.Choice(["auto", "tcg", "kvm"]),
    default="auto",
    show_default=True,
    help="auto takes KVM only where a boot has proved that it works here.",
)
@click.option("--no-wedging", is_flag=True, help="Leave out cells expected to hang or oops.")
@click.option("--refresh", is_flag=True, help="Resolve kernel names anew (asks apt).")
def run(
    scenarios: tuple[str, ...],
    arches: tuple[str, ...],
    kernels: tuple[str, ...],
    flavours: tuple[str, ...],
    store_path: Path | None,
    jobs: int,
    out: Path,
    accel: str,
    no_wedging: bool,
    refresh: bool,
) -> None:
    """Build, boot, observe and compare.

    SCENARIO is a name or a glob such as 'stack/*'; without one, everything runs. Kernels are
    built on first use and kept; results are written as they come.

    \b
    Examples:
      faultline run stack/below-usp-257 --kernel debian-6.1 --arch m68k
      faultline run 'hwpoison/*' --arch x86_64 --arch arm64
      faultline run --kernel tree:~/linux --arch alpha
    """
    from harness.progress import make_progress
    from harness.run.execute import execute, new_run_id
    from harness.run.prepare import Options, preflight

    project = _project()
    columns = _select(project, arches, kernels, flavours)
    chosen = _choose(project, scenarios)
    options = Options(
        store=_open_store(store_path),
        accel=accel,
        refresh=refresh,
        wedging=not no_wedging,
        jobs=jobs,
    )
    preflight(columns, options)
    run_id = new_run_id()
    path = _results_path(out, run_id)
    try:
        with make_progress() as progress:
            code = execute(project, columns, chosen, options, path, progress, run_id)
    except OSError as error:
        raise Infrastructure(f"{error}\n  what was observed until then is in {path}") from None
    try:
        _report_run(path, out, code)
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        click.echo(f"Error: no report: {error}\n  the results are in {path}", err=True)
        code = code or 3  # what is proven stays so
    sys.exit(code)


def _results_path(out: Path, run_id: str) -> Path:
    """A results file for this run below `out`; results.jsonl there is always the last one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{run_id}.jsonl"
        path.touch()
        link = out / f".results.{os.getpid()}"
        link.symlink_to(path.name)
        link.replace(out / "results.jsonl")
    except OSError as error:
        raise UsageProblem(
            f"--out {out}: {error.strerror}; give a folder that is writable"
        ) from None
    return path


def _report_run(path: Path, out: Path, code: int) -> None:
    from harness.report.markdown import render_markdown
    from harness.report.terminal import render_terminal
    from harness.results import read_results

    results = read_results([path])
    render_terminal(results, code=code)
    report = out / "report.md"
    report.write_text(render_markdown(results), encoding="utf-8")
    click.echo(f"\nresults: {path}\nreport:  {report}")


def _complete_names(ctx: click.Context, _param: object, incomplete: str) -> list[CompletionItem]:
    """Names of whatever is listed."""
    from click.shell_completion import CompletionItem

    try:
        project = _project()
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


@main.command("list")
@click.argument("what", type=click.Choice(["arches", "kernels", "scenarios"]), default="scenarios")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def list_(what: str, names: tuple[str, ...]) -> None:
    """Show what is declared: arches, kernels, or scenarios.

    NAME is a name or a glob such as 'stack/*'; without one, all are shown.
    """
    project = _project()
    if what == "arches":
        for arch in map(project.arch, _named("arch", project.arches, names)):
            click.echo(
                f"{arch.name:12} {arch.qemu} -M {arch.machine}, {arch.smp} CPU, {arch.memory} MiB"
            )
    elif what == "kernels":
        for name in _named("kernel", project.kernels, names):
            kernel = project.kernels[name]
            mark = " (default)" if name == project.kernels.default else ""
            click.echo(f"{name:12} {kernel.source}{mark}")
    else:
        for scenario in _choose(project, names):
            click.echo(f"{scenario.name:32} {scenario.summary}")


@main.command("build")
@_columns
@_store
@click.option("--refresh", is_flag=True, help="Resolve kernel names anew (asks apt).")
def build_(
    arches: tuple[str, ...],
    kernels: tuple[str, ...],
    flavours: tuple[str, ...],
    store_path: Path | None,
    refresh: bool,
) -> None:
    """Build kernels and guest programs without booting them; print where they are."""
    from harness.progress import make_progress
    from harness.run.prepare import Options, build, guest_initramfs

    project = _project()
    columns = _select(project, arches, kernels, flavours)
    options = Options(store=_open_store(store_path), refresh=refresh)
    lines = []
    with make_progress() as progress:
        for column in columns:
            built = build(column, options, functools.partial(progress.stage, column.id))
            initrd = guest_initramfs(column.arch, project, options.store)
            where = "from the store" if built.cached else f"built in {built.seconds:.0f} s"
            lines.append(
                f"{column.id}: Linux {built.version}, {where}\n  {built.image}\n  {initrd}"
            )
    click.echo("\n".join(lines))


@main.command()
@_scenarios
@_columns
@click.option(
    "--results",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results file, repeatable: several are read as one. Default: out/results.jsonl.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown"]),
    default="terminal",
    show_default=True,
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Not stdout.")
def report(
    scenarios: tuple[str, ...],
    arches: tuple[str, ...],
    kernels: tuple[str, ...],
    flavours: tuple[str, ...],
    files: tuple[Path, ...],
    form: str,
    output: Path | None,
) -> None:
    """Show results files, whole or narrowed to SCENARIO globs and columns.

    Exits as a run does: 0 as expected, 1 mismatch, 2 no expectation, 3 incomplete.

    \b
    Examples:
      faultline report
      faultline report 'stack/*' --arch m68k
      faultline report --results a.jsonl --results b.jsonl --format markdown -o report.md
    """
    from harness.results import exit_code, narrow, read_results

    try:
        found = read_results(files or (Path("out/results.jsonl"),))
    except OSError as error:
        hint = "run `faultline run` first, or name a results file"
        raise UsageProblem(f"{error.filename}: {error.strerror}; {hint}") from None
    _check_names(found, arches, kernels, flavours)
    results = narrow(
        found,
        lambda column: (
            (not arches or column.arch in arches)
            and (not kernels or column.kernel in kernels)
            and (not flavours or column.flavour in flavours)
        ),
        lambda name: not scenarios or any(fnmatch.fnmatchcase(name, glob) for glob in scenarios),
    )
    if found.results and not results.results:
        raise UsageProblem("no result is left: nothing in these files fits SCENARIO and options")
    code = exit_code(results)
    try:
        _print_report(results, form, output)
    except BrokenPipeError:
        _drop_stdout()
    sys.exit(code)


def _check_names(
    found: Results, arches: tuple[str, ...], kernels: tuple[str, ...], flavours: tuple[str, ...]
) -> None:
    """A name that no column has is a mistake, also beside one that some column has."""
    columns = found.columns.values()
    for what, given, present in (
        ("arch", arches, {column.arch for column in columns}),
        ("kernel", kernels, {column.kernel for column in columns}),
        ("flavour", flavours, {column.flavour for column in columns}),
    ):
        for name in given:
            if name not in present:
                hint = suggest(name, present)
                raise UsageProblem(f"no column of {what} {quote(name)} in these files\n  {hint}")


def _print_report(results: Results, form: str, output: Path | None) -> None:
    from rich.console import Console

    from harness.report.markdown import render_markdown
    from harness.report.terminal import render_terminal

    try:
        if form == "terminal" and output is None:
            render_terminal(results)
        elif form == "terminal" and output is not None:
            with open(output, "w", encoding="utf-8") as file:
                render_terminal(results, Console(file=file))
        elif output is not None:
            output.write_text(render_markdown(results), encoding="utf-8")
        else:
            click.echo(render_markdown(results), nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageProblem(f"{output}: {error.strerror}") from None


# What the builders keep, each under its kind; a test holds this against them.
KINDS = ("apt", "guest", "initramfs", "kernel", "logs", "objects", "source")


@main.group()
def store() -> None:
    """The folder of sources and builds."""


@store.command("list")
@_store
def store_list(store_path: Path | None) -> None:
    """What is kept: kind, key, size, age, and what it is."""
    found = _open_store(store_path)
    click.echo(f"{found.root}")
    for entry in found.list():
        click.echo(_describe(entry))


def _describe(entry: Entry) -> str:
    days = (time.time() - entry.used) / 86400
    size = f"{entry.size / 1e6:8.1f} MB"
    return f"{entry.kind:10} {entry.key[:12]} {size}  used {days:.1f} days ago  {entry.label}"


@store.command("prune")
@_store
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind; repeatable."
)
@click.option("--older", type=click.FloatRange(0), metavar="DAYS", help="Not used for so long.")
@click.option("--all", "everything", is_flag=True, help="All entries that are not in use.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def store_prune(
    store_path: Path | None,
    kinds: tuple[str, ...],
    older: float | None,
    everything: bool,
    dry_run: bool,
) -> None:
    """Remove entries by age or kind; never one in use."""
    if older is None and not kinds and not everything:
        raise UsageProblem("say what to remove: --older DAYS, --kind KIND or --all")
    found = _open_store(store_path)
    removed = found.prune(
        kinds=kinds, unused_for=None if older is None else older * 86400, dry_run=dry_run
    )
    for entry in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {_describe(entry)}")
    click.echo(f"{len(removed)} entries, {sum(entry.size for entry in removed) / 1e6:.0f} MB")


@main.command()
@click.option("--arch", "arches", multiple=True, metavar="NAME", help="Default: all.")
@_store
def doctor(arches: tuple[str, ...], store_path: Path | None) -> None:
    """What is missing on this machine, each tool's version, and whether KVM really works.

    Exits 0 when everything is there, 3 when something is missing.
    """
    from harness.doctor import examine

    project = _project()
    chosen = [project.arch(name) for name in arches] or list(project.arches.values())
    sys.exit(examine(project, chosen, _open_store(store_path), click.echo))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell completion script: source <(faultline completion bash)."""
    from click.shell_completion import get_completion_class

    cls = get_completion_class(shell)
    assert cls is not None
    click.echo(cls(main, {}, "faultline", "_FAULTLINE_COMPLETE").source())
