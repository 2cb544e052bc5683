"""run --tree from the command line to the exit code, on machines that a test makes up: see
small_project.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.results import read_results
from tests.unit.small_project import M68K, call, commit, edit, git


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
    done = call("run", "--tree", "tree", *M68K)
    assert done.exit_code == 1
    assert "looking 6 times at 1 cell that may end in several ways" in done.output
    assert "1 difference in 3 compared cells" in done.output
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
    assert "Nothing could be compared; 3 not compared" in done.output


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
    (write,) = (tried for (*_, name), tried in results.tried.items() if name == "hole/write")
    assert [*sorted(write), cells["hole/write"].attempt] == [1, 2, 3, 4]


def test_distributions_are_compared(tree: Path) -> None:
    words = ("--tree", "tree", *M68K, "hole/read")
    edit(tree, "hole/read=ok|EFAULT")
    done = call("run", *words, "--repeat", "2")
    assert "a flake: too few attempts to tell the sides apart" in done.output
    assert "Nothing could be compared; 1 not compared (1: a flake)" in done.output
    done = call("run", *words, "--repeat", "20")
    assert done.exit_code == 1 and "EFAULT 10/20, ok 10/20" in done.output
    assert "1 difference in 1 compared cell" in done.output
    assert call("diff", "out/results.jsonl", "out/results.jsonl").exit_code == 0
