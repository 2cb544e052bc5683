"""The pytest front end: what each verdict turns into, and the results file it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from job_samples import expect
from job_samples import job as fake_job
from msgspec.structs import replace

# Known before pytester notes which modules there are: it forgets those that come later, and what
# is set in them.
import harness.run.job
import harness.run.prepare  # noqa: F401
from harness.build import BuildError, StoreError, Unavailable
from harness.cli import main
from harness.progress import describe
from harness.pytest_plugin import explain
from harness.results import (
    ColumnRecord,
    Evidence,
    Observation,
    Record,
    ResultRecord,
    Verdict,
    read_results,
)
from harness.run.plan import Cell, Column

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
SCENARIOS = ("a", "b", "c")


class FakeRunner:
    """Stands in for CellRunner: answers from a table, and amends where `late` says so."""

    answers: ClassVar[dict[str, dict[str, Any]]] = {}
    late: ClassVar[dict[str, str]] = {}  # scenario -> verdict of what settle() then writes
    closes_late: ClassVar[bool] = False  # the words come only when the machine is closed
    again: ClassVar[str] = ""  # verdict of the second look at what was amended
    fails: ClassVar[dict[str, Exception]] = {}  # scenario -> what comes of a second look at it

    def __init__(self, job: Any, write: Callable[[Record], None]) -> None:
        self.job, self.write, self.last = job, write, ""

    def record(self, scenario: str, **more: Any) -> ResultRecord:
        fields: dict[str, Any] = {
            "verdict": Verdict.MATCH,
            "observation": Observation(scenario=scenario, outcome="ok"),
            "declared": "expectations/f.yaml:3",
        }
        return ResultRecord(
            run_id=self.job.run_id, column=self.job.column, scenario=scenario, **(fields | more)
        )

    def run(self, cell: Cell) -> ResultRecord:
        record = self.record(cell.scenario, **self.answers.get(cell.scenario, {}))
        self.write(record)
        if cell.scenario in self.fails:
            raise self.fails[cell.scenario]
        self.last = cell.scenario
        return record

    def settle(self) -> None:
        if not self.closes_late:
            self.amend()

    def amend(self) -> None:
        verdict = self.late.get(self.last)
        if verdict:
            seen = Observation(scenario=self.last, outcome="A: ok | kernel: oops")
            late = self.record(
                self.last,
                attempt=2,
                confirmation="late",
                verdict=Verdict(verdict),
                observation=seen,
            )
            self.write(late)
            if self.again:
                more = {"confirmation": "flake", "verdict": Verdict(self.again)}
                self.write(self.record(self.last, attempt=3, **more))
            self.last = ""

    def close(self) -> None:
        self.amend()


@pytest.fixture
def tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of three scenarios on two arches, and a folder of tests that runs them."""
    root = pytester.path / "project"
    for folder in ("arches", "flavours", "expectations"):
        (root / folder).mkdir(parents=True)
    for name in ("common.config", "m68k.yaml", "m68k.config", "alpha.yaml", "alpha.config"):
        shutil.copy(ROOT / "arches" / name, root / "arches")
    (root / "flavours/core.config").touch()
    (root / "expectations/decisions.yaml").write_text("{}\n")
    family = "".join(f"{name}: {{summary: s}}\n" for name in SCENARIOS)
    (root / "expectations/f.yaml").write_text(family)
    (root / "kernels.yaml").write_text("default: k\nkernels: {k: {debian: {package: p}}}\n")
    monkeypatch.setenv("FAULTLINE_PROJECT", str(root))
    monkeypatch.setenv("FAULTLINE_STORE", str(pytester.path / "store"))
    monkeypatch.setattr("harness.run.prepare.prepare", prepare)
    monkeypatch.setattr("harness.run.job.CellRunner", FakeRunner)
    fresh = {"answers": {}, "late": {}, "closes_late": False, "again": "", "fails": {}}
    for name, value in fresh.items():
        monkeypatch.setattr(FakeRunner, name, value)
    matrix = pytester.path / "matrix"
    matrix.mkdir()
    (matrix / "matrix.yaml").write_text("arches: m68k\n")
    return pytester


def prepare(run_id: str, column: Column, scenarios: Any, *_: Any) -> Any:
    """As `run.prepare.prepare`, without building."""
    names = [scenario.name for scenario in scenarios]
    cells = tuple(Cell(scenario=name, expectations=(expect("ok"),)) for name in names)
    record = ColumnRecord(
        run_id=run_id,
        column=column.id,
        arch=column.arch.name,
        kernel=column.kernel.name,
        planned=names,
    )
    job = replace(fake_job(*cells), run_id=run_id, column=column.id)
    return SimpleNamespace(record=record, jobs=(job,), cells=cells, entries=())


def run(tests: pytest.Pytester, *words: str) -> pytest.RunResult:
    return tests.runpytest_inprocess(
        "-p",
        "harness.pytest_plugin",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:xdist",
        "-rA",
        "matrix",
        *words,
    )


def answer(scenario: str, verdict: Verdict, **more: Any) -> None:
    FakeRunner.answers[scenario] = {"verdict": verdict, **more}


STALE = Evidence(id="d", file="mm/memory.c", function="f", text="goto bad", status="stale")


@pytest.mark.parametrize(
    ("verdict", "more", "outcomes"),
    [
        (Verdict.MATCH, {}, {"passed": 1}),
        (Verdict.MISMATCH, {}, {"failed": 1}),
        (Verdict.NO_EXPECTATION, {}, {"failed": 1}),
        (Verdict.INFRA, {}, {"errors": 1}),
        (Verdict.KNOWN_BUG, {}, {"xfailed": 1}),
        (Verdict.NOT_APPLICABLE, {}, {"skipped": 1}),
        (Verdict.NOT_RUN, {}, {"skipped": 1}),
        (Verdict.FIXED, {}, {"passed": 1, "warnings": 1}),
        (Verdict.MATCH, {"evidence": [STALE]}, {"failed": 1}),
        (Verdict.KNOWN_BUG, {"evidence": [STALE]}, {"failed": 1}),
        (Verdict.NOT_APPLICABLE, {"evidence": [STALE]}, {"failed": 1}),
        (Verdict.FIXED, {"evidence": [STALE]}, {"failed": 1}),
    ],
)
def test_what_a_verdict_turns_into(
    tests: pytest.Pytester, verdict: Verdict, more: dict[str, Any], outcomes: dict[str, int]
) -> None:
    answer("f/b", verdict, **more)
    done = run(tests, "-k", "f/b")
    done.assert_outcomes(**outcomes, deselected=2)
    if more:
        done.stdout.fnmatch_lines(["*stale evidence*", "*d (stale): mm/memory.c f: goto bad*"])


def test_a_fixed_bug_is_seen_with_the_row_to_amend(tests: pytest.Pytester) -> None:
    answer("f/b", Verdict.FIXED)
    done = run(tests)
    done.stdout.fnmatch_lines(["*fixed: k,m68k f/b: ok; amend expectations/f.yaml:3*"])
    assert done.ret == 0


@pytest.mark.parametrize(
    ("verdict", "closes_late", "errors", "place"),
    [
        ("mismatch", False, 1, "*ERROR at teardown of f/b*"),
        ("mismatch", True, 1, "*ERROR at teardown of f/c*"),  # with the column
        ("known-bug", False, 0, "*3 passed*"),
    ],
)
def test_late_words_are_an_error_in_teardown(
    tests: pytest.Pytester, verdict: str, closes_late: bool, errors: int, place: str
) -> None:
    scenario = "f/c" if closes_late else "f/b"
    FakeRunner.late[scenario] = verdict
    FakeRunner.closes_late = closes_late
    done = run(tests)
    done.assert_outcomes(passed=3, errors=errors)
    done.stdout.fnmatch_lines([place])
    if errors:
        done.stdout.fnmatch_lines([f"*k,m68k {scenario}: mismatch", "*A: ok | kernel: oops*"])


@pytest.mark.parametrize(("again", "errors"), [("match", 0), ("mismatch", 1)])
def test_of_late_words_the_second_look_counts(
    tests: pytest.Pytester, again: str, errors: int
) -> None:
    FakeRunner.late["f/b"] = "mismatch"
    FakeRunner.again = again
    done = run(tests)
    done.assert_outcomes(passed=3, errors=errors)
    if errors:
        done.stdout.fnmatch_lines(["*a second look says: flake*"])


@pytest.mark.parametrize(
    "error", [StoreError("store: cannot lock it"), OSError(28, "No space left on device")]
)
def test_a_runner_that_fails_is_an_error_of_its_cell_and_on_record(
    tests: pytest.Pytester, error: Exception
) -> None:
    FakeRunner.fails["f/b"] = error
    done = run(tests, "--results", "r.jsonl")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines([f"observed: {type(error).__name__}: {error}"])
    found = read_results([Path("r.jsonl")])
    assert {(r.scenario, r.attempt, r.verdict) for r in found.last()} == {
        ("f/a", 1, Verdict.MATCH),
        ("f/b", 2, Verdict.INFRA),
        ("f/c", 1, Verdict.MATCH),
    }
    assert report("r.jsonl") == 3


def report(path: str) -> int:
    return CliRunner().invoke(main, ["report", "--results", path]).exit_code


@pytest.mark.parametrize(
    ("words", "planned"), [((), ["f/a", "f/b", "f/c"]), (("-k", "f/a or f/c"), ["f/a", "f/c"])]
)
def test_results_are_a_complete_file_of_what_was_selected(
    tests: pytest.Pytester, words: tuple[str, ...], planned: list[str]
) -> None:
    assert run(tests, "--results", "r.jsonl", "--arch", "m68k", "--arch", "alpha", *words).ret == 0
    found = read_results([Path("r.jsonl")])
    assert [column.planned for column in found.columns.values()] == [planned, planned]
    assert len(found.runs) == 2 and set(found.runs) == set(found.ends)
    assert [end.exit_code for end in found.ends.values()] == [0, 0]
    assert report("r.jsonl") == 0


@pytest.mark.parametrize(
    ("verdict", "late", "code"),
    [
        (Verdict.MISMATCH, "", 1),
        (Verdict.NO_EXPECTATION, "", 2),
        (Verdict.INFRA, "", 3),
        (Verdict.MATCH, "mismatch", 1),
    ],
)
def test_the_end_says_what_the_report_says(
    tests: pytest.Pytester, verdict: Verdict, late: str, code: int
) -> None:
    answer("f/b", verdict)
    FakeRunner.late["f/b"] = late
    assert run(tests, "--results", "r.jsonl").ret == 1
    assert [e.exit_code for e in read_results([Path("r.jsonl")]).ends.values()] == [code]
    assert report("r.jsonl") == code


def test_stopping_at_the_first_failure_leaves_the_rest_missing(tests: pytest.Pytester) -> None:
    answer("f/a", Verdict.INFRA)
    run(tests, "--results", "r.jsonl", "-x")
    found = read_results([Path("r.jsonl")])
    assert [scenario for _, scenario in found.missing()] == ["f/b", "f/c"]
    assert report("r.jsonl") == 3


def test_a_column_that_does_not_build_is_tried_once_and_recorded(
    tests: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail(*_args: object) -> None:
        tries.append(1)
        raise BuildError("make failed", excerpt=["fault.c:1: error: x"])

    monkeypatch.setattr("harness.run.prepare.prepare", fail)
    done = run(tests, "--results", "r.jsonl")
    done.assert_outcomes(errors=3)
    done.stdout.fnmatch_lines(["observed: build: make failed", "*fault.c:1: error: x"])
    assert len(tries) == 1
    found = read_results([Path("r.jsonl")])
    assert {record.verdict for record in found.last()} == {Verdict.INFRA}
    assert not found.missing() and set(found.runs) == set(found.ends)


def test_a_kernel_that_cannot_be_had_is_not_applicable(
    tests: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise Unavailable("one cannot be had for m68k: no such board")

    monkeypatch.setattr("harness.run.prepare.prepare", fail)
    run(tests, "--results", "r.jsonl").assert_outcomes(skipped=3)
    found = read_results([Path("r.jsonl")])
    assert {record.verdict for record in found.last()} == {Verdict.NOT_APPLICABLE}
    assert {record.observation.cause for record in found.last()} == {
        "one cannot be had for m68k: no such board"
    }
    assert report("r.jsonl") == 0


def test_a_real_runner_is_driven_to_its_end(
    tests: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interface that FakeRunner makes up is the one that there is."""
    monkeypatch.undo()
    monkeypatch.setenv("FAULTLINE_PROJECT", str(tests.path / "project"))
    monkeypatch.setenv("FAULTLINE_STORE", str(tests.path / "store"))
    monkeypatch.setattr("harness.run.prepare.prepare", prepare)
    monkeypatch.chdir(tests.path)
    run(tests, "--results", "r.jsonl").assert_outcomes(passed=3)
    assert report("r.jsonl") == 0


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\u202e"


def test_guest_text_is_printed_harmless() -> None:
    seen = Observation(
        scenario="f/a",
        outcome=HOSTILE,
        cause=HOSTILE,
        details={HOSTILE: HOSTILE},
        console=[HOSTILE],
    )
    record = ResultRecord(
        run_id="r", column="k,m68k", scenario="f/a", observation=seen, confirmation=HOSTILE
    )
    lost = Observation(scenario="f/a", failure=HOSTILE + "\n" + HOSTILE)
    for one in (record, ResultRecord(run_id="r", column="c", scenario="f/a", observation=lost)):
        for text in (describe(one), *explain(one).splitlines()):
            assert text.isprintable(), text
        assert "\\x1b[2J" in describe(one) and "\\x1b[2J" in explain(one)


def test_a_result_without_any_text_is_told() -> None:
    nothing = ResultRecord(
        run_id="r", column="c", scenario="f/a", observation=Observation(scenario="f/a")
    )
    assert "nothing" in describe(nothing)
    assert "observed: nothing" in explain(nothing)
    assert "console:  nothing was said" in explain(nothing)


def test_a_failure_tells_what_is_correct_and_the_known_bug() -> None:
    record = ResultRecord(
        run_id="r",
        column="c",
        scenario="f/a",
        observation=Observation(scenario="f/a", outcome="SIGBUS", console=["[1.0] words"]),
        want="ok",
        bug="abc123 (a fix)",
    )
    lines = explain(record).splitlines()
    assert {"correct:  ok", "known bug: abc123 (a fix)", "    [1.0] words"} <= set(lines)
    assert "nothing was said" not in explain(record)
