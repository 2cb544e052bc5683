"""`faultline diff` of kernels, trees and results files, on machines that a test makes up: see
small_project.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.small_project import M68K, call, edit


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
    assert "Nothing could be compared; 3 not compared" in done.output


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


def test_both_words_are_looked_at_before_the_first_is_run(work: Path, tree: Path) -> None:
    done = call("diff", "packaged", "packagd", *M68K)
    assert done.exit_code == 2 and "unknown kernel 'packagd'" in done.output
    assert not Path("out").exists()
