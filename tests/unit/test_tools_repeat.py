"""tools/repeat: which runs count, and what it calls a difference."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from harness.results import (
    ColumnRecord,
    EndRecord,
    Observation,
    ResultRecord,
    Results,
    RunRecord,
    Verdict,
)
from tests.unit.small_project import commit, git
from tests.unit.tool_calls import call, tool


@pytest.fixture(scope="module")
def repeat() -> ModuleType:
    return tool("repeat")


def one(outcome: str, *expected: str, confirmation: str = "", failure: str = "") -> Results:
    """A run of one cell; without an outcome, one that did not come to it."""
    results = Results()
    results.add(ColumnRecord(run_id="r", column="c", planned=["a/b"]))
    if outcome or failure:
        verdict = Verdict.MATCH if outcome in expected else Verdict.MISMATCH
        verdict = Verdict.INFRA if failure else verdict
        seen = Observation(scenario="a/b", outcome=outcome, failure=failure)
        results.add(
            ResultRecord(
                run_id="r",
                column="c",
                scenario="a/b",
                expected=list(expected),
                verdict=verdict,
                confirmation=confirmation,
                observation=seen,
            )
        )
    return results


@pytest.mark.parametrize(
    ("runs", "differ", "loose"),
    [
        ([one("ok", "ok"), one("ok", "ok")], 0, 0),
        ([one("ok", "ok"), one("EFAULT", "ok")], 1, 0),
        ([one("ok", "ok", "EFAULT"), one("EFAULT", "ok", "EFAULT")], 0, 1),
        ([one("ok", "ok", "EFAULT"), one("EIO", "ok", "EFAULT")], 1, 0),
        ([one("ok", "ok", "EFAULT"), one("EFAULT", "ok", "EFAULT", confirmation="x")], 1, 0),
        ([one("ok", "ok"), one("ok", "ok", confirmation="x")], 1, 0),
        ([one("ok", "ok"), one("")], 1, 0),
        ([one("ok", "ok"), one("", failure="no machine")], 1, 0),
        ([one("", failure="no machine"), one("", failure="no machine")], 1, 0),
        ([one(""), one("")], 1, 0),
        ([one("ok", "ok"), Results()], 1, 0),
    ],
)
def test_what_is_a_difference(
    repeat: ModuleType, runs: list[Results], differ: int, loose: int
) -> None:
    different, within = repeat.differences(runs)
    assert (len(different), within) == (differ, loose)


def refuses(capsys: pytest.CaptureFixture[str], what: Callable[[], object]) -> str:
    """Why it ends with 2, in a line."""
    with pytest.raises(SystemExit) as caught:
        what()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.endswith("\n")
    return told


def test_runs_of_other_words_or_another_commit_do_not_count(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def again(words: str = "hole/*", commit: str = "abc") -> None:
        repeat.same_again(tmp_path, [words], commit)

    again()
    again()
    told = refuses(capsys, lambda: again(words="x"))
    assert "runs of words ['hole/*'], and now it is ['x']: name another --out" in told
    told = refuses(capsys, lambda: again(commit="def"))
    assert "runs of commit 'abc', and now it is 'def': name another --out" in told
    for text in ("{", "[]", '"abc"', "1"):
        (tmp_path / "of.json").write_text(text)
        assert re.search(r"of\.json: .*: name another --out", refuses(capsys, again))


def test_runs_that_nothing_is_known_of_do_not_count(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "01").mkdir()
    (tmp_path / "01" / "results.jsonl").touch()
    told = refuses(capsys, lambda: repeat.same_again(tmp_path, [], "abc"))
    assert "holds runs of nobody knows what" in told


def test_what_differs_from_its_commit_is_refused(
    repeat: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refuses(capsys, lambda: repeat.clean_commit(tmp_path / ".."))
    assert "nobody knows its commit" in told
    (tmp_path / "tree").mkdir()
    git(tmp_path / "tree", "init", "--quiet")
    first = commit(tmp_path / "tree", "one")
    assert first.startswith(repeat.clean_commit(tmp_path / "tree"))
    (tmp_path / "tree" / "text").write_text("two")
    (tmp_path / "tree" / "new.c").touch()  # what git does not know is compiled as well
    told = refuses(capsys, lambda: repeat.clean_commit(tmp_path / "tree"))
    assert "tree differs from its commit: commit, remove or ignore text, new.c" in told


RUN = """#!/bin/sh
mkdir "$5"; echo '{result}' > "$5/results.jsonl"
"""


@pytest.mark.parametrize(
    ("commits", "runs"),
    [
        (["abc"] * 6, {"01", "02", "03"}),
        (["abc"] * 5 + ["def"], {"01", "02"}),  # meanwhile, or behind the last one
        (["abc"] * 4 + ["def"], {"01", "02"}),
        (["abc", "def"], set()),
    ],
)
def test_the_commit_is_looked_at_before_each_run_and_behind_it(
    repeat: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    commits: list[str],
    runs: set[str],
) -> None:
    """A run of which nobody knows what it is of does not count, also when it is taken up again."""
    results = [RunRecord(run_id="r"), EndRecord(run_id="r", exit_code=0)]
    text = "\n".join(msgspec.json.encode(one).decode() for one in results)
    python = tmp_path / "python"
    python.write_text(RUN.replace("{result}", text))
    python.chmod(0o755)
    looked = iter(commits)
    monkeypatch.setattr(repeat, "clean_commit", lambda root: next(looked))
    monkeypatch.setattr(repeat.sys, "executable", str(python))
    out = tmp_path / "out"
    out.mkdir()
    if "def" in commits:
        told = refuses(capsys, lambda: repeat.compare(3, out, []))
        assert "of commit 'abc', and now it is 'def'" in told
    else:
        assert repeat.compare(3, out, []) == 0
    assert next(looked, None) is None
    assert {path.name for path in out.iterdir() if path.name.isdigit()} == runs


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/proc/x/y", "/proc/x: No such file or directory: name another --out\n"),
        ("/dev/null", "/dev/null: File exists: name another --out\n"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told_in_a_line(out: str, message: str) -> None:
    done = call("repeat", "1", "--out", out)
    assert (done.returncode, done.stderr) == (2, message)


def test_a_run_of_another_kernel_does_not_count(
    repeat: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(kernel: str) -> Results:
        results = Results()
        provenance = {"qemu": "7.2.22", "command": f"qemu -kernel {kernel}"}
        results.add(ColumnRecord(run_id="r", column="c", provenance=provenance))
        return results

    repeat.check_machines([of("a"), of("a")])
    for other in (of("b"), Results()):
        told = refuses(capsys, lambda other=other: repeat.check_machines([of("a"), other]))
        assert told.startswith("c: run 2 is of another machine than run 1")


# The tools at work: each worker writes its process id into the folder argv[1].
