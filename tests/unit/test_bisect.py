"""`faultline bisect`, and its step by hand, on machines that a test makes up: see small_project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import report_samples as samples

from harness.cli.bisect import _told_apart
from harness.results import Observation
from harness.run.bisect import observed
from tests.unit.small_project import M68K, call, commit, edit, everything, git

ROOT = Path(__file__).parents[2]


def history(tree: Path) -> list[str]:
    """Eight commits; the sixth changes what hole/read gives, two do not build or boot."""
    commits = [git(tree, "rev-parse", "HEAD")]
    for number in range(1, 9):
        words = [f"commit-{number}"]
        if number >= 6:
            words.append("hole/read=EFAULT")
        if number == 4:
            words.append("no-boot")
        if number == 3:
            (tree / "fail").touch()
        commits.append(commit(tree, " ".join(words), f"change number {number}"))
        (tree / "fail").unlink(missing_ok=True)
    return commits


@pytest.mark.parametrize("outcome", ["", "ok", "EFAULT"])
def test_the_culprit_is_found(work: Path, tree: Path, outcome: str) -> None:
    commits = history(tree)
    before = everything(tree)
    words = ["--outcome", outcome] if outcome else []
    done = call("bisect", "--tree", "tree", *M68K, "--old", commits[0], "hole/read", *words)
    assert done.exit_code == 0, done.output
    told = done.output.splitlines()[-3:]
    assert told == [f"{commits[6][:12]} change number 6", "  before  ok", "  after   EFAULT"]
    assert "# first new commit" in done.output
    after = everything(tree)
    assert before == after


def test_commits_that_cannot_be_judged_are_named(work: Path, tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    bad = commit(tree, "no-boot", "does not boot")
    last = commit(tree, "hole/read=EFAULT", "fault")
    done = call("bisect", "--tree", "tree", *M68K, "--old", first, "hole/read")
    assert done.exit_code == 3
    assert "one of 2 commits" in done.output
    assert f"{bad[:12]} does not boot" in done.output and f"{last[:12]} fault" in done.output


def test_what_git_knows_is_told_before_anything_is_built(work: Path, tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    last = commit(tree, "hole/read=EFAULT")
    words = ("bisect", "--tree", "tree", *M68K, "hole/read")
    same = call(*words, "--old", last, "--new", "HEAD")
    assert same.exit_code == 2 and "are the same commit" in same.output
    swapped = call(*words, "--old", last, "--new", first)
    assert swapped.exit_code == 2 and "swap them" in swapped.output
    git(tree, "checkout", "--quiet", "--orphan", "other")
    other = commit(tree, "unrelated")
    apart = call(*words, "--old", first, "--new", other)
    assert apart.exit_code == 2 and "no common ancestor" in apart.output
    git(tree, "checkout", "--quiet", "--force", last)
    git(tree, "rm", "--quiet", "Kconfig")
    gone = commit(tree, "no kernel")
    done = call(*words, "--old", first, "--new", gone)
    assert done.exit_code == 2 and "is no kernel" in done.output
    assert not list(work.glob("out/bisect-*"))


def test_ends_that_cannot_be_told_apart(work: Path, tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    commit(tree, "other")
    words = ("bisect", "--tree", "tree", *M68K, "--old", first, "hole/read")
    done = call(*words)
    assert done.exit_code == 2 and "behave alike: ok" in done.output
    commit(tree, "hole/read=EFAULT")
    done = call(*words, "--outcome", "killed(SIGKILL)")
    assert done.exit_code == 2 and "old ok, new EFAULT" in done.output
    commit(tree, "no-boot")
    done = call(*words)
    assert done.exit_code == 3 and "cannot be judged: boot:" in done.output
    commit(tree, "hole/read=ok|EFAULT")
    done = call(*words)
    assert done.exit_code == 3 and "a flake" in done.output
    assert call(*words[:-1], "hole/*").exit_code == 2
    assert call(*words, "--new", "v9").exit_code == 2
    assert call(*words, "--outcome", "sigsegv").exit_code == 2
    done = call(*words, "--out", "/proc/x")
    assert done.exit_code == 2 and "--out /proc/x: " in done.output


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("start", ("--outcome", "ok"), 0),
        ("start", ("--outcome", "ok", "--invert"), 1),
        ("hole/read=EFAULT", ("--outcome", "ok"), 1),
        ("hole/read=EFAULT", ("--outcome", "ok", "--invert"), 0),
        ("hole/read=ok|EFAULT", ("--outcome", "ok"), 125),
        ("hole/read=infra", ("--outcome", "ok"), 125),
        ("hole/read=n/a", ("--outcome", "ok"), 125),
        ("no-boot", ("--outcome", "ok"), 125),
        ("start", (), 255),
        ("start", ("--outcome", "Nonsense("), 255),
    ],
)
def test_a_step_by_hand(tree: Path, text: str, words: tuple[str, ...], code: int) -> None:
    edit(tree, text)
    done = call("run", "--bisect-step", "--tree", "tree", *M68K, "hole/read", *words)
    assert done.exit_code == code, done.output


def test_a_step_that_does_not_build(tree: Path) -> None:
    (tree / "fail").touch()
    words = ("run", "--bisect-step", "--tree", "tree", *M68K, "--outcome", "ok")
    assert call(*words, "hole/read").exit_code == 125
    (tree / "Kconfig").unlink()
    assert call(*words, "hole/read").exit_code == 125
    assert call(*words, "hole/*").exit_code == 255
    assert call(*words, "hole/raed").exit_code == 255


def test_a_step_is_no_judgement_where_something_unforeseen_happens(
    tree: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git takes what is from 1 to 124 for the new commits' outcome."""
    words = ("run", "--bisect-step", "--tree", "tree", *M68K, "--outcome", "ok", "hole/read")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("nobody thought of that")

    monkeypatch.setattr("harness.cli.run.run_columns", broken)
    done = call(*words)
    assert done.exit_code == 125 and "nobody thought of that" in done.output
    (work / "project/kernels.yaml").write_text("nonsense")
    assert call(*words).exit_code == 255


def test_an_interrupted_bisection_leaves_nothing_running(work: Path, tree: Path) -> None:
    makefile = tree / "Makefile"
    slow = f"vmlinux:\n\t@echo $$PPID > {work}/make.pid; sleep 60\n"
    makefile.write_text(makefile.read_text().replace("vmlinux:\n", slow))
    first = commit(tree, "slow")
    commit(tree, "hole/read=EFAULT")
    argv = [sys.executable, "-m", "harness", "bisect", "--tree", str(tree), *M68K,
            "--old", first, "hole/read", "--no-snapshots"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(argv, env=env, cwd=work, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (work / "make.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    make = int((work / "make.pid").read_text())
    assert not Path(f"/proc/{make}").exists()


def test_an_end_where_it_is_not_applicable_is_what_is_looked_for() -> None:
    assert _told_apart("ok", "n/a", "") == ("n/a", True)
    assert _told_apart("n/a", "ok", "ok") == ("n/a", False)
    assert _told_apart("ok", "EFAULT", "") == ("ok", False)
    assert _told_apart("ok", "EFAULT", "EFAULT") == ("EFAULT", True)


def test_a_kernel_that_cannot_be_had_has_no_outcome() -> None:
    seen = {"outcome": "n/a", "cause": "no such machine"}
    cell = samples.cell(
        "hole/read", "k", "m68k", observation=Observation(scenario="hole/read", **seen)
    )
    asked = samples.column("k", "m68k", planned=["hole/read"])
    unbuilt = samples.column("k", "m68k", planned=["hole/read"], version="", release="")
    assert observed(samples.results(unbuilt, cell)) == (set(), "no such machine")
    assert observed(samples.results(asked, cell)) == ({"n/a"}, "no such machine")
