"""`faultline report`: its exit codes, what it narrows and what it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.results import Verdict
from tests.unit.calling import call, write_results
from tests.unit.test_run_imported import good

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.MATCH, 0),
        (Verdict.KNOWN_BUG, 0),
        (Verdict.MISMATCH, 1),
        (Verdict.NO_EXPECTATION, 2),
        (Verdict.INFRA, 3),
    ],
)
def test_report_exits_as_the_run_did(tmp_path: Path, verdict: Verdict, code: int) -> None:
    path = tmp_path / "r.jsonl"
    write_results(path, verdict)
    for form in ("terminal", "markdown"):
        done = call("report", "--results", str(path), "--format", form)
        assert done.exit_code == code
        assert "k,m68k" in done.output


def test_a_file_that_holds_no_record_is_no_results_file(tmp_path: Path) -> None:
    path, other = tmp_path / "r.jsonl", tmp_path / "passwd"
    write_results(path, Verdict.MATCH)
    other.write_text("root:x:0:0:root:/root:/bin/bash\n")
    done = call("report", "--results", str(path), "--results", str(other))
    assert done.exit_code == 2 and f"{other} is no results file" in done.output
    with open(path, "a") as file:  # a torn line beside records is damage
        file.write("{")
    assert call("report", "--results", str(path)).exit_code == 3


def test_report_narrows_and_writes_files(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_results(path, Verdict.MATCH)
    assert call("report", "--results", str(path), "--arch", "alpha").exit_code == 2
    out = tmp_path / "report.md"
    assert (
        call("report", "--results", str(path), "--format", "markdown", "-o", str(out)).exit_code
        == 0
    )
    assert "a/a" in out.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--arch", "m68k", "--arch", "m86k"), "no column of arch 'm86k'"),
        (("--kernel", "q"), "no column of kernel 'q' in these files\n  known: k"),
        (("--flavour", "full"), "no column of flavour 'full'"),
        (("a/a", "a"), "no scenario of these files matches 'a'\n  known: a/*"),
        (("a/a", "a/aa"), "no scenario of these files matches 'a/aa'\n  did you mean a/a"),
    ],
)
def test_report_names_what_no_file_holds(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "r.jsonl"
    write_results(path, Verdict.MATCH)
    done = call("report", "--results", str(path), *words)
    assert done.exit_code == 2
    assert message in done.output
    if "--kernel" not in words:
        done = call("diff", str(path), str(path), *words)
        assert done.exit_code == 2
        assert message in done.output


@pytest.mark.parametrize("command", ["report --results R", "report --format markdown --results R",
                                     "diff R R", "import LOG --as board -o OUT"])  # fmt: skip
def test_a_reader_who_leaves_early_changes_no_exit_code(tmp_path: Path, command: str) -> None:
    path, log = tmp_path / "r.jsonl", tmp_path / "log"
    write_results(path, Verdict.MISMATCH)
    log.write_bytes(good())
    files = {"R": path, "LOG": log, "OUT": tmp_path / "board.jsonl"}
    words = [str(files.get(word, word)) for word in command.split()]
    code = call(*words).exit_code
    assert code == (0 if command.startswith("diff") else 1)
    reader, writer = os.pipe()
    os.close(reader)
    program = "from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")
