"""`faultline bisect`: the commit that changed an outcome."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import harness
from harness.cli.common import (
    Infrastructure,
    UsageProblem,
    choose,
    complete_from,
    open_project,
    open_store,
    store_option,
)
from harness.cli.run import run_options

if TYPE_CHECKING:
    from harness.build.git import Repository
    from harness.run.bisect import Worktree

EXITS = """\b
Exit codes:
  0  found: one commit
  2  wrong use: no such revision, or both ends behave alike
  3  not found: an end or the commits in question cannot be built, booted or judged
  130, 143  interrupted
"""


@click.command(epilog=EXITS)
@click.argument(
    "scenario", shell_complete=complete_from(lambda project: list(project.matrix.scenarios))
)
@click.option(
    "--tree",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="Your repository, which is only read. Default: the current folder.",
)
@click.option("--arch", "arch", required=True, metavar="NAME", help="Architecture.")
@click.option("--flavour", default="core", show_default=True, metavar="NAME")
@click.option("--old", required=True, metavar="REV", help="A revision before the change.")
@click.option("--new", default="HEAD", show_default=True, metavar="REV", help="One after it.")
@click.option(
    "--outcome",
    metavar="TEXT",
    help="The outcome that only one of the two has. Default: the old one's.",
)
@click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="Only commits that touch it; repeatable."
)
@click.option(
    "--patch", "patches", multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Patch that every commit needs; makes every step a full build.",
)  # fmt: skip
@click.option(
    "--config-fragment", "fragments", multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="kconfig fragment on top of arch and flavour; repeatable.",
)  # fmt: skip
@store_option
@run_options
def command(
    scenario: str,
    tree: Path,
    arch: str,
    flavour: str,
    old: str,
    new: str,
    outcome: str | None,
    paths: tuple[str, ...],
    patches: tuple[Path, ...],
    fragments: tuple[Path, ...],
    store_path: Path | None,
    jobs: int,
    out: Path,
    accel: str,
    repeat: int,
    refresh: bool,
    no_snapshots: bool,
) -> None:
    """Find the commit that changed the outcome of SCENARIO between two revisions.

    Builds, boots and judges with `git bisect run`, in a work tree of faultline's own: yours
    stays as it is. What does not build or boot is skipped, a flake is looked at again. The
    same step works by hand: `git bisect run faultline run --bisect-step` with --tree, --arch,
    --outcome and SCENARIO.

    \b
    Example:
      faultline bisect --tree ~/linux --arch alpha --old v6.1 --new v6.3 \\
        retry/kill-in-read --outcome 'killed(SIGKILL)'
    """
    from harness.build.git import open_repository
    from harness.build.tools import digest
    from harness.run.bisect import Worktree, canonical

    del refresh  # there is no name to resolve but the two revisions
    project, store = open_project(store_path), open_store(store_path)
    if len(choose(project, (scenario,))) != 1:
        raise UsageProblem(f"one SCENARIO is bisected: {scenario} fits several")
    project.arch(arch), project.flavour(flavour)
    wanted = canonical(outcome) if outcome else ""
    repository = open_repository(tree)
    ends = {"old": repository.commit(old), "new": repository.commit(new)}
    out = out.absolute() / f"bisect-{ends['old'][:12]}-{ends['new'][:12]}-{os.getpid()}"
    out.mkdir(parents=True)
    words = [scenario, "--arch", arch, "--flavour", flavour, "--accel", accel,
             "--jobs", str(jobs), "--store", str(store.root), "--out", str(out),
             *(["--no-snapshots"] if no_snapshots else [])]  # fmt: skip
    for option, files in (("--patch", patches), ("--config-fragment", fragments)):
        words += [word for file in files for word in (option, str(file.absolute()))]
    env = {
        "FAULTLINE_PROJECT": str(project.root),
        "PYTHONPATH": str(Path(harness.__file__).parents[1]),
    }
    key = digest("bisect", str(repository.path))
    with store.folder("bisect", key, f"work tree for {repository.path}") as folder:
        worktree = Worktree(repository, folder.path)
        run = [sys.executable, "-P", "-m", "harness", "run", "--tree", str(worktree.path), *words]
        seen = {
            name: _look(worktree, name, commit, [*run, "--repeat", str(max(repeat, 2))], env, out)
            for name, commit in ends.items()
        }
        wanted, invert = _told_apart(seen["old"], seen["new"], wanted)
        step = [*run, "--bisect-step", "--repeat", str(repeat), "--outcome", wanted]
        commits, log = worktree.bisect(
            ends["old"], ends["new"], paths, [*step, *(["--invert"] if invert else [])], env
        )
    (out / "bisect.log").write_text(log)
    sys.exit(_tell(repository, commits, seen, log, out))


def _look(
    worktree: Worktree, name: str, commit: str, run: list[str], env: dict[str, str], out: Path
) -> str:
    """The outcome at one end. Raises Infrastructure if it has none of its own."""
    from harness.results import read_results
    from harness.run.bisect import observed

    click.echo(f"bisect: --{name} {commit[:12]}", err=True)
    worktree.checkout(commit)
    status = worktree.call([*run, "--no-base"], env)
    last = out / "results.jsonl"
    if status > 128 or not last.exists():
        raise Infrastructure(f"--{name} could not be run (exit status {status})")
    seen, why = observed(read_results([last]))
    last.unlink()
    if len(seen) != 1:
        why = f"a flake: {', '.join(sorted(seen))}" if seen else why
        raise Infrastructure(f"--{name} {commit[:12]} cannot be judged: {why}")
    return next(iter(seen))


def _told_apart(old: str, new: str, wanted: str) -> tuple[str, bool]:
    """(the outcome to look for, whether it is the new one). Raises UsageProblem."""
    if old == new:
        raise UsageProblem(f"--old and --new behave alike: {old}")
    if wanted and wanted not in (old, new):
        raise UsageProblem(f"neither end has --outcome {wanted}: old {old}, new {new}")
    return (wanted, True) if wanted == new else (old, False)


def _tell(
    repository: Repository, commits: tuple[str, ...], seen: dict[str, str], log: str, out: Path
) -> int:
    """Print how it ended; the exit code."""
    from harness.run.bisect import outcomes_by_commit

    outcomes = outcomes_by_commit(out)
    click.echo("\n" + log.rstrip())
    click.echo(f"\nresults and log: {out}")
    if not commits:
        click.echo("not found: see the log")
        return 3
    if len(commits) > 1:
        click.echo(f"one of {len(commits)} commits; those between could not be judged:")
    for commit in commits:
        click.echo(f"{commit[:12]} {repository.subject(commit)}")
        parent = repository.parent(commit)
        click.echo(f"  before  {outcomes.get(parent) or seen['old']}")
        click.echo(f"  after   {outcomes.get(commit) or seen['new']}")
    return 0 if len(commits) == 1 else 3
