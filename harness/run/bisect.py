"""Which commit changed an outcome: a thin layer over `git bisect run`.

The revisions are checked out in a work tree of our own, in the store, that borrows the objects
of the user's repository: theirs is only read, and there is nothing to restore. The work tree
and its object folders are kept, so that a step costs an incremental make.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from harness.build import BuildError
from harness.build.git import Repository, run_git
from harness.build.tools import clean_environment
from harness.catalog.outcome import parse
from harness.catalog.scanner import OutcomeError
from harness.catalog.yamlfile import DeclarationError
from harness.results import Results, Verdict, current, read_results

SKIP = 125  # `git bisect run` understands it: this commit cannot be judged
LOOKS = 2  # a step's first round: that often must the outcome be the same
MORE = 5  # times as many looks where it was not


def canonical(text: str) -> str:
    """An outcome as results write it. Raises DeclarationError."""
    try:
        return str(parse(text))
    except OutcomeError as error:
        raise DeclarationError("", 0, f"--outcome: {error}") from None


class Hopeless(Exception):
    """A commit that cannot be judged, however often it is looked at."""


class Step(Struct, frozen=True):
    """One commit judged: is it still as it was?"""

    outcome: str  # canonical
    invert: bool = False  # the outcome is what the newer commits have

    def rounds(self, times: int) -> Iterator[int]:
        """How often to look, at first, and then where that was a flake."""
        yield max(times, LOOKS)
        yield MORE * max(times, LOOKS)

    def judge(self, results: Path) -> tuple[int, str]:
        """(exit code, why) of the one cell that a results file holds. Raises Hopeless."""
        seen, why = observed(read_results([results]))
        if why.startswith("build:"):
            raise Hopeless(why)
        if not seen:
            return SKIP, f"cannot be judged: {why}"
        if len(seen) > 1:
            return SKIP, f"cannot be judged: a flake: {', '.join(sorted(seen))}"
        (found,) = seen
        if found == "n/a" != self.outcome:
            raise Hopeless(f"n/a: {why}")
        return int((found == self.outcome) == self.invert), found


def observed(results: Results) -> tuple[set[str], str]:
    """(outcomes seen of the one cell that a run was about, why there is none)."""
    cells, _ = current(results)
    if not cells:
        return set(), "nothing was observed"
    cell = cells[0]
    seen = {outcome for outcome in cell.tally if outcome}
    one = cell.observation
    if not seen and one.outcome and cell.verdict is not Verdict.INFRA:
        seen = set() if results.without_kernel(cell) else {one.outcome}
    return seen, next(iter(one.failure.splitlines()), one.cause or cell.verdict.value)


class Worktree:
    """Our own work tree of a user's repository, in a folder that is kept."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.path = folder / "linux"
        self._theirs = repository
        self.path.mkdir(exist_ok=True)
        self._git("init", "--quiet")
        info = self.path / ".git/objects/info"
        (info / "alternates").write_text(f"{repository.objects}\n")
        shallow = repository.objects.parent / "shallow"
        if shallow.is_file():
            shutil.copyfile(shallow, self.path / ".git/shallow")
        for left in (self.path / ".git").glob("*.lock"):  # of a git that was killed: we are alone
            left.unlink()
        self._take_tags()

    def checkout(self, commit: str) -> None:
        """Raises BuildError."""
        self._git("bisect", "reset", commit, fine=True)
        self._git("checkout", "--quiet", "--force", "--detach", commit)
        self._git("clean", "--quiet", "--force", "-d", "-x")

    def bisect(
        self, old: str, new: str, paths: Sequence[str], step: Sequence[str], env: Mapping[str, str]
    ) -> tuple[tuple[str, ...], str]:
        """(first commits that are new, the log of git bisect). Raises BuildError."""
        self._git("bisect", "start", "--term-old=old", "--term-new=new", new, old, "--", *paths)
        status = self.call(["git", "bisect", "run", *step], env)
        if status > 128:
            raise BuildError(f"git bisect was stopped (exit status {status})")
        log = self._git("bisect", "log")
        names = re.findall(r"^# (?:possible )?first new commit: \[([0-9a-f]+)\]", log, re.MULTILINE)
        return tuple(dict.fromkeys(names)), log

    def call(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Run a program here, in sight of the user; whatever ends us ends all that it started."""
        with subprocess.Popen(
            list(argv), cwd=self.path, env={**clean_environment(), **env}, start_new_session=True,
            stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                return process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    def _take_tags(self) -> None:
        """Their tags, which name versions."""
        form = "--format=update %(refname) %(objectname)"
        tags = run_git(self._theirs.path, "for-each-ref", form, "refs/tags")
        run_git(self.path, "update-ref", "--stdin", stdin=tags.stdout)

    def _git(self, *args: str, fine: bool = False) -> str:
        done = run_git(self.path, *args)
        if done.returncode and not fine:
            said = (done.stderr or done.stdout).decode(errors="replace").splitlines()
            raise BuildError(f"git {args[0]} failed in {self.path}", excerpt=said[-8:])
        return done.stdout.decode(errors="replace")


def outcomes_by_commit(folder: Path) -> dict[str, str]:
    """What the runs whose results lie in a folder saw, commit by commit."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*-*.jsonl")):
        results = read_results([path])
        seen, _ = observed(results)
        for column in results.columns.values():
            if commit := column.provenance.get("commit"):
                found[commit] = " or ".join(sorted(seen)) or found.get(commit, "")
    return found
