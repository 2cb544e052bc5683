"""`faultline bisect`: the commit that changed an outcome."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

import harness
from harness.cli.common import Infrastructure, UsageProblem, choose, open_project
from harness.cli.options import (
    How,
    arch_option,
    flavour_option,
    fragments_option,
    patches_option,
    run_options,
    scenario_argument,
)
from harness.stdout import whoever_reads

if TYPE_CHECKING:
    from harness.build.git import Repository
    from harness.run.bisect import Worktree

EXITS = """\b
Exit codes:
  0  found: one commit
  2  wrong use: no such revision, no kernel, unrelated ends, or both behave alike
  3  not found: an end or the commits in question cannot be built, booted or judged
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM)
"""


@click.command(epilog=EXITS)
@scenario_argument
@click.option(
    "--tree",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="Your repository, which is only read. Default: the current folder.",
)
@arch_option
@flavour_option
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
@patches_option
@fragments_option
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
    how: How,
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
    from harness.run.bisect import canonical

    project = open_project(how.store_path)
    if len(choose(project, (scenario,))) != 1:
        raise UsageProblem(f"one SCENARIO is bisected: {scenario} fits several")
    project.arch(arch), project.flavour(flavour)
    wanted = canonical(outcome) if outcome else ""
    repository = open_repository(tree)
    ends = {"old": repository.commit(old), "new": repository.commit(new)}
    _check_ends(repository, ends, old, new)
    out = how.out.absolute() / f"bisect-{ends['old'][:12]}-{ends['new'][:12]}-{os.getpid()}"
    words = [scenario, "--arch", arch, "--flavour", flavour]
    for option, files in (("--patch", patches), ("--config-fragment", fragments)):
        words += [word for file in files for word in (option, str(file.absolute()))]
    try:
        out.mkdir(parents=True)
    except OSError as error:
        hint = "give a folder that is writable"
        raise UsageProblem(f"--out {how.out}: {error.strerror}; {hint}") from None
    commits, seen, log = _search(repository, ends, wanted, paths, words, how, out)
    (out / "bisect.log").write_text(log)
    with whoever_reads():
        _tell(repository, commits, seen, log, out)
    sys.exit(0 if len(commits) == 1 else 3)


def _check_ends(repository: Repository, ends: Mapping[str, str], old: str, new: str) -> None:
    """What git knows before anything is built. Raises UsageProblem."""
    if ends["old"] == ends["new"]:
        raise UsageProblem(f"--old {old} and --new {new} are the same commit: {ends['old'][:12]}")
    if repository.is_ancestor(ends["new"], ends["old"]):
        raise UsageProblem(f"--new {new} is an ancestor of --old {old}: swap them")
    if not repository.related(ends["old"], ends["new"]):
        hint = "of a shallow clone `git fetch --unshallow` brings the rest"
        raise UsageProblem(f"--old {old} and --new {new} have no common ancestor here; {hint}")
    for name, rev in (("old", old), ("new", new)):
        if not repository.has(ends[name], "Kconfig"):
            raise UsageProblem(f"--{name} {rev} of {repository.path} is no kernel: no Kconfig")


def _search(
    repository: Repository,
    ends: Mapping[str, str],
    wanted: str,
    paths: Sequence[str],
    words: Sequence[str],
    how: How,
    out: Path,
) -> tuple[tuple[str, ...], dict[str, str], str]:
    """(the first commits that are new, the outcomes of the ends, git's log)."""
    from harness.build.tools import digest
    from harness.run.bisect import Worktree

    store = how.options().store
    key = digest("bisect", str(repository.path))
    with store.folder("bisect", key, f"work tree for {repository.path}") as folder:
        steps = _Steps(Worktree(repository, folder.path), store.root, words, how, out)
        seen = {name: steps.look(name, commit) for name, commit in ends.items()}
        wanted, invert = _told_apart(seen["old"], seen["new"], wanted)
        judge = ["--bisect-step", "--repeat", str(how.repeat), "--outcome", wanted,
                 *(["--invert"] if invert else [])]  # fmt: skip
        commits, log = steps.worktree.bisect(
            ends["old"], ends["new"], paths, steps.run(*judge), steps.env
        )
    return commits, seen, log


class _Steps(Struct, frozen=True):
    """How this program runs itself on what is checked out in the work tree."""

    worktree: Worktree
    store: Path
    words: Sequence[str]
    how: How
    out: Path

    @property
    def env(self) -> dict[str, str]:
        from harness.catalog.project import find_root

        return {
            "FAULTLINE_PROJECT": str(find_root()),
            "PYTHONPATH": str(Path(harness.__file__).parents[1]),
        }

    def run(self, *more: str) -> list[str]:
        how = self.how
        return [sys.executable, "-P", "-m", "harness", "run", "--tree", str(self.worktree.path),
                *self.words, "--accel", how.accel, "--jobs", str(how.jobs),
                "--store", str(self.store), "--out", str(self.out),
                *(["--no-snapshots"] if how.no_snapshots else []), *more]  # fmt: skip

    def look(self, name: str, commit: str) -> str:
        """The outcome at one end. Raises Infrastructure if it has none of its own."""
        from harness.results import read_results
        from harness.run.bisect import observed

        click.echo(f"bisect: --{name} {commit[:12]}", err=True)
        self.worktree.checkout(commit)
        times = str(max(self.how.repeat, 2))
        status = self.worktree.call(self.run("--no-base", "--repeat", times), self.env)
        last = self.out / "results.jsonl"
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
    if "n/a" in (old, new):  # any other outcome could be told of no commit that has it
        wanted = "n/a"
    return (wanted, True) if wanted == new else (old, False)


def _tell(
    repository: Repository, commits: tuple[str, ...], seen: dict[str, str], log: str, out: Path
) -> None:
    """Print how it ended."""
    from harness.run.bisect import outcomes_by_commit

    outcomes = outcomes_by_commit(out)
    click.echo("\n" + log.rstrip())
    click.echo(f"\nresults and log: {out}")
    if not commits:
        click.echo("not found: see the log")
    if len(commits) > 1:
        click.echo(f"one of {len(commits)} commits; those between could not be judged:")
    for commit in commits:
        click.echo(f"{commit[:12]} {repository.subject(commit)}")
        parent = repository.parent(commit)
        click.echo(f"  before  {outcomes.get(parent) or seen['old']}")
        click.echo(f"  after   {outcomes.get(commit) or seen['new']}")
