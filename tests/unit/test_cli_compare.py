"""`faultline compare` around its columns: what is told before any, and what comes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from harness.program_record import ColumnOutput
from tests.unit.calling import call
from tests.unit.test_report_comparison import seen

DOCS = Path(__file__).parents[2] / "docs"
COMPARE = ("compare", "--arch", "alpha", "--arch", "m68k")
ALPHA, M68K = "debian-6.12,alpha", "debian-6.12,m68k"
LOST = ColumnOutput(column=M68K, failure="no QEMU")
REFUSED = [ColumnOutput(column=id, failure="not for it", refused=True) for id in (ALPHA, M68K)]


def test_wrong_use_leaves_the_results_that_are_there(project: Path, tmp_path: Path) -> None:
    results, pipe = tmp_path / "r.json", tmp_path / "pipe"
    results.write_text("a former run's")
    os.mkfifo(pipe)
    for words, message in (
        (["none.c"], "none.c is no file"),
        (["--suite", "tap", "/bin/true"], "--suite tap: expected one of"),
        (["--stdin", str(pipe), "/bin/true"], f"--stdin {pipe} is no file"),
    ):
        done = call(*COMPARE, "--results", str(results), *words)
        assert (done.exit_code, results.read_text()) == (2, "a former run's"), done.output
        assert message in done.stderr


def test_what_runs_already_is_not_offered() -> None:
    assert "--target" in call("run", "--help").output
    assert "runs already" not in call("compare", "--help").output


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ([seen(ALPHA), seen(M68K)], 0),
        ([seen(ALPHA), seen(M68K, code=1)], 1),
        ([seen(ALPHA), LOST], 3),
        ([LOST, REFUSED[0]], 3),
        (REFUSED, 2),
    ],
)
def test_the_exit_status_says_whether_they_differ(
    columns: list[ColumnOutput], code: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.compare._run", lambda *_: iter(columns))
    assert call(*COMPARE, "/bin/true").exit_code == code


def test_the_results_fit_their_schema_whatever_the_words_are(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [seen(ALPHA, "one\n"), LOST]
    monkeypatch.setattr("harness.cli.compare._run", lambda *_: iter(columns))
    results = tmp_path / "r.json"
    done = call(*COMPARE, "--results", str(results), "/bin/true", os.fsdecode(b"\xff"))
    assert done.exit_code == 3
    told = json.loads(results.read_text())
    jsonschema.validate(told, json.loads((DOCS / "comparison.schema.json").read_text()))
    assert told["arguments"] == [r"\xff"]
    assert [one["column"] for one in told["columns"]] == [ALPHA, M68K]


def test_what_was_seen_is_told_though_the_disk_is_full(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [seen(ALPHA), seen(M68K)]
    monkeypatch.setattr("harness.cli.compare._run", lambda *_: iter(columns))
    done = call(*COMPARE, "--results", "/dev/full", "/bin/true")
    assert done.exit_code == 3
    assert done.stdout.endswith("2 columns: the same end, the same output, addresses apart\n")
    assert "No space left on device" in done.stderr
