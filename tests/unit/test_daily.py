"""run --tree, diff and bisect from the command line to the exit code, on machines that a test
makes up: see small_project.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.results import read_results
from tests.unit.small_project import commit, git, repository, small_project

ROOT = Path(__file__).parents[2]
M68K = ("--arch", "m68k")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAULTLINE_PROJECT", str(small_project(tmp_path)))
    monkeypatch.setenv("FAULTLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr("harness.build.kernel.HOST_TOOLS", ("make",))
    monkeypatch.setattr("harness.run.preflight.HOST_TOOLS", ("make",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tree(work: Path) -> Path:
    return repository(work / "tree")


def call(*words: str) -> Result:
    """The machine that stands in for QEMU cannot be saved."""
    return CliRunner().invoke(main, [*words, "--no-snapshots"], catch_exceptions=False)


def build(*words: str) -> Result:
    return CliRunner().invoke(main, ["build", *words], catch_exceptions=False)


def everything(tree: Path) -> set[tuple[str, int]]:
    """Files and their times; git may renew those of objects."""
    files = (path for path in tree.rglob("*") if path.is_file() and "objects" not in path.parts)
    return {(str(path), path.stat().st_mtime_ns) for path in files}


def edit(tree: Path, text: str) -> None:
    (tree / "text").write_text(text + "\n")


# -- list --

EXPECTED = """\
read:
  summary: a load from a hole
  expect:
    - arch: m68k
      outcome: EFAULT
      because: m68k says so
      bug: {ref: "unreported: x", want: ok}
    - outcome: [ok, EIO]
      because: the test says so
lacking:
  summary: what no kernel here has
  needs: {config: [CONFIG_NOWHERE=y]}
  expect:
    - outcome: ok
      because: the test says so
"""
KERNELS = """\
default: packaged
kernels:
  packaged: {tree: ../packaged}
  partly:
    tree: ../packaged
    unavailable:
      - {arch: m68k, because: it does not compile}
"""


def list_cells(*words: str) -> str:
    done = CliRunner().invoke(main, ["list", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_list_says_what_is_expected_where(work: Path) -> None:
    (work / "project/expectations/hole.yaml").write_text(EXPECTED)
    (work / "project/kernels.yaml").write_text(KERNELS)
    both = ("--arch", "alpha", *M68K)
    assert list_cells("hole/read", *both) == (
        "hole/read  a load from a hole\n"
        "  all columns: not known yet: `faultline build` this kernel first\n"
    )
    CliRunner().invoke(main, ["build", *both], catch_exceptions=False)
    assert list_cells("hole/*", *both) == (
        "hole/read  a load from a hole\n"
        "  packaged,alpha: ok or EIO\n"
        "  packaged,m68k: EFAULT (known bug: ok is right)\n"
        "hole/lacking  what no kernel here has\n"
        "  all columns: n/a: needs CONFIG_NOWHERE=y, which this kernel does not have\n"
    )
    assert "  partly,m68k: n/a: partly cannot be had for m68k: it does not compile\n" in list_cells(
        "hole/read", "--kernel", "partly"
    )
    assert "a run asks that machine" in list_cells("--kernel", "ssh:x", "--arch", "m68k")


def wrong(work: Path, *words: str) -> str:
    """What is said of wrong input: one error, before anything is compiled, booted or written."""
    done = call("run", *M68K, *words)
    assert done.exit_code == 2, done.output
    assert not (work / "store/v1/kernel").exists()
    return done.output


# -- wrong declarations --


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no diff at all\n", "expected a unified diff"),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "could lie outside"),
    ],
)
def test_a_patch_that_is_none_is_told_before_a_copy(
    work: Path, tree: Path, text: str, said: str
) -> None:
    (work / "fix.patch").write_text(text)
    told = wrong(work, "--tree", "tree", "--patch", "fix.patch")
    assert said in told and told.startswith("Error: ") and "kernels.yaml" not in told
    assert not (work / "store/v1/source").exists()


def declare(work: Path, source: str) -> None:
    text = f"default: packaged\nkernels:\n  packaged: {{{source}}}\n"
    (work / "project/kernels.yaml").write_text(text)


def test_tarballs_that_are_none_are_told_before_anything_is_done(work: Path) -> None:
    archive = work / "linux.tar"
    project_archive = work / "project/../linux.tar"
    archive.write_bytes(b"no archive")
    found = hashlib.sha256(b"no archive").hexdigest()
    declare(work, f"tarball: {{path: ../linux.tar, sha256: {'0' * 64}}}")
    told = wrong(work)
    assert f"kernels.yaml:3: {project_archive}: its sha256 is {found}, declared is 0000" in told
    declare(work, f"tarball: {{path: ../linux.tar, sha256: {found}}}")
    assert f"{project_archive}: expected a tar archive, plain or by xz, gzip" in wrong(work)
    declare(work, f"tarball: {{path: ../nope.tar, sha256: {found}}}")
    told = wrong(work)
    assert "nope.tar" in told and "Errno" not in told and "give `path` a file" in told
    assert not (work / "out").exists() and not (work / "store/v1/guest").exists()


def test_rows_and_functions_that_miss_each_other_stop_the_run(work: Path) -> None:
    source = work / "project/guest-progs/main.c"
    main_function = source.read_text()
    for text, said in (
        ("void hole_wrote(void)\n{\n}\n", "functions without a row in expectations/: hole_wrote"),
        (
            '#define SCENARIO(n, function, ...) void function(void);\n#include "scenarios.inc"\n'
            "void hole_all(void);\nvoid hole_all(void)\n{\n\thole_exec();\n}\n",
            "scenarios without a function (or libc's): hole_exec",
        ),
    ):
        source.write_text(text + main_function)
        assert said in wrong(work)
        done = build(*M68K)
        assert done.exit_code == 2 and said in done.output
    assert not (work / "store/v1/kernel").exists()


def test_build_exits_3_where_the_compiler_fails(work: Path) -> None:
    (work / "packaged/fail").touch()
    done = build(*M68K)
    assert done.exit_code == 3 and "make vmlinux failed" in done.output


def test_a_machine_that_qemu_does_not_know_is_not_booted(work: Path) -> None:
    arch = work / "project/arches/m68k.yaml"
    arch.write_text(arch.read_text().replace("by-kernel", "nope"))
    told = wrong(work)
    assert "arches/m68k.yaml: " in told and "unsupported machine type nope" in told
    assert not (work / "out").exists()


def test_kvm_for_another_arch_is_told_before_a_boot(work: Path) -> None:
    told = wrong(work, "--accel", "kvm")
    assert "--accel kvm: " in told and "is not this host's architecture" in told
    assert not (work / "out").exists()


# -- run --tree --


def test_an_edit_is_compared_with_head(tree: Path) -> None:
    edit(tree, "hole/read=EFAULT")
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 1, done.output
    told = done.output.partition("Against the base")[2]
    assert "hole/read  m68k\n    old      ok\n    new      EFAULT\n" in told
    assert "matrix   expects ok" in told
    assert "1 difference in 3 compared cells. (exit code 1)" in told
    assert "HEAD: the tree has changes" in done.output
    assert {path.name for path in Path("out").iterdir()} >= {"results.jsonl", "base.jsonl"}
    again = call("diff", "out/base.jsonl", "out/results.jsonl")
    assert again.exit_code == 1 and again.output in done.output


def test_an_edit_without_effect_is_no_difference(tree: Path) -> None:
    edit(tree, "hole/read=ok")
    done = call("run", "--tree", "tree")
    assert done.exit_code == 0, done.output
    assert "No difference in 6 compared cells. (exit code 0)" in done.output


def test_what_is_expected_on_both_may_still_be_a_change(work: Path, tree: Path) -> None:
    rows = work / "project/expectations/hole.yaml"
    rows.write_text(rows.read_text().replace("outcome: ok", "outcome: [ok, EFAULT]"))
    edit(tree, "hole/read=EFAULT")
    assert call("run", "--tree", "tree", *M68K).exit_code == 1
    assert call("run", "--tree", "tree", *M68K, "--no-base").exit_code == 0


def test_without_changes_upstream_is_the_base(tree: Path) -> None:
    git(tree, "checkout", "--quiet", "-b", "topic")
    commit(tree, "hole/write=EFAULT")
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 1 and "where HEAD left master" in done.output
    git(tree, "checkout", "--quiet", "master")
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 0
    assert "compared with the matrix only: HEAD is a part of upstream" in done.output
    done = call("run", "--tree", "tree", *M68K, "--base", "topic")
    assert done.exit_code == 1 and "old      EFAULT" in done.output


def test_a_revision_is_run_without_touching_the_tree(tree: Path) -> None:
    git(tree, "tag", "v6.12")
    git(tree, "checkout", "--quiet", "-b", "topic")
    commit(tree, "hole/write=EFAULT")
    git(tree, "checkout", "--quiet", "master")
    edit(tree, "hole/exec=EFAULT")
    status = git(tree, "status", "--porcelain", "--branch")
    done = call("run", "--tree", "tree", "--git", "topic", *M68K)
    assert done.exit_code == 1 and "hole/exec" not in done.output.partition("Against")[2]
    assert "6.12.117-00001-g" in done.output
    assert call("run", "--kernel", "git:tree#topic", *M68K, "hole/exec").exit_code == 0
    assert git(tree, "status", "--porcelain", "--branch") == status


def test_no_git_no_base(work: Path, tree: Path) -> None:
    done = call("run", "--tree", "packaged", *M68K)
    assert done.exit_code == 2
    assert "is no git repository of its own" in done.output and "--base packaged" in done.output
    assert not (work / "out").exists()
    done = call("run", "--tree", "packaged", *M68K, "--base", "tree:tree")
    assert done.exit_code == 0 and "No difference in 3" in done.output
    assert call("run", "--tree", "packaged", *M68K, "--base", "v6.1").exit_code == 2


def test_a_patch_is_compared_with_the_same_without_it(work: Path, tree: Path) -> None:
    patch = work / "fix.patch"
    patch.write_text("--- a/text\n+++ b/text\n@@ -1 +1 @@\n-start\n+hole/read=EFAULT\n")
    done = call("run", "--tree", "tree", "--patch", "fix.patch", *M68K)
    assert done.exit_code == 1 and "the same without the patches" in done.output
    assert "new      EFAULT" in done.output
    assert (tree / "text").read_text() == "start\n"
    patch.write_text(patch.read_text().replace("-start", "-begin"))
    done = call("run", "--tree", "tree", "--patch", "fix.patch", *M68K)
    assert done.exit_code == 3 and "neither applies" in done.output
    assert "3 not compared (3: new: infra: build:" in done.output


def test_a_patch_whose_change_is_there_is_skipped_and_told(work: Path, tree: Path) -> None:
    (work / "fix.patch").write_text("--- a/text\n+++ b/text\n@@ -1 +1 @@\n-begin\n+start\n")
    done = call("run", "--tree", "tree", "--patch", "fix.patch", *M68K, "--no-base")
    assert done.exit_code == 0, done.output
    assert "skipped, its change is in the tree already: fix.patch" in done.output
    report = (work / "out/report.md").read_text()
    assert "patches there already" in report and "fix.patch |" in report
    page = (work / "out/report.html").read_text()
    assert "patches there already" in page


def test_a_fragment_counts_for_both_sides(work: Path, tree: Path) -> None:
    (work / "my.config").write_text("CONFIG_MINE=y\n")
    edit(tree, "hole/read=EFAULT")
    done = call("run", "--tree", "tree", "--config-fragment", "my.config", *M68K)
    assert done.exit_code == 1
    configs = list((work / "store/v1/kernel").glob("*/files/config"))
    assert len(configs) == 2 and all("CONFIG_MINE=y" in path.read_text() for path in configs)
    (work / "my.config").write_text("CONFIG_LOST=y\n")
    done = call("run", "--tree", "tree", "--config-fragment", "my.config", *M68K, "--no-base")
    assert done.exit_code == 3 and "my.config:1: CONFIG_LOST=y did not survive" in done.output


def test_one_arch_of_two_that_does_not_build(tree: Path) -> None:
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("test ! -e fail", "test $(ARCH) != alpha"))
    edit(tree, "hole/read=EFAULT")
    done = call("run", "--tree", "tree")
    assert done.exit_code == 1, done.output
    told = done.output.partition("Against the base")[2]
    assert "1 difference in 3 compared cells; 3 not compared" in told
    assert "alpha: 3 cells: " in told and "make vmlinux failed" in told
    assert done.output.count("make vmlinux failed  [infra]") == 1  # of three cells, while it runs
    edit(tree, "start")
    done = call("run", "--tree", "tree")
    assert done.exit_code == 3
    assert "No difference in 3 compared cells; 3 not compared" in done.output


def test_a_tree_that_builds_nowhere(tree: Path) -> None:
    (tree / "fail").touch()
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 3
    assert "No difference in 0 compared cells; 3 not compared" in done.output


def test_a_kernel_that_does_not_boot_and_one_that_oopses(tree: Path) -> None:
    edit(tree, "no-boot")
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 3 and "3 not compared (3: new: infra: boot:" in done.output
    edit(tree, "hole/read=oops hole/write=infra")
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 1
    assert (
        "new      A: ok | kernel: oops" in done.output
        and "console  new: Oops: 0000 [#1]" in done.output
    )
    assert "1 difference in 2 compared cells; 1 not compared" in done.output


def test_results_inside_the_tree_are_not_its_source(tree: Path, work: Path) -> None:
    os.chdir(tree)
    edit(tree, "hole/read=EFAULT")
    done = call("run", "--tree", ".", *M68K)
    assert done.exit_code == 1, done.output
    assert git(tree, "status", "--porcelain") == "M text"
    assert call("run", "--git", "HEAD", *M68K, "--no-base").exit_code == 0


def test_a_path_with_a_space(tree: Path, work: Path) -> None:
    tree.rename(work / "my tree")
    edit(work / "my tree", "hole/read=EFAULT")
    done = call("run", "--tree", "my tree", *M68K)
    assert done.exit_code == 1
    assert "--kernel 'tree:my tree'" in done.output  # to be pasted


def test_a_tree_by_another_way_is_the_same_tree(tree: Path, work: Path) -> None:
    (work / "link").symlink_to(tree)
    for way in ("tree", "tree/../tree", "link"):
        assert call("run", "--tree", way, *M68K, "--no-base").exit_code == 0
        edit(tree, f"hole/read=ok {way}")  # makes an image of its own necessary
    assert len(list((work / "store").glob("v1/objects/*/"))) == 1


def test_wrong_words_for_a_tree(tree: Path) -> None:
    for words, message in (
        (("--tree", "tree", "--kernel", "packaged"), "name one of them"),
        (("--tree", "none"), "Makefile"),
        (("--tree", "tree", "--base", "nonsense"), "has no revision 'nonsense'"),
        (("--tree", "tree", "--git", "nonsense"), "has no revision 'nonsense'"),
        (("--base", "v1"), "is no git repository"),
        (("--tree", "tree", "--patch", "none.patch"), "none.patch"),
        (("--kernel", "packaged", "--kernel", "tree:tree", "--base", "packaged"), "one kernel"),
    ):
        done = call("run", *words, *M68K)
        assert done.exit_code == 2, done.output
        assert message in done.output
        assert not Path("out").exists()


# -- repeat --


def test_a_flake_is_called_one(tree: Path) -> None:
    edit(tree, "hole/read=ok|EFAULT")
    done = call("run", "--tree", "tree", *M68K, "--repeat", "4", "--no-base")
    assert done.exit_code == 1
    results = read_results([Path("out/results.jsonl")])
    cells = {cell.scenario: cell for cell in results.last()}
    flake = cells["hole/read"]
    assert (flake.confirmation, flake.tally) == ("flake", {"ok": 2, "EFAULT": 2})
    assert flake.observation.outcome == "EFAULT"  # what is not as expected counts
    assert cells["hole/write"].tally == {"ok": 4} and not cells["hole/write"].confirmation
    assert [a for *_, name, a in results.results if name == "hole/write"] == [1, 2, 3, 4]


def test_distributions_are_compared(tree: Path) -> None:
    words = ("--tree", "tree", *M68K, "hole/read")
    edit(tree, "hole/read=ok|EFAULT")
    done = call("run", *words, "--repeat", "2")
    assert "a flake: too few attempts to tell the sides apart" in done.output
    assert "No difference in 0 compared cells; 1 not compared (1: a flake)" in done.output
    done = call("run", *words, "--repeat", "20")
    assert done.exit_code == 1 and "EFAULT 10/20, ok 10/20" in done.output
    assert "1 difference in 1 compared cell" in done.output
    assert call("diff", "out/results.jsonl", "out/results.jsonl").exit_code == 0


# -- diff --


def test_kernels_trees_and_files_are_compared(work: Path, tree: Path) -> None:
    edit(tree, "hole/read=EFAULT")
    done = call("diff", "packaged", "tree", *M68K)
    assert done.exit_code == 1 and "1 difference in 3 compared cells" in done.output
    assert call("diff", "packaged", "packaged", *M68K, "hole/write").exit_code == 0
    call("run", "--kernel", "packaged", *M68K, "hole/read", "--out", "old")
    done = call("diff", "old/results.jsonl", "tree")
    assert done.exit_code == 1 and "1 difference in 1 compared cell" in done.output
    done = call("diff", "old/results.jsonl", "tree:tree", "--format", "json")
    told = json.loads(done.stdout)
    assert told["counts"]["changed"] == 1 and told["exit_code"] == done.exit_code == 1


def test_what_one_side_lacks_is_not_unchanged(work: Path, tree: Path) -> None:
    call("run", "--kernel", "packaged", *M68K, "hole/read", "--out", "few")
    call("run", "--kernel", "packaged", "--out", "all")
    done = call("diff", "few/results.jsonl", "all/results.jsonl")
    assert done.exit_code == 3
    assert "No difference in 1 compared cell; 5 not compared" in done.output
    assert "old has no column alpha" in done.output and "not among its scenarios" in done.output
    assert call("diff", "few/results.jsonl", "all/results.jsonl", *M68K, "hole/read").exit_code == 0


def test_kernels_of_one_file(work: Path, tree: Path) -> None:
    edit(tree, "hole/read=EFAULT")
    call("run", "--kernel", "packaged", "--kernel", "tree:tree", *M68K)
    file = "out/results.jsonl"
    assert call("diff", f"{file}#packaged", f"{file}#tree:tree").exit_code == 1
    done = call("diff", f"{file}#packaged", f"{file}")
    assert done.exit_code == 3 and "FILE#KERNEL" in done.output
    assert call("diff", f"{file}#nonsense", file).exit_code == 2


def test_a_run_that_was_stopped_before_its_first_column(work: Path, tree: Path) -> None:
    call("run", "--kernel", "packaged", *M68K)
    lines = Path("out/results.jsonl").read_text().splitlines(keepends=True)
    Path("stopped.jsonl").write_text(lines[0])
    done = call("diff", "out/results.jsonl", "stopped.jsonl")
    assert done.exit_code == 3, done.output
    assert "was interrupted: it has no end record" in done.output
    assert "No difference in 0 compared cells; 3 not compared" in done.output


def test_wrong_words_for_diff(work: Path, tree: Path) -> None:
    (work / "notes.txt").write_text("hello\n")
    for words, message in (
        (("none.jsonl", "packaged"), "no such results file"),
        (("packagd", "packaged"), "did you mean packaged"),
        (("notes.txt", "packaged"), "is no results file"),
        (("packaged", "tree", "hole/raed"), "did you mean"),
    ):
        done = call("diff", *words, *M68K)
        assert done.exit_code == 2, done.output
        assert message in done.output


# -- bisect --


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
